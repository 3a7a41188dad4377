// The sum of exponentials, one pass over memory, the exponential of each element taken once.
//
// A running sum is (max, hi + lo): the maximum so far and, kept apart from it, the sum of all
// other terms in units of 2^N, N = round(max log2 e). Exponentials are scaled by 2^-N as they are
// made (ExpScaled), so nothing is rounded by subtracting a maximum, and moving to a larger
// maximum multiplies by a power of two, which is exact. A block of elements is looked at twice
// while it is in L1: for its maximum, then for its sum. The block that brings a new maximum
// leaves that element out of the sum (Partial says why).
//
// No chain of additions is longer than 16: a block has at most 16 terms for each accumulator, and
// blocks are folded with TwoSum. That is what bounds the error by 1e-6 (docs/numerics.md).
//
// NaN anywhere makes the sum NaN. The maximum itself is only right where nothing is NaN, which is
// all that is needed then. Results whose maximum lies outside the domain of ExpScaled (+inf, or
// huge) are recomputed by careful-inl.h.
#if defined(LOGSUM_LOGSUMEXP_SUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_SUM_INL_H_
#undef LOGSUM_LOGSUMEXP_SUM_INL_H_
#else
#define LOGSUM_LOGSUMEXP_SUM_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/two_sum-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Accumulate;
using logsum::HWY_NAMESPACE::AtLeast;
using logsum::HWY_NAMESPACE::ExponentOf;
using logsum::HWY_NAMESPACE::ExpScaled;
using logsum::HWY_NAMESPACE::PowerFromField;

inline constexpr std::int64_t kChain = 16;

// 2^n for integral n <= 0; 0 from the smallest normal's exponent down.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V n) {
  using C = logsum::ExpConstants<hn::TFromD<D>>;
  using T = hn::TFromD<D>;
  const V field = hn::Add(AtLeast(d, hn::Set(d, -T{C::kExponentBias}), n),
                          hn::Set(d, C::kRounder + T{C::kExponentBias}));
  return PowerFromField(d, hn::BitCast(hn::RebindToUnsigned<D>(), field));
}

// The running sums of a vector of lanes.
template <class V>
struct RunningSum {
  V max, hi, lo;
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE RunningSum<V> EmptySum(D d) {
  return {hn::Set(d, -std::numeric_limits<hn::TFromD<D>>::infinity()), hn::Zero(d), hn::Zero(d)};
}

// Moves the lanes whose block brings a larger maximum to its scale; the old maximum joins the sum.
// Returns which lanes those are.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> Rebase(D d, RunningSum<V>& sum, V block_max) {
  const auto grew = hn::Gt(block_max, sum.max);
  const V old_exponent = ExponentOf(d, sum.max);
  const V new_exponent = ExponentOf(d, hn::IfThenElse(grew, block_max, sum.max));
  const V scale = PowerOfTwo(d, hn::Sub(old_exponent, new_exponent));
  const V old_term = ExpScaled<D>(d, new_exponent)(sum.max);
  sum.hi = hn::Mul(sum.hi, scale);
  sum.lo = hn::Mul(sum.lo, scale);
  Accumulate(sum.hi, sum.lo, hn::IfThenElseZero(grew, old_term));
  sum.max = hn::IfThenElse(grew, block_max, sum.max);
  return grew;
}

// Adds to a lane's accumulators the terms of one vector x. kExclude: elements equal to `excluded`
// are counted instead.
template <bool kExclude, class D, class V = hn::Vec<D>>
HWY_INLINE void AddTerms(D d, const ExpScaled<D>& exp, V x, V excluded, V& sum, V& count) {
  V power;
  const V fraction = exp.Fraction(x, power);
  if constexpr (kExclude) {
    const auto is_max = hn::Eq(x, excluded);
    power = hn::IfThenZeroElse(is_max, power);
    count = hn::Add(count, hn::IfThenElseZero(is_max, hn::Set(d, hn::TFromD<D>(1))));
  }
  sum = hn::MulAdd(fraction, power, sum);
}

