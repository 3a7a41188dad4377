// Products of small blocks as they lie in memory: no packing, the left operand is broadcast element
// by element from anywhere, the right one and the result are rows of vectors.
//
//   out[r, c] (+)= sum over k < depth of left[r * row_step + k * depth_step] * right[k, c]
//
// Chains of additions are at most kChunk = 32 long; chunks are added plainly, in registers where
// there are enough, else in `out`, which stays in the first-level cache. Callers keep the number of
// chunks in one `out` small and fold it further themselves (Fold). With AVX-512 it runs at 0.97 to
// 0.99 of the speed of multiply-adds.
#if defined(LOGSUM_GEMM_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_PRODUCT_INL_H_
#undef LOGSUM_GEMM_PRODUCT_INL_H_
#else
#define LOGSUM_GEMM_PRODUCT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/two_sum-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

// A step known at compile time, for RowStep and DepthStep; std::int64_t is one that is not.
template <int kStep>
using Step = std::integral_constant<int, kStep>;

// Where there are registers for it, chunks are added there and a result is stored once: stores are
// what chunks cost otherwise, two cycles each with AVX-512, 5% of all.
inline constexpr bool kAddChunksInRegisters = kManyRegisters;

// Rows in registers at a time.
inline constexpr int kProductRows = kManyRegisters ? 6 : HWY_NATIVE_FMA ? 6 : 4;

// Where the rows of a left operand are. Rows that are not a constant apart are reached from every
// third one, by one step and by two, as x86 addresses can; a pointer for each would not fit into
// the registers, and compilers left to themselves make it so.
template <int kGroup, class T, class RowStep>
class LeftRows {
 public:
  HWY_INLINE LeftRows(const T* left, RowStep step) : step_(step) {
    Unrolled<kBases>([&](auto i) HWY_ATTR {
      base_[i] = left + kShare * i * step;
      if constexpr (kShare < kGroup) asm("" : "+r"(base_[i]));
    });
  }
  template <class Row>
  HWY_INLINE const T* operator[](Row row) const {
    return base_[row / kShare] + row % kShare * step_;
  }
  template <class DepthStep>
  HWY_INLINE void Advance(DepthStep step) {
    Unrolled<kBases>([&](auto i) HWY_ATTR {
      base_[i] += step;
      if constexpr (kShare < kGroup) asm("" : "+r"(base_[i]));
    });
  }

 private:
  static constexpr int kShare = std::is_same_v<RowStep, std::int64_t> ? 3 : kGroup;
  static constexpr int kBases = (kGroup + kShare - 1) / kShare;
  const T* base_[kBases];
  RowStep step_;
};

// A vector in a register. GCC would rather read it again for each of a few products, and the load
// units are what is short then: 0.72 of the speed for up to four rows.
template <class T>
HWY_INLINE hn::Vec<hn::ScalableTag<T>> LoadOnce(const T* from) {
  auto x = hn::LoadU(hn::ScalableTag<T>(), from);
#if HWY_ARCH_X86 && !HWY_COMPILER_MSVC
  asm("" : "+v"(x.raw));
#endif
  return x;
}

// out = sum, or out += sum.
template <int kGroup, int kWidth, class T>
HWY_INLINE void StoreSums(const hn::Vec<hn::ScalableTag<T>> (&sum)[kGroup * kWidth],
                          T* HWY_RESTRICT out, std::int64_t out_stride, bool accumulate) {
  const hn::ScalableTag<T> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  if (accumulate) {
    Unrolled<kGroup>([&](auto row) HWY_ATTR {
      Unrolled<kWidth>([&](auto v) HWY_ATTR {
        T* const to = out + v * lanes;
        hn::Store(hn::Add(hn::Load(d, to), sum[row * kWidth + v]), d, to);
      });
      out += out_stride;
    });
  } else {
    Unrolled<kGroup>([&](auto row) HWY_ATTR {
      Unrolled<kWidth>([&](auto v)
                           HWY_ATTR { hn::Store(sum[row * kWidth + v], d, out + v * lanes); });
      out += out_stride;
    });
  }
}

