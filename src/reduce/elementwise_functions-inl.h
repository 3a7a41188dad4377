// Functions of the language on SIMD words, as formula/op.hpp defines them.
#if defined(LOGSUM_REDUCE_ELEMENTWISE_FUNCTIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_ELEMENTWISE_FUNCTIONS_INL_H_
#undef LOGSUM_REDUCE_ELEMENTWISE_FUNCTIONS_INL_H_
#else
#define LOGSUM_REDUCE_ELEMENTWISE_FUNCTIONS_INL_H_
#endif

#include <limits>

#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Infinity(D d) {
  return hn::Set(d, std::numeric_limits<hn::TFromD<D>>::infinity());
}

// -1, 0 or 1; NaN stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sign(D d, V x) {
  const V one = hn::Set(d, hn::TFromD<D>{1});
  const V negative = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Neg(one), x);
  return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), one, negative);
}

// 1 where x >= 0, 0 where x < 0; NaN stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Step(D d, V x) {
  const V not_negative = hn::IfThenElse(hn::Ge(x, hn::Zero(d)), hn::Set(d, hn::TFromD<D>{1}), x);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), not_negative);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Keep(D d, V x, V y) {
  return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(d)), y);
}

// min(max(x, low), high); NaN of any operand stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Clamp(D d, V x, V low, V high) {
  const V raised = hn::IfThenElse(hn::Lt(x, low), low, x);
  const V clamped = hn::IfThenElse(hn::Gt(raised, high), high, raised);
  const auto ordered = hn::And(hn::Eq(low, low), hn::Eq(high, high));
  return hn::IfThenElse(ordered, clamped,
                        hn::Set(d, std::numeric_limits<hn::TFromD<D>>::quiet_NaN()));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Ratio(D d, V x, V y) {
  const V quotient = logsum::HWY_NAMESPACE::Exp(d, hn::Sub(x, y));
  return hn::IfThenZeroElse(hn::Eq(x, hn::Neg(Infinity(d))), quotient);
}

// Equal numbers differ by zero, and equal infinities too: their term's share is e^-z.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Probability(D d, V x, V y, V z) {
  const V difference = hn::IfThenZeroElse(hn::Eq(x, y), hn::Sub(x, y));
  const V exponent = logsum::HWY_NAMESPACE::AtMost(d, hn::Zero(d), hn::Sub(difference, z));
  const V share = logsum::HWY_NAMESPACE::ExpNonPositive(d, exponent);
  return hn::IfThenZeroElse(hn::Eq(x, hn::Neg(Infinity(d))), share);
}

// x log x, 0 for 0 and NaN below. At most 2.5 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V XLogX(D d, V x) {
  return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(d)), hn::Mul(x, logsum::HWY_NAMESPACE::Log(d, x)));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
