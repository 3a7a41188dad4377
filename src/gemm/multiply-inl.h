// The product of panels, in the error of a short sum at the speed of the multiply-add units.
//
// A tile's entry is high + low. Terms are added in registers in chains of kChunk = 32, kFold = 8
// chunks plainly in L1, and every 256 terms from there by TwoSum, so depth adds nothing to the
// error. In units of u = 2^-24 (2^-53), relative to the sum of magnitudes:
//
//   any terms     31 + 7 u (32 + 7 without FMA, whose products are rounded): each addition loses u
//                 of its partial sum at most, and does when one large term comes first
//   equal terms   12 + 3 u: a chain of n loses at most 3/8 n u, as most of its partial sums are
//                 small; 9.2 u (5.5e-7) is the worst that search over constants found, 9.9 u
//                 without FMA, at any depth
//
// Other numbers: chains of 16 find 4.1e-7 and cost 6% of the time on AVX-512, folding every 16
// chunks finds 7.7e-7 and saves 1.5%. The stores of a fold are what costs, two cycles each.
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
  ForRowGroups<kRows<T>>(rows, vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
    const std::int64_t at = row * kTileStride<T>;
    MultiplyGroup<T, group, width>(left + row * kChunk, step, right, depth, high + at, low + at,
                                   first);
  });
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