// ---- rows: one sum over contiguous elements -----------------------------------------------------

inline constexpr std::int64_t kRowAccumulators = 4;

// The elements of a block: kChain terms for each lane of each accumulator.
template <class D>
std::int64_t RowBlock(D d) {
  return kChain * kRowAccumulators * static_cast<std::int64_t>(hn::Lanes(d));
}

// The last, partial vector of a block, filled up with zeros of the sum.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LoadTail(D d, const hn::TFromD<D>* x, std::int64_t count) {
  using T = hn::TFromD<D>;
  HWY_ALIGN T buffer[hn::MaxLanes(D())];
  hn::Store(hn::Set(d, -std::numeric_limits<T>::infinity()), d, buffer);
  for (std::int64_t i = 0; i < count; ++i) buffer[i] = x[i];
  return hn::Load(d, buffer);
}

template <class D>
HWY_INLINE hn::TFromD<D> MaxOfRow(D d, const hn::TFromD<D>* HWY_RESTRICT x, std::int64_t depth) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V max0 = hn::Set(d, -std::numeric_limits<hn::TFromD<D>>::infinity());
  V max1 = max0, max2 = max0, max3 = max0;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= depth; i += 4 * lanes) {
    max0 = hn::Max(max0, hn::LoadU(d, x + i));
    max1 = hn::Max(max1, hn::LoadU(d, x + i + lanes));
    max2 = hn::Max(max2, hn::LoadU(d, x + i + 2 * lanes));
    max3 = hn::Max(max3, hn::LoadU(d, x + i + 3 * lanes));
  }
  for (; i + lanes <= depth; i += lanes) max0 = hn::Max(max0, hn::LoadU(d, x + i));
  if (i < depth) max1 = hn::Max(max1, LoadTail(d, x + i, depth - i));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(max0, max1), hn::Max(max2, max3))));
}

template <bool kExclude, class D, class V = hn::Vec<D>>
HWY_INLINE void SumOfRow(D d, const hn::TFromD<D>* HWY_RESTRICT x, std::int64_t depth, V max,
                         V& total, V& count) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const ExpScaled<D> exp(d, ExponentOf(d, max));
  V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  V count0 = sum0, count1 = sum0;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= depth; i += 4 * lanes) {
    AddTerms<kExclude>(d, exp, hn::LoadU(d, x + i), max, sum0, count0);
    AddTerms<kExclude>(d, exp, hn::LoadU(d, x + i + lanes), max, sum1, count1);
    AddTerms<kExclude>(d, exp, hn::LoadU(d, x + i + 2 * lanes), max, sum2, count0);
    AddTerms<kExclude>(d, exp, hn::LoadU(d, x + i + 3 * lanes), max, sum3, count1);
  }
  for (; i + lanes <= depth; i += lanes) {
    AddTerms<kExclude>(d, exp, hn::LoadU(d, x + i), max, sum0, count0);
  }
  if (i < depth) {
    AddTerms<kExclude>(d, exp, LoadTail(d, x + i, depth - i), max, sum1, count1);
  }
  total = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  count = hn::Add(count0, count1);
}

// Folds a block of at most RowBlock(d) elements into the running sum of one row. The sum is kept in
// a one-lane vector.
template <class D, class V1>
HWY_INLINE void AddRowBlock(D d, const hn::TFromD<D>* HWY_RESTRICT x, std::int64_t depth,
                            RunningSum<V1>& sum) {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;
  const hn::CappedTag<T, 1> d1;
  const T block_max = MaxOfRow(d, x, depth);
  V terms, count;
  if (block_max > hn::GetLane(sum.max)) {
    Rebase(d1, sum, hn::Set(d1, block_max));
    SumOfRow<true>(d, x, depth, hn::Set(d, block_max), terms, count);
    // One of the maxima is the one kept apart; its equals are ordinary terms.
    const T equals = hn::GetLane(hn::SumOfLanes(d, count)) - T(1);
    const V1 max_term = ExpScaled<decltype(d1)>(d1, ExponentOf(d1, sum.max))(sum.max);
    Accumulate(sum.hi, sum.lo, hn::Mul(max_term, hn::Set(d1, equals)));
  } else {
    SumOfRow<false>(d, x, depth, hn::Set(d, hn::GetLane(sum.max)), terms, count);
  }
  Accumulate(sum.hi, sum.lo, hn::Set(d1, hn::GetLane(hn::SumOfLanes(d, terms))));
}

