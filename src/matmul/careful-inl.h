// The last rung: every term by itself, in double, as an unevaluated sum of two numbers.
//
// A[i, k] + B[k, j] is exact as high + low (Knuth's TwoSum), so terms compare and subtract
// exactly however large they are: numbers of 1e38 that people write for zero or infinity, and
// infinities by the contract (docs/numerics.md). One exponential a term; nothing is assumed of the
// input. It is what the fast rungs are tested against, and what computes the few entries that they
// hand down. Results of float32 operands are exact to the rounding; of float64, to 2^-52 of the
// largest part.
#if defined(LOGSUM_MATMUL_CAREFUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_CAREFUL_INL_H_
#undef LOGSUM_MATMUL_CAREFUL_INL_H_
#else
#define LOGSUM_MATMUL_CAREFUL_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/arena.hpp"
#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "hwy/highway.h"
#include "matmul/careful.hpp"
#include "matmul/exact-inl.h"
#include "matmul/plan.hpp"
#include "matmul/read-inl.h"
#include "matmul/write.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Log;

inline constexpr std::int64_t kCarefulDepth = 64;

// What a tile of sums needs: blocks of the operands' values, residuals and weights.
class CarefulBlocks {
 public:
  static constexpr std::size_t kBytes =
      3 * (Arena::BytesFor<double>(kCarefulRows * kCarefulDepth) +
           Arena::BytesFor<double>(kCarefulWidth * kCarefulDepth));

  explicit CarefulBlocks(Arena::Scope& scope) {
    for (double*& space : left_) space = scope.Take<double>(kCarefulRows * kCarefulDepth);
    for (double*& space : right_) space = scope.Take<double>(kCarefulWidth * kCarefulDepth);
  }

  // Reads depth [k, k + count) of both operands for a tile. Columns beyond the tile's are zero.
  void Read(const Plan& plan, const Tile& tile, Span depth) {
    const auto read = [&](const Operand& operand, auto&& one) {
      one(operand.value, 0, 0.0);
      one(operand.residual, 1, 0.0);
      one(operand.weight, 2, 1.0);
    };
    read(plan.left, [&](const Source& source, int part, double missing) {
      if (source.Exists()) {
        CopyBlock(source, tile.batch, source.outer, tile.rows, source.inner, depth, left_[part],
                  kCarefulDepth);
      } else {
        std::fill_n(left_[part], kCarefulRows * kCarefulDepth, missing);
      }
    });
    read(plan.right, [&](const Source& source, int part, double missing) {
      std::fill_n(right_[part], kCarefulWidth * kCarefulDepth, missing);
      if (source.Exists()) {
        CopyBlock(source, tile.batch, source.inner, depth, source.outer, tile.columns, right_[part],
                  kCarefulWidth);
      }
    });
  }

  enum Part { kValue, kResidual, kWeight };
  double Left(Part part, std::int64_t row, std::int64_t k) const {
    return left_[part][row * kCarefulDepth + k];
  }
  const double* Right(Part part, std::int64_t k) const { return right_[part] + k * kCarefulWidth; }

 private:
  double* left_[3];
  double* right_[3];
};

// What a mean's target holds for a tile, row by row of kCarefulWidth.
inline void ReadTarget(const Source& source, const Tile& tile, double* to) {
  CopyBlock(source, tile.batch, source.outer, tile.rows, source.inner, tile.columns, to,
            kCarefulWidth);
}

// The forward sums of a tile, for the entries that wanted(row, column) (within the tile) names.
template <class Wanted>
void CarefulSums(const Plan& plan, const Tile& tile, const Wanted& wanted) {
  const hn::CappedTag<double, kCarefulWidth> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kEntries = kCarefulRows * kCarefulWidth;
  Arena::Scope scope(CarefulBlocks::kBytes + 3 * Arena::BytesFor<double>(kEntries));
  CarefulBlocks blocks(scope);
  double* const high = scope.Take<double>(kEntries);
  double* const low = scope.Take<double>(kEntries);
  double* const sum = scope.Take<double>(kEntries);
  std::fill_n(high, kEntries, -kInfinity);
  std::fill_n(low, kEntries, 0.0);
  std::fill_n(sum, kEntries, 0.0);

  for (std::int64_t k0 = 0; k0 < plan.depth; k0 += kCarefulDepth) {
    const Span depth{k0, std::min(kCarefulDepth, plan.depth - k0)};
    blocks.Read(plan, tile, depth);
    for (std::int64_t r = 0; r < tile.rows.count; ++r) {
      for (std::int64_t c = 0; c < tile.columns.count; c += lanes) {
        const auto term = [&](std::int64_t k) HWY_ATTR {
          return ExactTerm(d, hn::Set(d, blocks.Left(CarefulBlocks::kValue, r, k)),
                           hn::Load(d, blocks.Right(CarefulBlocks::kValue, k) + c));
        };
        const std::int64_t at = r * kCarefulWidth + c;
        const Exact<V> old{hn::Load(d, high + at), hn::Load(d, low + at)};
        Exact<V> top = old;
        for (std::int64_t k = 0; k < depth.count; ++k) {
          const auto x = term(k);
          const auto above = hn::Or(hn::Or(hn::Gt(x.high, top.high), IsNan(d, x.high)),
                                    hn::And(hn::Eq(x.high, top.high), hn::Gt(x.low, top.low)));
          top = {hn::IfThenElse(above, x.high, top.high), hn::IfThenElse(above, x.low, top.low)};
        }
        V part = hn::Zero(d);
        for (std::int64_t k = 0; k < depth.count; ++k) {
          part = hn::Add(part, ExpOfDifference(d, term(k), top));
        }
        const V kept = hn::Mul(hn::Load(d, sum + at), ExpOfDifference(d, old, top));
        hn::Store(hn::Add(kept, part), d, sum + at);
        hn::Store(top.high, d, high + at);
        hn::Store(top.low, d, low + at);
      }
    }
  }
  // The logarithm of a sum (at least 1, of terms none above 1) joins the low parts.
  for (std::int64_t at = 0; at < kEntries; at += lanes) {
    const V logarithm = Log(d, hn::Load(d, sum + at));
    const auto none = hn::Eq(hn::Load(d, sum + at), hn::Zero(d));
    hn::Store(hn::Add(hn::Load(d, low + at), hn::IfThenZeroElse(none, logarithm)), d, low + at);
  }
  for (std::int64_t r = 0; r < tile.rows.count; ++r) {
    for (std::int64_t c = 0; c < tile.columns.count; ++c) {
      const std::int64_t at = r * kCarefulWidth + c;
      const Entry entry{tile.batch, tile.rows.begin + r, tile.columns.begin + c};
      if (wanted(r, c)) WriteCareful(plan, entry, high[at], low[at]);
    }
  }
}

