// log(e^a + e^b) on SIMD words.
#if defined(LOGSUM_CORE_LOGADDEXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_LOGADDEXP_INL_H_
#undef LOGSUM_CORE_LOGADDEXP_INL_H_
#else
#define LOGSUM_CORE_LOGADDEXP_INL_H_
#endif

#include <hwy/highway.h>

#include "core/exp-inl.h"
#include "core/log-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// max(a, b) + log1p(e^-|a - b|): at most 2 ulp of the result, or of log 2 where it is smaller.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogAddExp(D d, V a, V b) {
  const V difference = hn::Abs(hn::Sub(a, b));
  // Equal infinities would give NaN; equal numbers differ by zero in any case.
  const V distance = hn::IfThenZeroElse(hn::Eq(a, b), difference);
  const V tail = Log1p(d, ExpNonPositive(d, hn::Neg(distance)));
  // A NaN on either side is in `tail` too, whichever operand Max returns.
  return hn::Add(hn::Max(a, b), tail);
}

// log(1 + e^x): likewise, and at most 3 ulp of itself where x < 0 and e^x is a normal number.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  return LogAddExp(d, x, hn::Zero(d));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
