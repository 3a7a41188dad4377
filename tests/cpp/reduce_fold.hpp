// Values over all pairs, folded tile by tile as an engine would, and what the results should be.
#pragma once

#include <gtest/gtest.h>
#include <hwy/aligned_allocator.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/float_mode.hpp"
#include "reduce_kernels.hpp"

namespace logsum::reduce {

template <class Real>
inline constexpr Real kInf = std::numeric_limits<Real>::infinity();
template <class Real>
inline constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();
// Half the distance of 1 and its neighbour.
template <class Real>
inline constexpr long double kUnit = std::numeric_limits<Real>::epsilon() / 2;
template <class Real>
inline constexpr DType kDTypeOf = sizeof(Real) == sizeof(float) ? DType::f32 : DType::f64;

inline bool IsExtremumFold(Fold fold) {
  return fold == Fold::min || fold == Fold::max || fold == Fold::kmin;
}

// A function of component, row and column; what it does not depend on may be 0.
template <class Real>
struct PairValues {
  std::function<Real(std::int64_t d, std::int64_t r, std::int64_t c)> at;
  bool by_row = true, by_column = true;
};

// How pairs are cut into tiles.
struct Cut {
  std::int64_t rows = 16, columns = 256;
};

// A tile of such values, as programs leave it: padding of any content (here NaN).
template <class Real>
class TileOf {
 public:
  TileOf(const PairValues<Real>& values, std::int64_t dim, const TileSpan& span) {
    const std::int64_t padded = (span.columns + 15) / 16 * 16;
    const std::int64_t rows = values.by_row ? span.rows : 1;
    const std::int64_t columns = values.by_column ? padded : 1;
    value.row = values.by_row ? columns : 0;
    value.per_column = values.by_column;
    value.component = rows * columns;
    const auto size = static_cast<std::size_t>(dim * value.component);
    memory_ = hwy::AllocateAligned<Real>(size);
    value.data = memory_.get();
    std::fill(value.data, value.data + size, kNan<Real>);
    for (std::int64_t d = 0; d < dim; ++d) {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < (values.by_column ? span.columns : 1); ++c) {
          value.data[d * value.component + r * value.row + c] =
              values.at(d, span.row + r, span.column + c);
        }
      }
    }
  }

  TileValue<Real> value;

 private:
  hwy::AlignedFreeUniquePtr<Real[]> memory_;
};

template <class Real>
class StateOf {
 public:
  StateOf(const FoldShape& shape, std::int64_t size)
      : memory_(hwy::AllocateAligned<std::byte>(StateBytes<Real>(shape, size))),
        state{shape, size, memory_.get()} {
    InitState(state);
  }

  // The results, kept index by kept index, then of kmin the K, then the components.
  template <class Out = Real>
  std::vector<Out> Write(Result result, DType dtype = kDTypeOf<Real>,
                         DType value_dtype = kDTypeOf<Real>) const {
    const FoldShape& shape = state.shape;
    const bool one = shape.fold == Fold::softmax_weight && result != Result::value;
    const std::int64_t dim = one ? 1 : shape.dim, count = std::max<std::int64_t>(shape.count, 1);
    std::vector<Out> out(static_cast<std::size_t>(state.size * count * dim));
    WriteState(state, result, 0, state.size, {out.data(), dtype, count * dim, dim, 1, value_dtype});
    return out;
  }
  std::vector<std::int64_t> Indices() const {
    return Write<std::int64_t>(Result::argument, DType::i64);
  }

 private:
  hwy::AlignedFreeUniquePtr<std::byte[]> memory_;

 public:
  FoldState<Real> state;
};

// Pushes all pairs of the span, tile by tile.
template <class Real>
void PushAll(const FoldKernels<Real>& kernels, const FoldState<Real>& state,
             const PairValues<Real>& formula, std::int64_t formula_dim,
             const PairValues<Real>& weight, const TileSpan& span, const Cut& cut) {
  const FloatModeGuard flush;
  const bool weighted =
      state.shape.fold == Fold::softmax_weight || state.shape.fold == Fold::logsumexp_weight;
  for (std::int64_t r = 0; r < span.rows; r += cut.rows) {
    for (std::int64_t c = 0; c < span.columns; c += cut.columns) {
      const TileSpan tile{span.row + r, span.column + c, std::min(cut.rows, span.rows - r),
                          std::min(cut.columns, span.columns - c)};
      const TileOf<Real> x(formula, formula_dim, tile);
      const std::int64_t first = state.shape.kept == FormulaIndex::i   ? tile.row
                                 : state.shape.kept == FormulaIndex::j ? tile.column
                                                                       : 0;
      if (weighted) {
        const TileOf<Real> w(weight, state.shape.dim, tile);
        kernels.push(state, first, x.value, w.value, tile);
      } else {
        kernels.push(state, first, x.value, {}, tile);
      }
    }
  }
}

// Shapes and cuts that meet every tail: of vectors, of pieces, of tiles.
struct Case {
  std::int64_t rows, columns;
  Cut cut;
};
inline const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = {
      {16, 256, {16, 256}}, {37, 519, {16, 256}}, {70, 45, {70, 45}},
      {1, 1000, {1, 512}},  {300, 3, {64, 256}},  {5, 33, {2, 9}},
  };
  return cases;
}

// Runs `body(kernels, kept rows, case)` on every target, both directions and all cases.
template <class Real, class Body>
void ForAll(const Body& body) {
  for (const FoldTarget& target : FoldTargets()) {
    for (const bool rows : {true, false}) {
      for (const Case& shape : Cases()) {
        SCOPED_TRACE(target.name + (rows ? " rows " : " columns ") + std::to_string(shape.rows) +
                     " x " + std::to_string(shape.columns));
        body(target.Get<Real>(), rows, shape);
      }
    }
  }
}

// The terms of one result, in the order of the reduced index.
template <class Real>
std::vector<Real> TermsOf(const PairValues<Real>& values, bool rows, std::int64_t kept,
                          std::int64_t reduced, std::int64_t d) {
  std::vector<Real> terms;
  for (std::int64_t k = 0; k < reduced; ++k) {
    terms.push_back(rows ? values.at(d, values.by_row ? kept : 0, values.by_column ? k : 0)
                         : values.at(d, values.by_row ? k : 0, values.by_column ? kept : 0));
  }
  return terms;
}

// A number in [0, 1) that depends on its arguments only.
inline double Scattered(std::int64_t d, std::int64_t r, std::int64_t c) {
  std::uint64_t x = static_cast<std::uint64_t>(d) * 0x9e3779b97f4a7c15u +
                    static_cast<std::uint64_t>(r) * 0xbf58476d1ce4e5b9u +
                    static_cast<std::uint64_t>(c) * 0x94d049bb133111ebu + 12345;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

template <class Real>
long double HalfUlp(Real x) {
  const Real size = std::fabs(x);
  return std::isfinite(size)
             ? (static_cast<long double>(std::nextafter(size, kInf<Real>)) - size) / 2
             : 0;
}

}  // namespace logsum::reduce
