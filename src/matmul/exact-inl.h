// Terms as unevaluated sums of two doubles.
#if defined(LOGSUM_MATMUL_EXACT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_EXACT_INL_H_
#undef LOGSUM_MATMUL_EXACT_INL_H_
#else
#define LOGSUM_MATMUL_EXACT_INL_H_
#endif

#include <limits>

#include "core/exp-inl.h"
#include "core/two_sum-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Exp;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// high + low, without error.
template <class V>
struct Exact {
  V high, low;
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE Exact<V> ExactSum(D /*d*/, V a, V b) {
  V low;
  const V high = logsum::HWY_NAMESPACE::TwoSum(a, b, low);
  return {high, low};
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> IsNan(D /*d*/, V x) {
  return hn::Not(hn::Eq(x, x));
}

// The term a + b of a forward product: -inf absorbs whatever is no NaN, infinite terms have no low
// part.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Exact<V> ExactTerm(D d, V a, V b) {
  const V zero_term = hn::Set(d, -kInfinity);
  const auto nan = hn::Or(IsNan(d, a), IsNan(d, b));
  const auto absent = hn::Or(hn::Eq(a, zero_term), hn::Eq(b, zero_term));
  auto [high, low] = ExactSum(d, a, b);
  high = hn::IfThenElse(hn::AndNot(nan, absent), zero_term, high);
  const auto finite = hn::Lt(hn::Abs(high), hn::Set(d, kInfinity));
  return {high, hn::IfThenElseZero(finite, low)};
}

// e^(x - y) for numbers in two parts, y >= x or NaN: 0 where y is +inf and x is not, 1 where both
// are, 0 where x is -inf.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfDifference(D d, Exact<V> x, Exact<V> y) {
  const auto infinite = hn::Eq(y.high, hn::Set(d, kInfinity));
  const auto none = hn::Eq(y.high, hn::Set(d, -kInfinity));
  const V base = hn::IfThenZeroElse(hn::Or(infinite, none), y.high);
  const V difference = hn::Add(hn::Sub(x.high, base), hn::Sub(x.low, y.low));
  const V share = hn::IfThenElse(hn::Lt(x.high, y.high), hn::Zero(d),
                                 hn::Add(hn::Set(d, 1.0), hn::Sub(x.low, x.low)));
  return hn::IfThenElse(hn::AndNot(IsNan(d, x.high), infinite), share, Exp(d, difference));
}

// The factor e^(a + b - c - residual) of a mean: 0 where a or b is -inf or no term was there to
// begin with (c = -inf); where c is +inf, the share 1/n = e^-residual for each infinite term.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V MeanFactor(D d, V a, V b, V c, V residual) {
  const V infinity = hn::Set(d, kInfinity);
  const V zero_term = hn::Set(d, -kInfinity);
  const auto nan = hn::Or(hn::Or(IsNan(d, a), IsNan(d, b)), IsNan(d, c));
  const auto absent =
      hn::Or(hn::Or(hn::Eq(a, zero_term), hn::Eq(b, zero_term)), hn::Eq(c, zero_term));
  const auto infinite = hn::Eq(c, infinity);
  const auto shares = hn::Or(hn::Eq(a, infinity), hn::Eq(b, infinity));
  const auto ab = ExactSum(d, a, b);
  const auto abc = ExactSum(d, ab.high, hn::Neg(c));
  const V finite_power = hn::Add(abc.high, hn::Sub(hn::Add(ab.low, abc.low), residual));
  const V share_power = hn::IfThenElse(shares, hn::Neg(residual), zero_term);
  V power = hn::IfThenElse(infinite, share_power, finite_power);
  power = hn::IfThenElse(absent, zero_term, power);
  return Exp(d, hn::IfThenElse(nan, hn::Add(hn::Add(a, b), c), power));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
