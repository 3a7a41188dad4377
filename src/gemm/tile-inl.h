// The tile that a micro-kernel keeps in registers, for each target, and how smaller ones come from
// it.
//
// A tile in memory has kRows rows of kTileStride elements, aligned to kPanelAlign bytes.
#if defined(LOGSUM_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_TILE_INL_H_
#undef LOGSUM_GEMM_TILE_INL_H_
#else
#define LOGSUM_GEMM_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <utility>

#include "gemm/panel.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Whether there are 32 vector registers rather than 16.
#if HWY_ARCH_ARM
inline constexpr bool kManyRegisters = true;
#else
inline constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;  // better targets are lower bits
#endif

// 14 x 2 sums, two vectors of the right panel and a broadcast of the left fill 32 registers, 6 x 2
// fill 16 (15). Without fused multiply-adds and loads that broadcast, products need registers too.
template <class T>
inline constexpr int kRows = kManyRegisters   ? 14
                             : HWY_NATIVE_FMA ? 6
                                              : 4;
inline constexpr int kVectors = 2;

// The signed integer of T's size: exponents and indices.
template <class T>
using Integer = hn::TFromD<hn::RebindToSigned<hn::ScalableTag<T>>>;

template <class T>
inline constexpr int kTileStride = kVectors * static_cast<int>(hn::MaxLanes(hn::ScalableTag<T>()));

template <class F, int... kIndices>
HWY_INLINE void UnrolledOver(std::integer_sequence<int, kIndices...>, const F& f) {
  (f(std::integral_constant<int, kIndices>()), ...);
}

// f(0) ... f(kCount - 1) as straight-line code, so that arrays indexed by constants only become
// registers.
template <int kCount, class F>
HWY_INLINE void Unrolled(const F& f) {
  UnrolledOver(std::make_integer_sequence<int, kCount>(), f);
}

// Where vector i of a group of rows, kWidth vectors each, lies in a tile.
template <class T, int kWidth>
HWY_INLINE int InTile(int i) {
  return i / kWidth * kTileStride<T> +
         i % kWidth * static_cast<int>(hn::Lanes(hn::ScalableTag<T>()));
}

// Cuts a tile into groups of rows of compile-time sizes, the largest first: kMost, then powers of
// two. f(group, width, row) gets a group's rows and vectors as integral constants and its first
// row.
template <int kMost, class F>
HWY_INLINE void ForRowGroups(int rows, int vectors, int row, const F& f) {
  static_assert(kVectors == 2);
  using Group = std::integral_constant<int, kMost>;
  for (; rows - row >= kMost; row += kMost) {
    if (vectors == 1) {
      f(Group(), std::integral_constant<int, 1>(), row);
    } else {
      f(Group(), std::integral_constant<int, 2>(), row);
    }
  }
  if constexpr (kMost > 1) {
    constexpr int kNext = kMost > 8 ? 8 : kMost > 4 ? 4 : kMost > 2 ? 2 : 1;
    ForRowGroups<kNext>(rows, vectors, row, f);
  }
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
