// Converting runs of neighbouring elements between storage and arithmetic types.
//
// The integer code of dtype.hpp says what a conversion is; where a target converts binary16 in
// hardware (F16C on x86, NEON), that does the same eight or sixteen at a time. Neither flushes
// half subnormals, whatever the mode.
#if defined(LOGSUM_CORE_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_CONVERT_INL_H_
#undef LOGSUM_CORE_CONVERT_INL_H_
#else
#define LOGSUM_CORE_CONVERT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

#include "core/dtype.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr bool kHasHalfConversion = HWY_TARGET != HWY_SSE4 && HWY_TARGET != HWY_EMU128;

template <class Real, class Storage>
HWY_INLINE Real Widen(Storage x) {
  return static_cast<Real>(ToFloat(x));
}

template <class Storage, class Real>
HWY_INLINE Storage Narrow(Real x) {
  if constexpr (std::is_same_v<Real, double>) {
    return FromDouble<Storage>(x);
  } else {
    return FromFloat<Storage>(x);
  }
}

template <class Storage, class Real>
HWY_INLINE void WidenRun(const Storage* HWY_RESTRICT from, Real* HWY_RESTRICT to,
                         std::int64_t count) {
  std::int64_t i = 0;
  if constexpr (kHasHalfConversion && std::is_same_v<Storage, Half> &&
                std::is_same_v<Real, float>) {
    const hn::ScalableTag<float> d;
    const hn::Rebind<hwy::float16_t, decltype(d)> dh;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto* const halves = reinterpret_cast<const hwy::float16_t*>(from);
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, halves + i)), d, to + i);
    }
  }
  for (; i < count; ++i) to[i] = Widen<Real>(from[i]);
}

template <class Real, class Storage>
HWY_INLINE void NarrowRun(const Real* HWY_RESTRICT from, Storage* HWY_RESTRICT to,
                          std::int64_t count) {
  std::int64_t i = 0;
  if constexpr (kHasHalfConversion && std::is_same_v<Storage, Half> &&
                std::is_same_v<Real, float>) {
    const hn::ScalableTag<float> d;
    const hn::Rebind<hwy::float16_t, decltype(d)> dh;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto* const halves = reinterpret_cast<hwy::float16_t*>(to);
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, from + i)), dh, halves + i);
    }
  }
  for (; i < count; ++i) to[i] = Narrow<Storage>(from[i]);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
