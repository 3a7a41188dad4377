// What scaling needs to know of a line: its largest and smallest terms, and its weights.
#if defined(LOGSUM_MATMUL_LINES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_LINES_INL_H_
#undef LOGSUM_MATMUL_LINES_INL_H_
#else
#define LOGSUM_MATMUL_LINES_INL_H_
#endif

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
    const V x = hn::Add(term.x, cut);
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

  HWY_INLINE void AddWeight(V weight) {
    const V size = hn::Abs(weight);
    mass = hn::Add(mass, size);
    peak = hn::Max(size, peak);
  }
};

// Turns the extremes of a line into its facts.
template <class Real>
inline void DescribeLine(const Packing<Real>& packing, Real top, Real bottom, Real mass, Real peak,
                         const Lines<Real>& line) {
  using Limits = ScalingLimits<Real>;
  using C = ExpConstants<Real>;
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  *line.top = top;
  *line.bottom = bottom;
  *line.scale = 0;
  *line.lost = 0;
  *line.smallest = 1;
  *line.mass = packing.kind.has_weight ? mass : Real{1};
  *line.peak = packing.kind.has_weight ? peak : Real{1};
  if (top == -kInf) return;  // zeros only
  if (!(std::abs(top) <= Limits::kDomain)) {
    *line.lost = kInf;
    return;
  }
  const hn::CappedTag<Real, 1> d1;
  *line.scale = hn::GetLane(logsum::HWY_NAMESPACE::ExponentOf(d1, hn::Set(d1, top)));
  // Two binades for the rounding of levels and exponents, one for a mantissa below two.
  const Real spread = (top - bottom) * C::kLog2E + 3;
  if (spread > static_cast<Real>(packing.bias - Limits::kSmallestExponent)) {
    const Real flushed = 2 * Limits::kTiny;
    *line.lost = std::ldexp(static_cast<Real>(packing.depth) * flushed, packing.bias + 2);
    *line.smallest = Limits::kTiny;
  } else {
    *line.smallest = std::ldexp(Real{1}, packing.bias - static_cast<int>(spread) - 1);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
