// The emissions of a CTC sequence: what its classes weigh in each frame, read once.
#if defined(LOGSUM_SCAN_CTC_EMISSIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#undef LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#else
#define LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/exp-inl.h"
#include "scan/ctc_kernels.hpp"
#include "scan/numbers.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpNonPositive;
using logsum::HWY_NAMESPACE::Narrow;
using logsum::HWY_NAMESPACE::Widen;

using CtcD = hn::ScalableTag<double>;

// Logarithms from here up have normal exponentials.
inline constexpr double kLeastNormalLog = -708.39;

HWY_INLINE hn::Vec<CtcD> LoadWide(CtcD d, const double* from) { return hn::LoadU(d, from); }
HWY_INLINE hn::Vec<CtcD> LoadWide(CtcD d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, CtcD>(), from));
}
HWY_INLINE void StoreAs(CtcD d, hn::Vec<CtcD> x, double* to) { hn::StoreU(x, d, to); }
HWY_INLINE void StoreAs(CtcD /*d*/, hn::Vec<CtcD> x, float* to) {
  const hn::Rebind<float, CtcD> df;
  hn::StoreU(hn::DemoteTo(df, x), df, to);
}

// Calls visit(first, vector load) along a row of reals; what a last vector lacks is -inf.
template <class Real, class Visit>
HWY_INLINE void AlongRow(const Real* row, std::int64_t count, const Visit& visit) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(CtcD()));
  std::int64_t c = 0;
  for (; c + lanes <= count; c += lanes) visit(c, row + c);
  if (c == count) return;
  HWY_ALIGN Real rest[hn::MaxLanes(CtcD())];
  for (std::int64_t i = 0; i < lanes; ++i) {
    rest[i] = c + i < count ? row[c + i] : -std::numeric_limits<Real>::infinity();
  }
  visit(c, rest);
}

// Whether no number of a row is +inf or NaN.
template <class Real>
HWY_INLINE bool BelowInfinity(const Real* row, std::int64_t count) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto infinity = hn::Set(d, std::numeric_limits<Real>::infinity());
  auto bad = hn::Not(hn::Eq(infinity, infinity));
  std::int64_t c = 0;
  for (; c + lanes <= count; c += lanes) {
    bad = hn::Or(bad, hn::Not(hn::Lt(hn::LoadU(d, row + c), infinity)));
  }
  bool is_bad = !hn::AllFalse(d, bad);
  for (; c < count; ++c) is_bad |= !(row[c] < std::numeric_limits<Real>::infinity());
  return !is_bad;
}

// The softmax of a row: its maximum and its denominator, relative to that. The terms of the maximum
// are counted, not added, so that a denominator near 1 has all the digits of what exceeds 1.
struct Denominator {
  double max, sum;
};

// `terms`, unless null, receives the numerators.
template <class Real>
HWY_INLINE Denominator SoftmaxOf(const Real* row, std::int64_t count, Real* terms) {
  const CtcD d;
  auto top = hn::Set(d, -std::numeric_limits<double>::infinity());
  AlongRow(row, count,
           [&](std::int64_t, const Real* at) HWY_ATTR { top = hn::Max(top, LoadWide(d, at)); });
  const double max = hn::GetLane(hn::MaxOfLanes(d, top));
  if (max == -std::numeric_limits<double>::infinity()) {
    if (terms != nullptr) std::fill_n(terms, count, Real{0});
    return {max, 0};
  }
  top = hn::Set(d, max);
  auto sum = hn::Zero(d);
  auto equal = hn::Zero(d);
  HWY_ALIGN Real last[hn::MaxLanes(d)];
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  AlongRow(row, count, [&](std::int64_t c, const Real* at) HWY_ATTR {
    const auto x = LoadWide(d, at);
    const auto is_top = hn::Eq(x, top);
    const auto e = ExpNonPositive(d, hn::Sub(x, top));
    sum = hn::Add(sum, hn::IfThenZeroElse(is_top, e));
    equal = hn::Add(equal, hn::IfThenElseZero(is_top, hn::Set(d, 1.0)));
    if (terms == nullptr) return;
    if (c + lanes <= count) {
      StoreAs(d, e, terms + c);
    } else {
      StoreAs(d, e, last);
      std::copy_n(last, count - c, terms + c);
    }
  });
  const double others = hn::GetLane(hn::SumOfLanes(d, sum));
  return {max, hn::GetLane(hn::SumOfLanes(d, equal)) + others};
}

// to[c] = factor terms[c], in the gradient's type.
template <class Storage, class Real>
HWY_INLINE void WriteScaled(const Real* HWY_RESTRICT terms, Real factor, std::int64_t count,
                            Storage* HWY_RESTRICT to, std::int64_t step) {
  if (step != 1) {
    for (std::int64_t c = 0; c < count; ++c) to[c * step] = Narrow<Storage>(factor * terms[c]);
  } else {
    for (std::int64_t c = 0; c < count; ++c) to[c] = Narrow<Storage>(factor * terms[c]);
  }
}