// A column panel of kWidth vectors and kGroup rows.
template <int kGroup, int kWidth, class T, class RowStep, class DepthStep>
HWY_NOINLINE void ProductGroup(const T* HWY_RESTRICT left, RowStep row_step, DepthStep depth_step,
                               const T* HWY_RESTRICT right, std::int64_t right_stride,
                               std::int64_t depth, T* HWY_RESTRICT out, std::int64_t out_stride,
                               bool accumulate) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  constexpr int kSums = kGroup * kWidth;
  LeftRows<kGroup, T, RowStep> rows(left, row_step);
  V total[kAddChunksInRegisters ? kSums : 1];
  for (bool first = true;; first = false) {  // at least once: nothing sums to zero
    V sum[kSums];
    Unrolled<kSums>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
    const std::int64_t chunk = std::min<std::int64_t>(kChunk, depth);
    for (std::int64_t k = 0; k < chunk; ++k) {
      V column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { column[v] = LoadOnce(right + v * lanes); });
      Unrolled<kGroup>([&](auto row) HWY_ATTR {
        const V factor = hn::Set(d, *rows[row]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          V& s = sum[row * kWidth + v];
          s = hn::MulAdd(factor, column[v], s);
        });
      });
      rows.Advance(depth_step);
      right += right_stride;
    }
    depth -= chunk;
    if constexpr (kAddChunksInRegisters) {
      if (!first) Unrolled<kSums>([&](auto i) HWY_ATTR { sum[i] = hn::Add(total[i], sum[i]); });
      if (depth > 0) {
        Unrolled<kSums>([&](auto i) HWY_ATTR { total[i] = sum[i]; });
        continue;
      }
    }
    StoreSums<kGroup, kWidth>(sum, out, out_stride, accumulate);
    if (depth <= 0) return;
    accumulate = true;
  }
}

// f(Step<count>(), row) with the count of rows that is known only now.
template <int kMost, class F>
HWY_INLINE void WithRows(std::int64_t count, std::int64_t row, const F& f) {
  if constexpr (kMost > 0) {
    if (count == kMost) return f(Step<kMost>(), row);
    WithRows<kMost - 1>(count, row, f);
  }
}

// Cuts rows into groups of kProductRows and, so that no group is too small to hide the latency of
// additions, at the end perhaps two of about half as many.
template <class F>
HWY_INLINE void ForProductRows(std::int64_t rows, const F& f) {
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t left = rows - row;
    const bool is_short = left == kProductRows + 1 || left == kProductRows + 2;
    const std::int64_t count =
        is_short ? (left + 1) / 2 : std::min<std::int64_t>(left, kProductRows);
    WithRows<kProductRows>(count, row, f);
    row += count;
  }
}

// rows x columns results, columns a multiple of a vector; strides in elements, that of out a
// multiple of a vector and out aligned to one. The left operand's steps are given as types so that
// the common ones (1, kTileQueries) are displacements.
template <class T, class RowStep, class DepthStep>
HWY_INLINE void Product(const T* left, RowStep row_step, DepthStep depth_step, std::int64_t rows,
                        const T* right, std::int64_t right_stride, std::int64_t columns,
                        std::int64_t depth, T* out, std::int64_t out_stride, bool accumulate) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  for (std::int64_t column = 0; column < columns; column += kVectors * lanes) {
    ForProductRows(rows, [&](auto group, std::int64_t row) HWY_ATTR {
      const auto multiply = [&](auto width) HWY_ATTR {
        ProductGroup<group, width>(left + row * row_step, row_step, depth_step, right + column,
                                   right_stride, depth, out + row * out_stride + column, out_stride,
                                   accumulate);
      };
      columns - column > lanes ? multiply(Step<kVectors>()) : multiply(Step<1>());
    });
  }
}

// high + low += out, by compensated addition, where `out` is rows x columns as above and all three
// have its stride; scaled[r] multiplies row r of high and low first (null: ones).
template <class T>
HWY_INLINE void Fold(const T* HWY_RESTRICT out, std::int64_t rows, std::int64_t columns,
                     std::int64_t stride, const T* HWY_RESTRICT scaled, T* HWY_RESTRICT high,
                     T* HWY_RESTRICT low) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t row = 0; row < rows; ++row) {
    const V scale = hn::Set(d, scaled == nullptr ? T{1} : scaled[row]);
    for (std::int64_t c = row * stride; c < row * stride + columns; c += lanes) {
      V to_high = hn::Mul(scale, hn::Load(d, high + c));
      V to_low = hn::Mul(scale, hn::Load(d, low + c));
      logsum::HWY_NAMESPACE::Accumulate(to_high, to_low, hn::Load(d, out + c));
      hn::Store(to_high, d, high + c);
      hn::Store(to_low, d, low + c);
    }
  }
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
