// The product of panels of extended-range numbers, on any input, without exp or log.
//
// Each operand is a pair of panels of the same layout: fractions in T, exponents in the signed
// integer of T's size (core/extended-inl.h says what they may be: zero is fraction 0 with exponent
// kZeroExponent, others |exponent| <= 2^27, NaN a NaN fraction). A value of the tile is
// (high + low) 2^exponent, its exponent the largest that a term has; terms below 2^-125 (2^-1021)
// of 2^exponent may be flushed to 0, as others are not. Scaling is exact, so each term meets one
// rounding, as in Multiply (two on targets without fused multiply-add), and the chains are as long.
//
// Two passes over the depth given, one for exponents and one for sums: callers bring panels block
// by block that stay in the second-level cache.
#if defined(LOGSUM_GEMM_MULTIPLY_EXTENDED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_GEMM_MULTIPLY_EXTENDED_INL_H_
#undef LOGSUM_GEMM_MULTIPLY_EXTENDED_INL_H_
#else
#define LOGSUM_GEMM_MULTIPLY_EXTENDED_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "gemm/fold-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {

// A pair of panels.
template <class T>
struct ExtendedPanel {
  const T* fraction;
  const Integer<T>* exponent;

  HWY_INLINE ExtendedPanel operator+(std::int64_t offset) const {
    return {fraction + offset, exponent + offset};
  }
};

// A sum, its scale and a term's exponent live in registers: fewer fit than in Multiply.
inline constexpr int kExtendedRows = kManyRegisters ? 4 : 2;

// The larger of integers that fit 32 bits, in 32-bit words whatever their type: a 64-bit maximum
// exists from AVX-512 on only, and the upper words, sign bits all, order as the numbers do.
template <class DI, class VI = hn::Vec<DI>>
HWY_INLINE VI LargerExponent(DI di, VI a, VI b) {
  const hn::Repartition<std::int32_t, DI> d32;
  return hn::BitCast(di, hn::Max(hn::BitCast(d32, a), hn::BitCast(d32, b)));
}

template <class DI, class VI = hn::Vec<DI>>
HWY_INLINE VI SmallerExponent(DI di, VI a, VI b) {
  const hn::Repartition<std::int32_t, DI> d32;
  return hn::BitCast(di, hn::Min(hn::BitCast(d32, a), hn::BitCast(d32, b)));
}

// Pass one: raises the tile's exponents to the largest of the terms and rescales its sums.
template <class T, int kGroup, int kWidth>
HWY_NOINLINE void RaiseExponents(const Integer<T>* HWY_RESTRICT left, std::int64_t step,
                                 const Integer<T>* HWY_RESTRICT right, std::int64_t depth,
                                 T* HWY_RESTRICT high, T* HWY_RESTRICT low,
                                 Integer<T>* HWY_RESTRICT exponent, bool first) {
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using VI = hn::Vec<decltype(di)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  VI largest[kGroup * kWidth];
  Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR { largest[i] = hn::Set(di, 2 * kZeroExponent); });
  for (std::int64_t k = 0; k < depth; k += kChunk, left += step) {
    const Integer<T>* const end = left + std::min<std::int64_t>(kChunk, depth - k);
    for (const Integer<T>* at = left; at != end; ++at, right += kWidth * lanes) {
      VI column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { column[v] = hn::Load(di, right + v * lanes); });
      Unrolled<kGroup>([&](auto row) HWY_ATTR {
        const VI other = hn::Set(di, at[row * kChunk]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          VI& m = largest[row * kWidth + v];
          m = LargerExponent(di, m, hn::Add(other, column[v]));
        });
      });
    }
  }
  Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR {
    const int at = InTile<T, kWidth>(i);
    VI raised = largest[i];
    if (!first) {
      const VI old = hn::Load(di, exponent + at);
      raised = LargerExponent(di, raised, old);
      const VI field = hn::Add(hn::Sub(old, raised), hn::Set(di, ExpConstants<T>::kExponentBias));
      const auto power =
          logsum::HWY_NAMESPACE::PowerFromField(d, LargerExponent(di, field, hn::Zero(di)));
      hn::Store(hn::Mul(hn::Load(d, high + at), power), d, high + at);
      hn::Store(hn::Mul(hn::Load(d, low + at), power), d, low + at);
    }
    hn::Store(raised, di, exponent + at);
  });
}