// The weighted means of a tile, likewise. Sums of 64 terms are added up with what rounding takes
// from them.
template <class Wanted>
void CarefulMeans(const Plan& plan, const Tile& tile, const Wanted& wanted) {
  const hn::CappedTag<double, kCarefulWidth> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kEntries = kCarefulRows * kCarefulWidth;
  Arena::Scope scope(CarefulBlocks::kBytes + 4 * Arena::BytesFor<double>(kEntries));
  CarefulBlocks blocks(scope);
  double* const target = scope.Take<double>(kEntries);
  double* const residual = scope.Take<double>(kEntries);
  double* const sum = scope.Take<double>(kEntries);
  double* const lost = scope.Take<double>(kEntries);
  for (double* const array : {target, residual, sum, lost}) std::fill_n(array, kEntries, 0.0);
  ReadTarget(plan.target.value, tile, target);
  if (plan.target.residual.Exists()) ReadTarget(plan.target.residual, tile, residual);

  for (std::int64_t k0 = 0; k0 < plan.depth; k0 += kCarefulDepth) {
    const Span depth{k0, std::min(kCarefulDepth, plan.depth - k0)};
    blocks.Read(plan, tile, depth);
    for (std::int64_t r = 0; r < tile.rows.count; ++r) {
      for (std::int64_t c = 0; c < tile.columns.count; c += lanes) {
        const std::int64_t at = r * kCarefulWidth + c;
        const V o = hn::Load(d, target + at);
        const V o_residual = hn::Load(d, residual + at);
        V part = hn::Zero(d);
        for (std::int64_t k = 0; k < depth.count; ++k) {
          using Blocks = CarefulBlocks;
          const V x = hn::Set(d, blocks.Left(Blocks::kValue, r, k));
          const V y = hn::Load(d, blocks.Right(Blocks::kValue, k) + c);
          V p;
          if (plan.left.negated) {
            p = MeanFactor(d, y, o, x, hn::Set(d, blocks.Left(Blocks::kResidual, r, k)));
          } else if (plan.right.negated) {
            p = MeanFactor(d, x, o, y, hn::Load(d, blocks.Right(Blocks::kResidual, k) + c));
          } else {
            p = MeanFactor(d, x, y, o, o_residual);
          }
          const V weight = hn::Mul(hn::Set(d, blocks.Left(Blocks::kWeight, r, k)),
                                   hn::Load(d, blocks.Right(Blocks::kWeight, k) + c));
          // A weight of zero takes its term out, whatever that is, as in the fast rungs.
          const auto absent = hn::Or(hn::Eq(p, hn::Zero(d)), hn::Eq(weight, hn::Zero(d)));
          part = hn::Add(part, hn::IfThenZeroElse(absent, hn::Mul(p, weight)));
        }
        const auto total = ExactSum(d, hn::Load(d, sum + at), part);
        hn::Store(total.high, d, sum + at);
        hn::Store(hn::Add(hn::Load(d, lost + at), total.low), d, lost + at);
      }
    }
  }
  for (std::int64_t r = 0; r < tile.rows.count; ++r) {
    for (std::int64_t c = 0; c < tile.columns.count; ++c) {
      if (!wanted(r, c)) continue;
      const std::int64_t at = r * kCarefulWidth + c;
      const bool finite = sum[at] - sum[at] == 0;
      WriteMean(plan, {tile.batch, tile.rows.begin + r, tile.columns.begin + c},
                finite ? sum[at] + lost[at] : sum[at]);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
