// Addition that keeps what it rounds off, on SIMD words.
#if defined(LOGSUM_CORE_TWO_SUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_TWO_SUM_INL_H_
#undef LOGSUM_CORE_TWO_SUM_INL_H_
#else
#define LOGSUM_CORE_TWO_SUM_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// a + b, and in `error` exactly what its rounding took (Knuth's TwoSum), whatever the sizes.
template <class V>
HWY_INLINE V TwoSum(V a, V b, V& error) {
  const V sum = hn::Add(a, b);
  const V b_seen = hn::Sub(sum, a);
  error = hn::Add(hn::Sub(a, hn::Sub(sum, b_seen)), hn::Sub(b, b_seen));
  return sum;
}

// Adds x to high + low without losing what high rounds off.
template <class V>
HWY_INLINE void Accumulate(V& high, V& low, V x) {
  V error;
  high = TwoSum(high, x, error);
  low = hn::Add(low, error);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
