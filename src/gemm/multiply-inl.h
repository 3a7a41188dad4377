// tile += left * right, to high + low.
//
// Error: chains of kChunk terms, kFold chunks added plainly, the rest compensated.
#if defined(LOGSUM_GEMM_MULTIPLY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_MULTIPLY_INL_H_
#undef LOGSUM_GEMM_MULTIPLY_INL_H_
#else
#define LOGSUM_GEMM_MULTIPLY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "gemm/fold-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

// kGroup rows of a left panel whose chunks are `step` elements apart.
template <class T, int kGroup, int kWidth>
HWY_NOINLINE void MultiplyGroup(const T* HWY_RESTRICT left, std::int64_t step,
                                const T* HWY_RESTRICT right, std::int64_t depth,
                                T* HWY_RESTRICT high, T* HWY_RESTRICT low, bool first) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  FoldedSum<T, kGroup, kWidth> total(high, low, first);
  std::int64_t k = 0;
  do {  // at least once: nothing sums to zero
    V sum[kGroup * kWidth];
    Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
    const T* const end = left + std::min<std::int64_t>(kChunk, depth - k);
    for (const T* at = left; at != end; ++at, right += kWidth * lanes) {
      V column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { column[v] = hn::Load(d, right + v * lanes); });
      Unrolled<kGroup>([&](auto row) HWY_ATTR {
        const V factor = hn::Set(d, at[row * kChunk]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          V& s = sum[row * kWidth + v];
          s = hn::MulAdd(factor, column[v], s);
        });
      });
    }
    total.Add(sum);
    left += step;
    k += kChunk;
  } while (k < depth);
  total.Finish();
}

// high + low += left * right, or = if `first`. rows 1 to kRows<T>, vectors 1 to kVectors.
template <class T>
HWY_INLINE void Multiply(const T* left, int rows, const T* right, int vectors, std::int64_t depth,
                         T* high, T* low, bool first) {
  const std::int64_t step = std::int64_t{rows} * kChunk;
  ForRowGroups<kRows<T>>(rows, 0, [&](auto group, int row) HWY_ATTR {
    const auto run = [&](auto width) HWY_ATTR {
      const std::int64_t at = row * kTileStride<T>;
      MultiplyGroup<T, group, width>(left + row * kChunk, step, right, depth, high + at, low + at,
                                     first);
    };
    ForWidth(vectors, run);
  });
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
