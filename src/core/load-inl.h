// A vector of elements of any floating type, widened as it is loaded.
#if defined(LOGSUM_CORE_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_LOAD_INL_H_
#undef LOGSUM_CORE_LOAD_INL_H_
#else
#define LOGSUM_CORE_LOAD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Neighbouring elements in the type of the arithmetic.
template <class Real, class Storage>
HWY_INLINE hn::Vec<hn::ScalableTag<Real>> LoadWide(const Storage* from) {
  const hn::ScalableTag<Real> d;
  constexpr bool kIsFloat = std::is_same_v<Real, float>;
  if constexpr (std::is_same_v<Storage, Real>) {
    return hn::LoadU(d, from);
  } else if constexpr (kIsFloat && std::is_same_v<Storage, BFloat16>) {
    const hn::RebindToUnsigned<decltype(d)> words;
    const hn::Rebind<std::uint16_t, decltype(d)> halves;
    const auto bits = hn::LoadU(halves, reinterpret_cast<const std::uint16_t*>(from));
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(words, bits)));
  } else if constexpr (kHasHalfConversion && kIsFloat && std::is_same_v<Storage, Half>) {
    const hn::Rebind<hwy::float16_t, decltype(d)> halves;
    return hn::PromoteTo(d, hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(from)));
  } else {
    alignas(64) Real wide[hn::MaxLanes(hn::ScalableTag<Real>())];
    for (std::size_t i = 0; i < hn::Lanes(d); ++i) wide[i] = Widen<Real>(from[i]);
    return hn::Load(d, wide);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