// The frames of a block as rows of reals, in place where they lie so.
template <class Real, class Storage>
class FrameRows {
 public:
  FrameRows(const CtcFrames& frames, std::int64_t begin, std::int64_t end, double* memory) {
    const auto* const from = static_cast<const Storage*>(frames.data) + begin * frames.frame_stride;
    if constexpr (std::is_same_v<Storage, Real>) {
      if (frames.label_stride == 1) {
        first_ = from;
        step_ = frames.frame_stride;
        return;
      }
    }
    Real* const rows = reinterpret_cast<Real*>(memory);
    // Frames innermost: they are next to each other where labels are not.
    for (std::int64_t c = 0; c < frames.labels; ++c) {
      for (std::int64_t t = 0; t < end - begin; ++t) {
        rows[t * frames.labels + c] =
            Widen<Real>(from[t * frames.frame_stride + c * frames.label_stride]);
      }
    }
    first_ = rows;
    step_ = frames.labels;
  }
  const Real* Row(std::int64_t t) const { return first_ + t * step_; }

 private:
  const Real* first_;
  std::int64_t step_;
};

// Emissions of one frame, from its row: `x` holds the classes' log weights and is overwritten.
// Returns the largest, which they are relative to; below kZeroWeight when all are zeros.
HWY_INLINE double EmissionsOfFrame(CtcNumbers numbers, std::int64_t width, double* x,
                                   CtcSide& side) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto top = hn::Set(d, -std::numeric_limits<double>::infinity());
  for (std::int64_t k = 0; k < width; k += lanes) top = hn::Max(top, hn::Load(d, x + k));
  const double max = hn::GetLane(hn::MaxOfLanes(d, top));
  top = hn::Set(d, max <= kZeroWeight ? 0 : max);
  const auto lowest = hn::Set(d, kLeastNormalLog);
  const bool up = numbers == CtcNumbers::linear;
  const bool linear = up || numbers == CtcNumbers::linear_down;
  const auto least = hn::Set(d, up ? std::numeric_limits<double>::min() : 0.0);
  auto clamped = hn::Lt(top, top);
  for (std::int64_t k = 0; k < width; k += lanes) {
    const auto given = hn::Load(d, x + k);
    const auto zero = hn::Le(given, hn::Set(d, kZeroWeight));
    const auto relative = hn::Sub(given, top);
    if (linear) {
      const auto low = hn::And(hn::Lt(relative, lowest), hn::Not(zero));
      clamped = hn::Or(clamped, low);
      const auto e = hn::IfThenElse(low, least, ExpNonPositive(d, relative));
      hn::Store(hn::IfThenZeroElse(zero, e), d, x + k);
    } else {
      const auto nothing = hn::Set(d, -std::numeric_limits<double>::infinity());
      hn::Store(hn::IfThenElse(zero, nothing, relative), d, x + k);
    }
  }
  if (!hn::AllFalse(d, clamped)) side.clamped = true;
  return max;
}

template <class Real, class Storage>
void PrepareFrames(const CtcJob& job, const CtcStates& states, CtcNumbers numbers, CtcWork& work,
                   CtcSide& side, std::int64_t begin, std::int64_t end) {
  const std::int64_t labels = job.frames.labels;
  const auto num_classes = static_cast<std::int64_t>(states.classes.size());
  auto* const terms = job.gradient.data == nullptr ? nullptr : reinterpret_cast<Real*>(side.terms);
  for (std::int64_t block = begin; block < end; block += kCtcBlock) {
    const std::int64_t block_end = std::min(block + kCtcBlock, end);
    const FrameRows<Real, Storage> rows(job.frames, block, block_end, side.frames);
    for (std::int64_t t = block; t < block_end; ++t) {
      const Real* const row = rows.Row(t - block);
      if (!BelowInfinity(row, labels)) {
        side.invalid = true;
        return;
      }
      double* const x = work.Emissions(t);
      for (std::int64_t k = 0; k < num_classes; ++k) {
        x[k] = static_cast<double>(row[states.classes[static_cast<std::size_t>(k)]]);
      }
      std::fill(x + num_classes, x + states.emission_width,
                -std::numeric_limits<double>::infinity());
      const double top = EmissionsOfFrame(numbers, states.emission_width, x, side);
      const bool empty = top <= kZeroWeight;
      if (!empty) side.offset.Add(top);
      if (!job.from_logits) continue;
      const Denominator softmax = SoftmaxOf(row, labels, terms);
      if (softmax.sum != 0) {
        side.offset.Add(-softmax.max);
        side.partition *= softmax.sum;
      }
      work.softmax_scale[t] = empty ? 0 : std::exp(top - softmax.max) / softmax.sum;
      if (terms != nullptr) {
        const double factor = softmax.sum == 0 ? 0 : job.weight / softmax.sum;
        WriteScaled(terms, static_cast<Real>(factor), labels,
                    static_cast<Storage*>(job.gradient.data) + t * job.gradient.frame_stride,
                    job.gradient.label_stride);
      }
    }
    int exponent;
    side.partition = std::frexp(side.partition, &exponent);
    side.partition_exponent += exponent;
  }
}

inline void CtcPrepare(const CtcJob& job, const CtcStates& states, CtcNumbers numbers,
                       CtcWork& work, CtcSide& side, std::int64_t begin, std::int64_t end) {
  switch (job.frames.dtype) {
    case DType::f16:
      return PrepareFrames<float, Half>(job, states, numbers, work, side, begin, end);
    case DType::bf16:
      return PrepareFrames<float, BFloat16>(job, states, numbers, work, side, begin, end);
    case DType::f64:
      return PrepareFrames<double, double>(job, states, numbers, work, side, begin, end);
    default:
      return PrepareFrames<float, float>(job, states, numbers, work, side, begin, end);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
