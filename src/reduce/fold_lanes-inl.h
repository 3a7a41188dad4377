// What folds are made of: lanes combined across vectors, totals of vectors, pieces of tiles.
//
// Both directions end in the same vectors, results in lanes. Where rows are kept, a vector of
// columns' partial results a row is transposed as it is combined, which costs three operations a
// row where combining a row by itself costs three times that.
#if defined(LOGSUM_REDUCE_FOLD_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_LANES_INL_H_
#undef LOGSUM_REDUCE_FOLD_LANES_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/two_sum-inl.h"
#include "reduce/states.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
using Words = hn::ScalableTag<Real>;
template <class Real>
using Word = hn::Vec<Words<Real>>;
template <class Real>
inline constexpr std::int64_t kLanes = hn::MaxLanes(Words<Real>());
template <class Real>
inline constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

struct Larger {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Max(a, b);
  }
};
struct Smaller {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Min(a, b);
  }
};
struct Sum {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};

// Four float vectors (two of doubles) to one: in each block of 128 bits, lane k combines that
// block's lanes of vector k.
template <class Combine>
HWY_INLINE Word<float> CombineInBlocks(const Word<float>* v, const Combine& combine) {
  const Words<float> d;
  const hn::Repartition<double, Words<float>> pairs;
  const auto two = [&](Word<float> a, Word<float> b) HWY_ATTR {
    return hn::BitCast(pairs, combine(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto a = two(v[0], v[1]), b = two(v[2], v[3]);
  return combine(hn::BitCast(d, hn::InterleaveLower(pairs, a, b)),
                 hn::BitCast(d, hn::InterleaveUpper(pairs, a, b)));
}

template <class Combine>
HWY_INLINE Word<double> CombineInBlocks(const Word<double>* v, const Combine& combine) {
  const Words<double> d;
  return combine(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
}

// Lane k of the result combines all lanes of v[k], for as many vectors as a vector has lanes.
template <class Real, class Combine>
HWY_INLINE Word<Real> CombineLanes(const Word<Real>* v, const Combine& combine) {
  const Words<Real> d;
  constexpr std::int64_t kRows = 16 / sizeof(Real), kBlocks = kLanes<Real> / kRows;
  if constexpr (kBlocks == 1) {
    return CombineInBlocks(v, combine);
  } else {
    const auto two = [&](Word<Real> a, Word<Real> b) HWY_ATTR {
      return combine(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    };
    if constexpr (kBlocks == 2) {
      return two(CombineInBlocks(v, combine), CombineInBlocks(v + kRows, combine));
    } else {
      static_assert(kBlocks == 4);
      // Blocks of 0 and 2, then 1 and 3 of a vector: adjacent ones are left to combine.
      auto even = two(CombineInBlocks(v, combine), CombineInBlocks(v + 2 * kRows, combine));
      auto odd = two(CombineInBlocks(v + kRows, combine), CombineInBlocks(v + 3 * kRows, combine));
      even = combine(even, hn::SwapAdjacentBlocks(even));
      odd = combine(odd, hn::SwapAdjacentBlocks(odd));
      return hn::OddEvenBlocks(odd, even);
    }
  }
}

// ---- totals -------------------------------------------------------------------------------------

using Doubles = Words<double>;

// f(part, offset) for the doubles of a vector, in vectors of doubles.
template <class F>
HWY_INLINE void ForDoubles(Word<double> v, const F& f) {
  f(v, 0);
}
template <class F>
HWY_INLINE void ForDoubles(Word<float> v, const F& f) {
  const hn::Half<Words<float>> half;
  const Doubles dd;
  f(hn::PromoteTo(dd, hn::LowerHalf(half, v)), 0);
  f(hn::PromoteTo(dd, hn::UpperHalf(half, v)), kLanes<double>);
}

// Adds a vector to neighbouring totals.
template <class Real>
HWY_INLINE void AddToTotals(const Totals<Real>& totals, Word<Real> v) {
  const Doubles dd;
  ForDoubles(v, [&](Word<double> x, std::int64_t at) HWY_ATTR {
    Word<double> high = hn::LoadU(dd, totals.high + at);
    if constexpr (kPairs<Real>) {
      Word<double> low = hn::LoadU(dd, totals.low + at);
      logsum::HWY_NAMESPACE::Accumulate(high, low, x);
      hn::StoreU(low, dd, totals.low + at);
    } else {
      high = hn::Add(high, x);
    }
    hn::StoreU(high, dd, totals.high + at);
  });
}

HWY_INLINE void AddExactly(double& high, double& low, double x) {
  const double sum = high + x;
  const double seen = sum - high;
  low += (high - (sum - seen)) + (x - seen);
  high = sum;
}

template <class Real>
HWY_INLINE void AddToTotal(const Totals<Real>& total, double x) {
  if constexpr (kPairs<Real>) {
    AddExactly(*total.high, *total.low, x);
  } else {
    *total.high += x;
  }
}

// Adds the first `count` lanes: neighbours may be another thread's.
template <class Real>
HWY_INLINE void AddResults(const Totals<Real>& totals, Word<Real> v, std::int64_t count) {
  if (HWY_LIKELY(count == kLanes<Real>)) return AddToTotals(totals, v);
  HWY_ALIGN Real results[kLanes<Real>];
  hn::Store(v, Words<Real>(), results);
  for (std::int64_t k = 0; k < count; ++k) AddToTotal(totals + k, results[k]);
}

// ---- pieces -------------------------------------------------------------------------------------

// Elements of a piece where rows are kept, so that a copy of it stays in L1.
template <class Real>
inline constexpr std::int64_t kPieceSize = kLanes<Real> * 256;

// Columns looked at together then: all that fit, up to 16 terms for each lane of four accumulators.
template <class Real>
constexpr std::int64_t PieceColumns(std::int64_t rows) {
  return std::min(64 * kLanes<Real>, kLanes<Real> / rows * 256);
}

// Rows added in one chain for each of two accumulators where columns are kept.
inline constexpr std::int64_t kPieceRows = 32;

// A part of one component of a tile: per column, rows `row` elements apart.
template <class Real>
struct Piece {
  const Real* data = nullptr;
  std::ptrdiff_t row = 0;
  std::int64_t rows = 0, columns = 0;

  HWY_INLINE const Real* Row(std::int64_t r) const { return data + r * row; }
  Real At(std::int64_t r, std::int64_t c) const { return data[r * row + c]; }
};

// Where values that do not depend on the column are repeated: the rows of a piece.
template <class Real>
class Repeated {
 public:
  static constexpr std::int64_t kSize = std::max(kPieceSize<Real>, kPieceRows * 64);

  // A component of the tile's rows from r0 and columns from c0 on.
  HWY_INLINE Piece<Real> Read(const TileValue<Real>& value, std::int64_t component, std::int64_t r0,
                              std::int64_t c0, std::int64_t rows, std::int64_t columns) {
    const Real* const from = value.data + component * value.component + r0 * value.row;
    if (value.per_column) return {from + c0, value.row, rows, columns};
    const Words<Real> d;
    const std::int64_t lanes = kLanes<Real>;
    const std::int64_t padded = (columns + lanes - 1) / lanes * lanes;
    const std::int64_t repeats = value.row == 0 ? 1 : rows;
    for (std::int64_t r = 0; r < repeats; ++r) {
      const auto x = hn::Set(d, from[r * value.row]);
      for (std::int64_t c = 0; c < padded; c += lanes) hn::Store(x, d, data_ + r * padded + c);
    }
    return {data_, value.row == 0 ? 0 : padded, rows, columns};
  }

 private:
  HWY_ALIGN Real data_[kSize];
};

// Cuts a tile into groups whose results are one vector: kLanes rows by PieceColumns columns where
// rows are kept (kRows), kPieceRows by kLanes columns where columns are. f(r0, c0, rows, columns).
template <class Real, bool kRows, class F>
HWY_INLINE void ForGroups(const TileSpan& span, const F& f) {
  constexpr std::int64_t row_step = kRows ? kLanes<Real> : kPieceRows;
  for (std::int64_t r = 0; r < span.rows; r += row_step) {
    const std::int64_t rows = std::min(row_step, span.rows - r);
    const std::int64_t column_step = kRows ? PieceColumns<Real>(rows) : kLanes<Real>;
    for (std::int64_t c = 0; c < span.columns; c += column_step) {
      f(r, c, rows, std::min(column_step, span.columns - c));
    }
  }
}

// use(x, accumulator) for every vector of a row, four accumulators in turn; what stands behind the
// row's end is replaced by `neutral`.
template <class Real, class Use>
HWY_INLINE void ForRow(const Real* x, std::int64_t columns, Word<Real> neutral, const Use& use) {
  const Words<Real> d;
  constexpr std::int64_t lanes = kLanes<Real>;
  std::int64_t c = 0;
  for (; c + 4 * lanes <= columns; c += 4 * lanes) {
    use(hn::LoadU(d, x + c), c, std::integral_constant<int, 0>());
    use(hn::LoadU(d, x + c + lanes), c + lanes, std::integral_constant<int, 1>());
    use(hn::LoadU(d, x + c + 2 * lanes), c + 2 * lanes, std::integral_constant<int, 2>());
    use(hn::LoadU(d, x + c + 3 * lanes), c + 3 * lanes, std::integral_constant<int, 3>());
  }
  for (; c + lanes <= columns; c += lanes) {
    use(hn::LoadU(d, x + c), c, std::integral_constant<int, 0>());
  }
  if (c < columns) {
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(columns - c));
    use(hn::IfThenElse(valid, hn::LoadU(d, x + c), neutral), c, std::integral_constant<int, 1>());
  }
}

// The vector of a group's results, one for each kept index, combined over the reduced ones.
template <class Real, bool kRows, class Combine>
HWY_INLINE Word<Real> CombineGroup(const Piece<Real>& x, Real neutral, const Combine& combine) {
  using V = Word<Real>;
  const Words<Real> d;
  const V none = hn::Set(d, neutral);
  if constexpr (kRows) {
    V rows[kLanes<Real>];
    for (std::int64_t r = 0; r < kLanes<Real>; ++r) {
      V part[4] = {none, none, none, none};
      if (r < x.rows) {
        ForRow(x.Row(r), x.columns, none,
               [&](V v, std::int64_t /*c*/, auto k) HWY_ATTR { part[k] = combine(part[k], v); });
      }
      rows[r] = combine(combine(part[0], part[1]), combine(part[2], part[3]));
    }
    return CombineLanes<Real>(rows, combine);
  } else {
    V part[2] = {none, none};
    std::int64_t r = 0;
    for (; r + 2 <= x.rows; r += 2) {
      part[0] = combine(part[0], hn::LoadU(d, x.Row(r)));
      part[1] = combine(part[1], hn::LoadU(d, x.Row(r + 1)));
    }
    if (r < x.rows) part[0] = combine(part[0], hn::LoadU(d, x.Row(r)));
    const V all = combine(part[0], part[1]);
    return hn::IfThenElse(hn::FirstN(d, static_cast<std::size_t>(x.columns)), all, none);
  }
}

// The vector of the sums of a group's products.
template <class Real, bool kRows>
HWY_INLINE Word<Real> SumProducts(const Piece<Real>& x, const Piece<Real>& y) {
  using V = Word<Real>;
  const Words<Real> d;
  const V zero = hn::Zero(d);
  if constexpr (kRows) {
    V sums[kLanes<Real>];
    for (std::int64_t r = 0; r < kLanes<Real>; ++r) {
      V sum[4] = {zero, zero, zero, zero};
      if (r < x.rows) {
        const Real *const a = x.Row(r), *const b = y.Row(r);
        const std::int64_t whole = x.columns / kLanes<Real> * kLanes<Real>;
        ForRow(a, whole, zero, [&](V v, std::int64_t c, auto k) HWY_ATTR {
          sum[k] = hn::MulAdd(v, hn::LoadU(d, b + c), sum[k]);
        });
        if (whole < x.columns) {
          const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns - whole));
          sum[1] = hn::MulAdd(hn::IfThenElseZero(valid, hn::LoadU(d, a + whole)),
                              hn::IfThenElseZero(valid, hn::LoadU(d, b + whole)), sum[1]);
        }
      }
      sums[r] = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
    }
    return CombineLanes<Real>(sums, Sum());
  } else {
    V sum[2] = {zero, zero};
    const auto add = [&](std::int64_t r, V& to) HWY_ATTR {
      to = hn::MulAdd(hn::LoadU(d, x.Row(r)), hn::LoadU(d, y.Row(r)), to);
    };
    std::int64_t r = 0;
    for (; r + 2 <= x.rows; r += 2) {
      add(r, sum[0]);
      add(r + 1, sum[1]);
    }
    if (r < x.rows) add(r, sum[0]);
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns));
    return hn::IfThenElseZero(valid, hn::Add(sum[0], sum[1]));
  }
}

// term(x) for the terms of one result of a group: lane `kept`.
template <class Real, bool kRows, class Term>
void ForTerms(const Piece<Real>& x, std::int64_t kept, const Term& term) {
  const std::int64_t count = kRows ? x.columns : x.rows;
  for (std::int64_t k = 0; k < count; ++k) term(kRows ? x.At(kept, k) : x.At(k, kept), k);
}

// How many results a group has.
template <class Real, bool kRows>
std::int64_t Results(const Piece<Real>& x) {
  return kRows ? x.rows : x.columns;
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
