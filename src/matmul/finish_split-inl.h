// From a tile of sums with exponents of their own to results.
#if defined(LOGSUM_MATMUL_FINISH_SPLIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_FINISH_SPLIT_INL_H_
#undef LOGSUM_MATMUL_FINISH_SPLIT_INL_H_
#else
#define LOGSUM_MATMUL_FINISH_SPLIT_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/exp_constants.hpp"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "matmul/careful.hpp"
#include "matmul/finish-inl.h"
#include "matmul/rows-inl.h"
#include "matmul/scaling.hpp"
#include "matmul/split-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
struct SplitTile {
  Tile tile;
  Real* high;
  Real* low;
  Integer<Real>* exponent;
  Lines<Real> rows, columns;
};

template <class Real>
inline bool IsOutside(const Lines<Real>& lines, std::int64_t line) {
  return lines.lost[line] == std::numeric_limits<Real>::infinity();
}

// Writes a forward tile's logarithms. False if entries remain for the last rung, which `wanted`
// then names: those of lines with terms above the domain, and those so small that terms below it,
// taken as zero here, could matter.
template <class Real>
bool FinishSplitSums(const Plan& plan, const SplitTile<Real>& split, std::uint8_t* wanted) {
  const hn::ScalableTag<Real> d;
  const hn::RebindToSigned<decltype(d)> di;
  using C = ExpConstants<Real>;
  constexpr Real kDomain = ScalingLimits<Real>::kDomain;
  // A term that is this far below its sum, in binades, is nothing beside it, even 2^40 of them.
  constexpr Real kNothing = std::numeric_limits<Real>::digits + 44;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const Tile& tile = split.tile;
  SumRows<Real> results(plan);
  bool decided = true;
  for (std::int64_t r = 0; r < tile.rows.count; ++r) {
    results.Begin({tile.batch, tile.rows.begin + r, 0}, tile.columns);
    for (std::int64_t c = 0; c < tile.columns.count; c += lanes) {
      const std::int64_t at = r * kStride + c;
      const auto sum = hn::Add(hn::Load(d, split.high + at), hn::Load(d, split.low + at));
      // Beyond the last rounding, 2^-126 of a sum was flushed for each term at most.
      const auto lost = hn::Mul(sum, hn::Set(d, 1 / ScalingLimits<Real>::kCertified));
      results.Put(d, c, sum, hn::ConvertTo(d, hn::Load(di, split.exponent + at)), lost);
    }
    results.End();
    for (std::int64_t c = 0; c < tile.columns.count; ++c) {
      const std::int64_t at = r * kStride + c;
      const Real exponent = split.high[at] == 0 ? -std::numeric_limits<Real>::infinity()
                                                : static_cast<Real>(split.exponent[at]);
      bool careful = IsOutside(split.rows, r) || IsOutside(split.columns, c);
      if (split.rows.bottom[r] < -kDomain) {
        careful |= exponent < (split.columns.top[c] - kDomain) * C::kLog2E + kNothing;
      }
      if (split.columns.bottom[c] < -kDomain) {
        careful |= exponent < (split.rows.top[r] - kDomain) * C::kLog2E + kNothing;
      }
      wanted[r * kCarefulWidth + c] = careful;
      decided &= !careful;
    }
  }
  return decided;
}

// The binades that a line's weights take: sums are kept relative to the largest.
template <class Real>
inline int WeightExponent(Real peak) {
  return peak > 0 && peak <= std::numeric_limits<Real>::max() ? std::ilogb(peak) : 0;
}

// The exponents relative to which a mean's terms are summed: the target's, negated, and the
// weights'. Terms are then at most about one.
template <class Real>
void SetMeanExponents(const Plan& plan, const SplitTile<Real>& split, Integer<Real>* exponents) {
  const hn::ScalableTag<Real> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const TargetRows<Real> target(plan, split.tile);
  for (std::int64_t r = 0; r < split.tile.rows.count; ++r) {
    for (std::int64_t c = 0; c < split.tile.columns.count; c += lanes) {
      const auto factor = FactorOfTarget(d, target.kind(), target.blocks(), r, c);
      const auto own = hn::ConvertTo(
          di, hn::IfThenElseZero(hn::Eq(factor.exponent, factor.exponent), factor.exponent));
      hn::Store(hn::Neg(own), di, exponents + r * kStride + c);
    }
    for (std::int64_t c = 0; c < split.tile.columns.count; ++c) {
      exponents[r * kStride + c] +=
          WeightExponent(split.rows.peak[r]) + WeightExponent(split.columns.peak[c]);
    }
  }
}

// Writes a tile's means; as FinishSplitSums.
template <class Real>
bool FinishSplitMeans(const Plan& plan, const SplitTile<Real>& split, std::uint8_t* wanted) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const Tile& tile = split.tile;
  const TargetRows<Real> target(plan, tile);
  HWY_ALIGN Real means[kStride], outside[kStride], shifts[kStride];
  bool decided = true;
  for (std::int64_t r = 0; r < tile.rows.count; ++r) {
    const int row_shift = WeightExponent(split.rows.peak[r]);
    for (std::int64_t c = 0; c < tile.columns.count; ++c) {
      shifts[c] = static_cast<Real>(row_shift + WeightExponent(split.columns.peak[c]));
    }
    for (std::int64_t c = tile.columns.count; c < kStride; ++c) shifts[c] = 0;
    for (std::int64_t c = 0; c < tile.columns.count; c += lanes) {
      const std::int64_t at = r * kStride + c;
      const V sum = hn::Add(hn::Load(d, split.high + at), hn::Load(d, split.low + at));
      const auto factor = FactorOfTarget(d, target.kind(), target.blocks(), r, c);
      const V mean = hn::Mul(sum, factor.fraction);
      hn::Store(TimesPowerOfTwo(d, mean, hn::Load(d, shifts + c)), d, means + c);
      hn::Store(hn::IfThenElseZero(factor.outside, hn::Set(d, Real{1})), d, outside + c);
    }
    WriteRow(plan.out, {tile.batch, tile.rows.begin + r, 0}, tile.columns, means);
    for (std::int64_t c = 0; c < tile.columns.count; ++c) {
      const bool careful =
          IsOutside(split.rows, r) || IsOutside(split.columns, c) || outside[c] != 0;
      wanted[r * kCarefulWidth + c] = careful;
      decided &= !careful;
    }
  }
  return decided;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
