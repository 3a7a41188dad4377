// What scaling needs to know of a line: its largest and smallest terms, and its weights.
#if defined(LOGSUM_MATMUL_LINES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_LINES_INL_H_
#undef LOGSUM_MATMUL_LINES_INL_H_
#else
#define LOGSUM_MATMUL_LINES_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "hwy/highway.h"
#include "matmul/packing.hpp"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The largest and smallest level x + ln 2 exponent of terms that are not zero, over some of them.
template <class D>
struct Extremes {
  using V = hn::Vec<D>;
  using T = hn::TFromD<D>;
  static constexpr T kInf = std::numeric_limits<T>::infinity();

  V top, bottom, mass, peak;

  HWY_INLINE explicit Extremes(D d)
      : top(hn::Set(d, -kInf)), bottom(hn::Set(d, kInf)), mass(hn::Zero(d)), peak(hn::Zero(d)) {}

  // A plain term: bottom is -inf as soon as one is.
  HWY_INLINE void AddPlain(D /*d*/, V x) {
    top = hn::Max(x, top);
    bottom = hn::Min(x, bottom);
  }

  // A plain term, zeros left out.
  HWY_INLINE void AddNonZero(D d, V x) {
    top = hn::Max(x, top);
    bottom = hn::Min(hn::IfThenElse(hn::Eq(x, hn::Set(d, -kInf)), hn::Set(d, kInf), x), bottom);
  }

  // A term with a gauge's shift and cut. What neither counts as zero nor can be split without loss
  // makes the line one for the last rung (level +inf): large terms, and finite low ones, which a
  // mean may neglect once they are so low that nothing in the domain lifts them.
  HWY_INLINE void Add(D d, const Term<D>& term, V shift, V cut, bool is_mean) {
    using C = ExpConstants<T>;
    constexpr T kDomain = ScalingLimits<T>::kDomain;
    const V infinity = hn::Set(d, kInf);
    const V x = WithCut(d, term.x, cut);
    const V low_limit = hn::Set(d, is_mean ? -4 * kDomain : -kInf);
    const auto zero = hn::Le(x, low_limit);
    const auto low = hn::AndNot(zero, hn::Lt(x, hn::Set(d, -kDomain)));
    const auto outside = hn::Or(low, hn::Gt(x, hn::Set(d, kDomain)));
    const V exponent = hn::Add(term.exponent, shift);
    V level = hn::MulAdd(exponent, hn::Set(d, C::kLn2Hi), x);
    level = hn::IfThenElse(outside, infinity, level);
    top = hn::Max(hn::IfThenElse(zero, hn::Neg(infinity), level), top);
    bottom = hn::Min(hn::IfThenElse(zero, infinity, level), bottom);
  }

  // The weight of a zero is no part of the tolerance: it may be infinite.
  HWY_INLINE void AddWeight(D d, const Term<D>& term, V weight) {
    const auto no_term = hn::Eq(term.x, hn::Set(d, -kInf));
    const V size = hn::IfThenZeroElse(no_term, hn::Abs(weight));
    mass = hn::Add(mass, size);
    peak = hn::Max(size, peak);
  }
};

// Turns the extremes of `count` lines into their facts. The arrays may be read to whole vectors,
// and may be those of the facts themselves.
template <class Real>
void DescribeLines(const Packing<Real>& packing, const Real* tops, const Real* bottoms,
                   const Real* masses, const Real* peaks, std::int64_t count,
                   const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  using V = hn::Vec<D>;
  using Limits = ScalingLimits<Real>;
  using C = ExpConstants<Real>;
  const D d;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V one = hn::Set(d, Real{1}), zero = hn::Zero(d);
  const V infinity = hn::Set(d, std::numeric_limits<Real>::infinity());
  const Real bias = static_cast<Real>(packing.bias);
  // A line's exponent and a gauge's shift, which is at most half the domain, are one scale.
  const V reach = hn::Set(d, packing.gauge.Exists() ? Limits::kDomain / 2 : Limits::kDomain);
  const V range = hn::Set(d, bias - static_cast<Real>(Limits::kSmallestExponent));
  const V flushed = hn::Set(
      d, std::ldexp(static_cast<Real>(packing.depth) * 2 * Limits::kTiny, packing.bias + 2));
  HWY_ALIGN Real scale[hn::MaxLanes(d)], lost[hn::MaxLanes(d)], smallest[hn::MaxLanes(d)];
  for (std::int64_t i = 0; i < count; i += lanes) {
    const V top = hn::LoadU(d, tops + i), bottom = hn::LoadU(d, bottoms + i);
    const auto inside = hn::Le(hn::Abs(top), reach);
    const auto empty = hn::Eq(top, hn::Neg(infinity));  // zeros only
    hn::Store(hn::IfThenElseZero(inside, logsum::HWY_NAMESPACE::ExponentOf(d, top)), d, scale);
    // Two binades for the rounding of levels and exponents, one for a mantissa below two.
    const V spread = hn::MulAdd(hn::Sub(top, bottom), hn::Set(d, C::kLog2E), hn::Set(d, Real{3}));
    const auto fits = hn::Le(spread, range);
    V missing = hn::IfThenElse(fits, zero, flushed);
    missing = hn::IfThenElse(inside, missing, hn::IfThenElse(empty, zero, infinity));
    hn::Store(missing, d, lost);
    // Within the range: 2^(bias - 1 - spread), rounded down to a power of two.
    const V exponent = hn::Sub(hn::Set(d, bias - 2), hn::IfThenElseZero(fits, spread));
    const V field = hn::Add(exponent, hn::Set(d, Real{C::kExponentBias}));
    const V power =
        logsum::HWY_NAMESPACE::PowerFromField(d, hn::ConvertTo(di, hn::Max(field, one)));
    const V least = hn::IfThenElse(fits, power, hn::Set(d, Limits::kTiny));
    hn::Store(hn::IfThenElse(inside, least, one), d, smallest);
    const std::int64_t some = std::min(lanes, count - i);
    std::copy_n(scale, some, facts.scale + i);
    std::copy_n(lost, some, facts.lost + i);
    std::copy_n(smallest, some, facts.smallest + i);
  }
  if (tops != facts.top) std::copy_n(tops, count, facts.top);
  if (bottoms != facts.bottom) std::copy_n(bottoms, count, facts.bottom);
  if (packing.kind.has_weight) {
    if (masses != facts.mass) std::copy_n(masses, count, facts.mass);
    if (peaks != facts.peak) std::copy_n(peaks, count, facts.peak);
  } else {
    std::fill_n(facts.mass, count, Real{1});
    std::fill_n(facts.peak, count, Real{1});
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