// ---- lanes: one sum in each lane ----------------------------------------------------------------

// The rows of a block: there are two accumulators, for even and odd rows.
inline constexpr std::int64_t kLaneDepth = 2 * kChain;

// Folds a block of at most kLaneDepth rows of `width` lanes into the running sums max, hi, lo.
// `width` is a whole number of vectors; `block_max` is scratch of that size.
template <class D>
HWY_INLINE void AddLaneBlock(D d, const hn::TFromD<D>* HWY_RESTRICT x, std::int64_t row_stride,
                             std::int64_t depth, std::int64_t width,
                             hn::TFromD<D>* HWY_RESTRICT block_max, hn::TFromD<D>* HWY_RESTRICT max,
                             hn::TFromD<D>* HWY_RESTRICT hi, hn::TFromD<D>* HWY_RESTRICT lo) {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  // Row after row, as memory has them: this is the pass that brings the block into L1.
  for (std::int64_t i = 0; i < width; i += lanes) {
    hn::Store(hn::LoadU(d, x + i), d, block_max + i);
  }
  for (std::int64_t k = 1; k < depth; ++k) {
    const T* const row = x + k * row_stride;
    for (std::int64_t i = 0; i < width; i += lanes) {
      hn::Store(hn::Max(hn::Load(d, block_max + i), hn::LoadU(d, row + i)), d, block_max + i);
    }
  }
  for (std::int64_t i = 0; i < width; i += lanes) {
    RunningSum<V> sum = {hn::Load(d, max + i), hn::Load(d, hi + i), hn::Load(d, lo + i)};
    V even = hn::Zero(d), odd = even, count = even;
    const V new_max = hn::Load(d, block_max + i);
    if (!hn::AllFalse(d, hn::Gt(new_max, sum.max))) {
      const auto grew = Rebase(d, sum, new_max);
      const ExpScaled<D> exp(d, ExponentOf(d, sum.max));
      // NaN equals nothing: lanes that keep their maximum leave nothing out.
      const V excluded =
          hn::IfThenElse(grew, sum.max, hn::Set(d, std::numeric_limits<T>::quiet_NaN()));
      for (std::int64_t k = 0; k < depth; ++k) {
        AddTerms<true>(d, exp, hn::LoadU(d, x + k * row_stride + i), excluded, k % 2 ? odd : even,
                       count);
      }
      const V equals = hn::IfThenElseZero(grew, hn::Sub(count, hn::Set(d, T(1))));
      Accumulate(sum.hi, sum.lo, hn::Mul(exp(sum.max), equals));
    } else {
      const ExpScaled<D> exp(d, ExponentOf(d, sum.max));
      std::int64_t k = 0;
      for (; k + 2 <= depth; k += 2) {
        AddTerms<false>(d, exp, hn::LoadU(d, x + k * row_stride + i), sum.max, even, count);
        AddTerms<false>(d, exp, hn::LoadU(d, x + (k + 1) * row_stride + i), sum.max, odd, count);
      }
      if (k < depth) {
        AddTerms<false>(d, exp, hn::LoadU(d, x + k * row_stride + i), sum.max, even, count);
      }
    }
    Accumulate(sum.hi, sum.lo, hn::Add(even, odd));
    hn::Store(sum.max, d, max + i);
    hn::Store(sum.hi, d, hi + i);
    hn::Store(sum.lo, d, lo + i);
  }
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
