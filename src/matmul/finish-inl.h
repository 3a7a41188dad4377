// From a tile of scaled sums to results: certify every entry, take the logarithm (or scale a mean),
// round once, write.
#if defined(LOGSUM_MATMUL_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_FINISH_INL_H_
#undef LOGSUM_MATMUL_FINISH_INL_H_
#else
#define LOGSUM_MATMUL_FINISH_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "matmul/plan.hpp"
#include "matmul/rows-inl.h"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExponentOf;
using logsum::HWY_NAMESPACE::ExpScaled;
using logsum::HWY_NAMESPACE::PowerFromField;

// At most what may be missing from the scaled sum of a row with a vector of columns: terms flushed
// while packing, on either side, and products that flush in a multiply-add, which need operands
// small enough for that.
template <class D, class Real = hn::TFromD<D>, class V = hn::Vec<D>>
HWY_INLINE V LostMass(D d, Real lost, Real smallest, V column_lost, V column_smallest, Real depth) {
  const V product = hn::Mul(hn::Set(d, smallest), column_smallest);
  const V flush = hn::Set(d, depth * ScalingLimits<Real>::kTiny);
  const V in_products = hn::IfThenElseZero(hn::Eq(product, hn::Zero(d)), flush);
  return hn::Add(hn::Add(hn::Set(d, lost), column_lost), in_products);
}

// Whether a sum is certain beside what may be missing from it. NaN is; nothing of a line that was
// not packed is.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> IsUncertain(D d, V sum, V lost) {
  using T = hn::TFromD<D>;
  const V threshold = hn::Mul(lost, hn::Set(d, ScalingLimits<T>::kCertified));
  const auto not_packed = hn::Ge(lost, hn::Set(d, std::numeric_limits<T>::infinity()));
  return hn::Or(hn::Lt(sum, threshold), not_packed);
}

// y 2^e for integral e of any size, 0 where the result is below the smallest normal number.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V TimesPowerOfTwo(D d, V y, V e) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  const hn::RebindToSigned<D> di;
  const V bias = hn::Set(d, T{C::kExponentBias});
  const auto power = [&](V n) HWY_ATTR {
    const V field = hn::Add(hn::Min(hn::Max(n, hn::Neg(bias)), bias), bias);
    return PowerFromField(d, hn::ConvertTo(di, field));
  };
  const V normal = hn::Set(d, T{C::kExponentBias - 1});
  if (hn::AllTrue(d, hn::Le(hn::Abs(e), normal))) return hn::Mul(y, power(e));
  const V half = hn::Round(hn::Mul(e, hn::Set(d, T{0.5})));
  return hn::Mul(hn::Mul(y, power(half)), power(hn::Sub(e, half)));
}

// A tile with what is known of its lines.
template <class Real>
struct ScaledTile {
  Tile tile;
  const Real* high;
  const Real* low;
  Lines<Real> rows, columns;
  std::int64_t depth;
  int bias;
  bool whole;  // nothing can be missing from its sums
};

// What may be missing from the sums of some lines at worst.
template <class Real>
struct Worst {
  Real lost = 0, smallest = 1;

  Worst() = default;
  Worst(const Lines<Real>& lines, std::int64_t count)
      : lost(*std::max_element(lines.lost, lines.lost + count)),
        smallest(*std::min_element(lines.smallest, lines.smallest + count)) {}

  // Whether nothing at all is, in their sums with others.
  bool IsWholeWith(const Worst& other) const {
    return lost == 0 && other.lost == 0 && smallest * other.smallest >= ScalingLimits<Real>::kTiny;
  }
};

// Writes the logarithms of a forward tile. True if an entry is uncertain: the tile is then computed
// again by a better rung, and what was written is overwritten.
template <class Real>
bool FinishSums(const Plan& plan, const ScaledTile<Real>& scaled) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  SumRows<Real> results(plan);
  bool uncertain = false;
  for (std::int64_t r = 0; r < scaled.tile.rows.count; ++r) {
    const Lines<Real> row = scaled.rows.At(r);
    const Real shift = *row.scale - static_cast<Real>(2 * scaled.bias);
    results.Begin({scaled.tile.batch, scaled.tile.rows.begin + r, 0}, scaled.tile.columns);
    for (std::int64_t c = 0; c < scaled.tile.columns.count; c += lanes) {
      const V sum = hn::Add(hn::Load(d, scaled.high + r * kStride + c),
                            hn::Load(d, scaled.low + r * kStride + c));
      V lost = hn::Zero(d);
      if (!scaled.whole) {
        lost = LostMass(d, *row.lost, *row.smallest, hn::LoadU(d, scaled.columns.lost + c),
                        hn::LoadU(d, scaled.columns.smallest + c), static_cast<Real>(scaled.depth));
        uncertain |= !hn::AllFalse(d, IsUncertain(d, sum, lost));
      }
      const V exponent = hn::Add(hn::LoadU(d, scaled.columns.scale + c), hn::Set(d, shift));
      results.Put(d, c, sum, exponent, lost);
    }
    results.End();
  }
  return uncertain;
}

// The target's factor of a mean: e^x = fraction 2^exponent, and where it decides by itself.
template <class D>
struct TargetFactor {
  hn::Vec<D> fraction, exponent;
  hn::Mask<D> zero, outside;
};