// Pass two: adds the terms over 2^exponent. kBounded: a term's exponent may be above the tile's.
template <class T, int kGroup, int kWidth, bool kBounded>
HWY_NOINLINE void SumExtended(ExtendedPanel<T> left, std::int64_t step, ExtendedPanel<T> right,
                              std::int64_t depth, const Integer<T>* HWY_RESTRICT exponent,
                              T* HWY_RESTRICT high, T* HWY_RESTRICT low, bool first) {
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  constexpr int kBias = ExpConstants<T>::kExponentBias;
  const int lanes = static_cast<int>(hn::Lanes(d));
  VI base[kGroup * kWidth];
  Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR {
    const int at = InTile<T, kWidth>(i);
    base[i] = hn::Sub(hn::Load(di, exponent + at), hn::Set(di, kBias));
  });
  FoldedSum<T, kGroup, kWidth> total(high, low, first);
  std::int64_t k = 0;
  do {  // at least once: nothing sums to zero
    V sum[kGroup * kWidth];
    Unrolled<kGroup * kWidth>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
    const int terms = static_cast<int>(std::min<std::int64_t>(kChunk, depth - k));
    for (int at = 0; at < terms; ++at, right = right + kWidth * lanes) {
      V fraction[kWidth];
      VI column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR {
        fraction[v] = hn::Load(d, right.fraction + v * lanes);
        column[v] = hn::Load(di, right.exponent + v * lanes);
      });
      Unrolled<kGroup>([&](auto row) HWY_ATTR {
        const V factor = hn::Set(d, left.fraction[row * kChunk + at]);
        const VI other = hn::Set(di, left.exponent[row * kChunk + at]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          const int i = row * kWidth + v;
          VI field = hn::Sub(hn::Add(other, column[v]), base[i]);
          field = LargerExponent(di, field, hn::Zero(di));
          if constexpr (kBounded) field = SmallerExponent(di, field, hn::Set(di, 2 * kBias));
          const V power = logsum::HWY_NAMESPACE::PowerFromField(d, field);
          sum[i] = hn::MulAdd(hn::Mul(factor, power), fraction[v], sum[i]);
        });
      });
    }
    total.Add(sum);
    left = left + step;
    k += kChunk;
  } while (k < depth);
  total.Finish();
}

// (high + low) 2^exponent += left * right, or = if `first`. rows 1 to kRows<T>, vectors 1 to
// kVectors. A tile without terms, or with zeros only, has sum 0 and an exponent below -2^28.
template <class T>
HWY_INLINE void MultiplyExtended(const T* left_fraction, const Integer<T>* left_exponent, int rows,
                                 const T* right_fraction, const Integer<T>* right_exponent,
                                 int vectors, std::int64_t depth, T* high, T* low,
                                 Integer<T>* exponent, bool first) {
  const std::int64_t step = std::int64_t{rows} * kChunk;
  ForRowGroups<kExtendedRows>(rows, vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
    const std::int64_t at = row * kTileStride<T>;
    const ExtendedPanel<T> left{left_fraction + row * kChunk, left_exponent + row * kChunk};
    RaiseExponents<T, group, width>(left.exponent, step, right_exponent, depth, high + at, low + at,
                                    exponent + at, first);
    SumExtended<T, group, width, false>(left, step, {right_fraction, right_exponent}, depth,
                                        exponent + at, high + at, low + at, first);
  });
}

// high + low += left * right 2^-exponent, or = if `first`, for exponents given, |exponent| <= 2^30.
// Fractions may have any sign. The power of two of a term is 0 below the smallest normal and at
// most 2^127 (2^1023).
template <class T>
HWY_INLINE void MultiplyExtendedAt(const T* left_fraction, const Integer<T>* left_exponent,
                                   int rows, const T* right_fraction,
                                   const Integer<T>* right_exponent, int vectors,
                                   std::int64_t depth, const Integer<T>* exponent, T* high, T* low,
                                   bool first) {
  const std::int64_t step = std::int64_t{rows} * kChunk;
  ForRowGroups<kExtendedRows>(rows, vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
    const std::int64_t at = row * kTileStride<T>;
    const ExtendedPanel<T> left{left_fraction + row * kChunk, left_exponent + row * kChunk};
    SumExtended<T, group, width, true>(left, step, {right_fraction, right_exponent}, depth,
                                       exponent + at, high + at, low + at, first);
  });
}

}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
