// The product of panels in the max semiring: best = max over k of left + right.
//
// Comparisons are strict: of equal terms the one of lowest k wins, and a NaN term, which is what
// +inf - inf gives, is passed over.
#if defined(LOGSUM_GEMM_MAX_PLUS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_MAX_PLUS_INL_H_
#undef LOGSUM_GEMM_MAX_PLUS_INL_H_
#else
#define LOGSUM_GEMM_MAX_PLUS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

// Maxima alone, and with an index beside each.
inline constexpr int kMaxRows = kManyRegisters ? 8 : 4;
inline constexpr int kArgmaxRows = kManyRegisters ? 4 : 2;

// argmax is used only if kIndexed.
template <class T, int kGroup, int kWidth, bool kIndexed>
HWY_NOINLINE void MaxPlusGroup(const T* HWY_RESTRICT left, std::int64_t step,
                               const T* HWY_RESTRICT right, std::int64_t depth,
                               T* HWY_RESTRICT best, Integer<T>* HWY_RESTRICT argmax, Integer<T> k0,
                               bool first) {
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  V largest[kGroup * kWidth];
  VI index[kGroup * kWidth];
  Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR {
    if (first) {
      largest[i] = hn::Set(d, -std::numeric_limits<T>::infinity());
      if constexpr (kIndexed) index[i] = hn::Set(di, k0);
    } else {
      largest[i] = hn::Load(d, best + InTile<T, kWidth>(i));
      if constexpr (kIndexed) index[i] = hn::Load(di, argmax + InTile<T, kWidth>(i));
    }
  });
  VI now = hn::Set(di, k0);
  for (std::int64_t k = 0; k < depth; k += kChunk, left += step) {
    const T* const end = left + std::min<std::int64_t>(kChunk, depth - k);
    for (const T* at = left; at != end; ++at, right += kWidth * lanes) {
      V column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { column[v] = hn::Load(d, right + v * lanes); });
      Unrolled<kGroup>([&](auto row) HWY_ATTR {
        const V other = hn::Set(d, at[row * kChunk]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          const int i = row * kWidth + v;
          const V term = hn::Add(other, column[v]);
          if constexpr (kIndexed) {
            const auto better = hn::RebindMask(di, hn::Gt(term, largest[i]));
            index[i] = hn::IfThenElse(better, now, index[i]);
          }
          // The larger, and what stands already beside a NaN term.
          largest[i] = logsum::HWY_NAMESPACE::AtLeast(d, term, largest[i]);
        });
      });
      if constexpr (kIndexed) now = hn::Add(now, hn::Set(di, 1));
    }
  }
  Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR {
    hn::Store(largest[i], d, best + InTile<T, kWidth>(i));
    if constexpr (kIndexed) hn::Store(index[i], di, argmax + InTile<T, kWidth>(i));
  });
}

// best = max(best, left + right), from -inf if `first`. rows 1 to kRows<T>, vectors 1 to kVectors.
template <class T>
HWY_INLINE void MaxPlus(const T* left, int rows, const T* right, int vectors, std::int64_t depth,
                        T* best, bool first) {
  const std::int64_t step = std::int64_t{rows} * kChunk;
  ForRowGroups<kMaxRows>(rows, vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
    MaxPlusGroup<T, group, width, false>(left + row * kChunk, step, right, depth,
                                         best + row * kTileStride<T>, nullptr, 0, first);
  });
}

// The same with the k of each maximum, counted from k0 at the first term; k0 where no term is
// larger than -inf and `first`. k0 + depth must fit the integer.
template <class T>
HWY_INLINE void MaxPlus(const T* left, int rows, const T* right, int vectors, std::int64_t depth,
                        T* best, Integer<T>* argmax, Integer<T> k0, bool first) {
  const std::int64_t step = std::int64_t{rows} * kChunk;
  ForRowGroups<kArgmaxRows>(rows, vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
    const std::int64_t at = row * kTileStride<T>;
    MaxPlusGroup<T, group, width, true>(left + row * kChunk, step, right, depth, best + at,
                                        argmax + at, k0, first);
  });
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