template <class D, class Real = hn::TFromD<D>>
HWY_INLINE TargetFactor<D> FactorOfTarget(D d, const TermKind& kind, const TermBlocks<Real>& blocks,
                                          std::int64_t row, std::int64_t column) {
  constexpr Real kDomain = ScalingLimits<Real>::kDomain;
  const auto term = LoadTerm(d, kind, blocks, row, column);
  const auto exponent = ExponentOf(d, term.x);
  auto fraction = ExpScaled<D>(d, exponent)(term.x);
  if (kind.has_residual) fraction = hn::Mul(fraction, ExpOfRest(d, term.rest));
  const auto zero = hn::Le(term.x, hn::Set(d, -4 * kDomain));
  const auto beyond = hn::Gt(hn::Abs(term.x), hn::Set(d, kDomain));
  return {hn::IfThenZeroElse(zero, fraction), exponent, zero, hn::AndNot(zero, beyond)};
}

// The usual case of a mean in few instructions: nothing is missing from the sums, the targets lie
// in the domain and sum e^x 2^exponent far from both ends of the range. False, and nothing done,
// where that does not hold for all lanes.
template <class D, class Real = hn::TFromD<D>, class V = hn::Vec<D>>
HWY_INLINE bool TimesTarget(D d, const TargetRows<Real>& target, std::int64_t row,
                            std::int64_t column, V exponent, V sum, RowWriter<Real>& means) {
  using C = ExpConstants<Real>;
  constexpr Real kFar = C::kExponentBias - 7;
  const auto term = LoadTerm(d, target.kind(), target.blocks(), row, column);
  const V power = hn::MulAdd(term.x, hn::Set(d, C::kLog2E), exponent);
  const auto inside = hn::Le(hn::Abs(term.x), hn::Set(d, ScalingLimits<Real>::kDomain));
  const auto usual = hn::And(inside, hn::Le(hn::Abs(power), hn::Set(d, kFar)));
  if (!hn::AllTrue(d, usual)) return false;
  V mean = hn::Mul(sum, ExpScaled<D>(d, hn::Neg(exponent))(term.x));
  if (target.kind().has_residual) mean = hn::Mul(mean, ExpOfRest(d, term.rest));
  means.Put(d, column, mean);
  return true;
}

// The tolerance of a mean is relative to its weights: to their sum along the sum, or, where the
// factors themselves sum to one (a target that divides), to the largest.
template <class D, class Real = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> WeightOfEntry(D d, const Plan& plan, const Lines<Real>& row,
                                    const Lines<Real>& columns, std::int64_t c) {
  const auto peak = hn::LoadU(d, columns.peak + c);
  if (plan.target.negated) return hn::Mul(hn::Set(d, *row.peak), peak);
  if (plan.left.weight.Exists()) return hn::Mul(hn::Set(d, *row.mass), peak);
  return hn::LoadU(d, columns.mass + c);
}

// Writes the means of a tile; as FinishSums.
template <class Real>
bool FinishMeans(const Plan& plan, const ScaledTile<Real>& scaled) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const TargetRows<Real> target(plan, scaled.tile);
  RowWriter<Real> means(plan.out);
  bool uncertain = false;
  for (std::int64_t r = 0; r < scaled.tile.rows.count; ++r) {
    const Lines<Real> row = scaled.rows.At(r);
    const Real shift = *row.scale - static_cast<Real>(2 * scaled.bias);
    means.Begin({scaled.tile.batch, scaled.tile.rows.begin + r, 0}, scaled.tile.columns);
    for (std::int64_t c = 0; c < scaled.tile.columns.count; c += lanes) {
      const V sum = hn::Add(hn::Load(d, scaled.high + r * kStride + c),
                            hn::Load(d, scaled.low + r * kStride + c));
      const V own = hn::Add(hn::LoadU(d, scaled.columns.scale + c), hn::Set(d, shift));
      if (scaled.whole && TimesTarget(d, target, r, c, own, sum, means)) continue;
      const auto factor = FactorOfTarget(d, target.kind(), target.blocks(), r, c);
      const V exponent = hn::Add(own, factor.exponent);
      means.Put(d, c, TimesPowerOfTwo(d, hn::Mul(sum, factor.fraction), exponent));
      if (scaled.whole) {
        uncertain |= !hn::AllFalse(d, factor.outside);
        continue;
      }
      const V lost =
          LostMass(d, *row.lost, *row.smallest, hn::LoadU(d, scaled.columns.lost + c),
                   hn::LoadU(d, scaled.columns.smallest + c), static_cast<Real>(scaled.depth));
      // Twice for the fraction. +inf times 2^-big is not certain either.
      const V missing = TimesPowerOfTwo(d, hn::Add(lost, lost), exponent);
      const V weight = WeightOfEntry(d, plan, row, scaled.columns, c);
      const V allowed = hn::Mul(weight, hn::Set(d, 1 / ScalingLimits<Real>::kCertified));
      const auto packed = hn::Lt(lost, hn::Set(d, std::numeric_limits<Real>::infinity()));
      const auto certain = hn::Le(missing, allowed);
      // A target of zero decides, unless a line is not packed: that may hold what makes up for it.
      const auto decided =
          hn::And(packed, hn::Or(factor.zero, hn::AndNot(factor.outside, certain)));
      uncertain |= !hn::AllTrue(d, decided);
    }
    means.End();
  }
  return uncertain;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
