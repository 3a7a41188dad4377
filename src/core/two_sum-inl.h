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

// Adds x to high + low without losing what high rounds off (Knuth's TwoSum), whatever the sizes.
template <class V>
HWY_INLINE void Accumulate(V& high, V& low, V x) {
  const V sum = hn::Add(high, x);
  const V x_seen = hn::Sub(sum, high);
  const V error = hn::Add(hn::Sub(high, hn::Sub(sum, x_seen)), hn::Sub(x, x_seen));
  high = sum;
  low = hn::Add(low, error);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
