// Vectors of neighbours: what lies one element before or after each lane, from registers. An
// unaligned load would wait for the two stores that wrote its halves to reach the cache.
#if defined(LOGSUM_CORE_NEIGHBOURS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_NEIGHBOURS_INL_H_
#undef LOGSUM_CORE_NEIGHBOURS_INL_H_
#else
#define LOGSUM_CORE_NEIGHBOURS_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The last lane of `before`, then all but the last lane of `here`; vectors of double.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V OneBefore(D d, V before, V here) {
#if HWY_TARGET == HWY_AVX3
  (void)d;
  return V{_mm512_castsi512_pd(
      _mm512_alignr_epi64(_mm512_castpd_si512(here.raw), _mm512_castpd_si512(before.raw), 7))};
#else
  if constexpr (hn::MaxLanes(d) > 2) {
    before = hn::ConcatLowerUpper(d, here, before);
  }
  return hn::CombineShiftRightBytes<sizeof(double)>(d, here, before);
#endif
}

// All but the first lane of `here`, then the first lane of `after`.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V OneAfter(D d, V here, V after) {
#if HWY_TARGET == HWY_AVX3
  (void)d;
  return V{_mm512_castsi512_pd(
      _mm512_alignr_epi64(_mm512_castpd_si512(after.raw), _mm512_castpd_si512(here.raw), 1))};
#else
  if constexpr (hn::MaxLanes(d) > 2) {
    after = hn::ConcatLowerUpper(d, after, here);
  }
  return hn::CombineShiftRightBytes<sizeof(double)>(d, after, here);
#endif
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
