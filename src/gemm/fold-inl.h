// Where chunks of sums go: a second accumulator in L1, and every kFold chunks from there into
// (high, low) by compensated addition.
#if defined(LOGSUM_GEMM_FOLD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_FOLD_INL_H_
#undef LOGSUM_GEMM_FOLD_INL_H_
#else
#define LOGSUM_GEMM_FOLD_INL_H_
#endif

#include <hwy/highway.h>

#include "core/two_sum-inl.h"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

// Chunks that are added plainly before one compensated addition.
inline constexpr int kFold = 8;

template <class T, int kGroup, int kWidth>
class FoldedSum {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

 public:
  // The sum of all chunks is added to (high, low), or written there if `first`.
  HWY_INLINE FoldedSum(T* high, T* low, bool first)
      : high_(high), low_(low), plain_(first ? high : partial_) {
    const D d;
    if (!first) return;
    Unrolled<kGroup * kWidth>(
        [&](auto i) HWY_ATTR { hn::Store(hn::Zero(d), d, low_ + InTile<T, kWidth>(i)); });
  }

  HWY_INLINE void Add(const V (&sum)[kGroup * kWidth]) {
    const D d;
    T* const plain = plain_;  // or every store might change it
    if (chunks_ == 0) {
      Unrolled<kGroup * kWidth>(
          [&](auto i) HWY_ATTR { hn::Store(sum[i], d, plain + InTile<T, kWidth>(i)); });
    } else {
      Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR {
        hn::Store(hn::Add(hn::Load(d, plain + InTile<T, kWidth>(i)), sum[i]), d,
                  plain + InTile<T, kWidth>(i));
      });
    }
    if (++chunks_ == kFold) Fold();
  }

  HWY_INLINE void Finish() {
    if (chunks_ > 0) Fold();
  }

 private:
  HWY_INLINE void Fold() {
    const D d;
    if (plain_ == partial_) {
      T *const to_high = high_, *const to_low = low_;
      for (int row = 0; row < kGroup; ++row) {
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          const int at = InTile<T, kWidth>(row * kWidth + v);
          V high = hn::Load(d, to_high + at), low = hn::Load(d, to_low + at);
          logsum::HWY_NAMESPACE::Accumulate(high, low, hn::Load(d, partial_ + at));
          hn::Store(high, d, to_high + at);
          hn::Store(low, d, to_low + at);
        });
      }
    }
    plain_ = partial_;
    chunks_ = 0;
  }

  alignas(kPanelAlign) T partial_[kGroup * kTileStride<T>];
  T* const high_;
  T* const low_;
  T* plain_;  // where chunks are added: partial_, but high_ itself until it holds something
  int chunks_ = 0;
};

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
