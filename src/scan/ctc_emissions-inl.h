// The emissions of a CTC sequence: what its classes weigh in each frame, read once.
#if defined(LOGSUM_SCAN_CTC_EMISSIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#undef LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#else
#define LOGSUM_SCAN_CTC_EMISSIONS_INL_H_
#endif

#include <hwy/cache_control.h>
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

inline constexpr double kLeastNormalLog = -708.39;  // from here up exponentials are normal

HWY_INLINE hn::Vec<CtcD> LoadWide(CtcD d, const double* from) { return hn::LoadU(d, from); }
HWY_INLINE hn::Vec<CtcD> LoadWide(CtcD d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, CtcD>(), from));
}
HWY_INLINE void StoreAs(CtcD d, hn::Vec<CtcD> x, double* to) { hn::StoreU(x, d, to); }
HWY_INLINE void StoreAs(CtcD /*d*/, hn::Vec<CtcD> x, float* to) {
  const hn::Rebind<float, CtcD> df;
  hn::StoreU(hn::DemoteTo(df, x), df, to);
}

// The largest number of a row; NaN if one is +inf or NaN.
template <class Real>
HWY_INLINE Real TopOfRow(const Real* row, std::int64_t count) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  const auto infinity = hn::Set(d, kInfinity);
  auto top = hn::Neg(infinity);
  auto below = hn::Eq(infinity, infinity);
  std::int64_t c = 0;
  for (; c + lanes <= count; c += lanes) {
    const auto x = hn::LoadU(d, row + c);
    below = hn::And(below, hn::Lt(x, infinity));
    top = hn::Max(top, x);
  }
  Real max = hn::GetLane(hn::MaxOfLanes(d, top));
  bool all_below = hn::AllTrue(d, below);
  for (; c < count; ++c) {
    all_below &= row[c] < kInfinity;
    max = std::max(max, row[c]);
  }
  return all_below ? max : std::numeric_limits<Real>::quiet_NaN();
}

// The softmax of a row: its maximum and its denominator, relative to that. The terms of the maximum
// are counted, not added, so that a denominator near 1 has all the digits of what exceeds 1.
struct Denominator {
  double max, sum;
};

// `max` is the row's; `terms`, unless null, receives the numerators.
template <class Real>
HWY_INLINE Denominator SoftmaxOf(const Real* row, std::int64_t count, double max, Real* terms) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (max == -std::numeric_limits<double>::infinity()) {
    if (terms != nullptr) std::fill_n(terms, count, Real{0});
    return {max, 0};
  }
  const auto top = hn::Set(d, max);
  const auto one = hn::Set(d, 1.0);
  auto others = hn::Zero(d);
  std::size_t ones = 0;
  const auto add = [&](const Real* from, Real* to) HWY_ATTR {
    const auto e = ExpNonPositive(d, hn::Sub(LoadWide(d, from), top));
    const auto is_one = hn::Eq(e, one);
    others = hn::Add(others, hn::IfThenZeroElse(is_one, e));
    ones += hn::CountTrue(d, is_one);
    if (to != nullptr) StoreAs(d, e, to);
  };
  std::int64_t c = 0;
  for (; c + lanes <= count; c += lanes) add(row + c, terms == nullptr ? nullptr : terms + c);
  if (c < count) {
    HWY_ALIGN Real rest[hn::MaxLanes(CtcD())];
    for (std::int64_t i = 0; i < lanes; ++i) {
      rest[i] = c + i < count ? row[c + i] : -std::numeric_limits<Real>::infinity();
    }
    add(rest, rest);
    if (terms != nullptr) std::copy_n(rest, count - c, terms + c);
  }
  return {max, static_cast<double>(ones) + hn::GetLane(hn::SumOfLanes(d, others))};
}

// Rows from this size on are written past the caches: they will not be there any more when a sweep
// comes to change the few of their numbers that have a posterior.
inline constexpr std::int64_t kStreamedRow = 4096;  // bytes

// to[c] = factor terms[c], in the gradient's type. Owes a FlushStream.
template <class Storage, class Real>
HWY_INLINE void WriteScaled(const Real* HWY_RESTRICT terms, Real factor, std::int64_t count,
                            Storage* HWY_RESTRICT to, std::int64_t step) {
  std::int64_t c = 0;
  if constexpr (std::is_same_v<Storage, Real>) {
    const hn::ScalableTag<Real> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto scale = hn::Set(d, factor);
    if (step == 1 && count * static_cast<std::int64_t>(sizeof(Real)) >= kStreamedRow) {
      const auto is_aligned = [&](const Real* at) {
        return reinterpret_cast<std::uintptr_t>(at) % (hn::Lanes(d) * sizeof(Real)) == 0;
      };
      for (; !is_aligned(to + c); ++c) to[c] = factor * terms[c];
      for (; c + lanes <= count; c += lanes) {
        hn::Stream(hn::Mul(hn::LoadU(d, terms + c), scale), d, to + c);
      }
    } else if (step == 1) {
      for (; c + lanes <= count; c += lanes) {
        hn::StoreU(hn::Mul(hn::LoadU(d, terms + c), scale), d, to + c);
      }
    }
  }
  for (; c < count; ++c) to[c * step] = Narrow<Storage>(factor * terms[c]);
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

// Vectors over the classes of a frame. Those of a whole alphabet end with the row: the last vector
// takes some classes twice rather than any number beyond.
struct ClassVectors {
  HWY_INLINE explicit ClassVectors(const CtcStates& states)
      : lanes(states.lanes),
        count(states.emission_width),
        last(states.emission_width - states.lanes) {
    const auto classes = static_cast<std::int64_t>(states.classes.size());
    in_place = states.whole_alphabet && classes >= states.lanes;
    if (in_place) last = classes - states.lanes;
  }
  // Where the vector of class k, a multiple of the lanes below `count`, begins.
  HWY_INLINE std::int64_t At(std::int64_t k) const { return std::min(k, last); }

  std::int64_t lanes, count, last;
  bool in_place;
};

// The largest log weight of a frame's classes.
HWY_INLINE double TopOfFrame(const ClassVectors& vectors, const double* x) {
  const CtcD d;
  auto top = hn::Set(d, -std::numeric_limits<double>::infinity());
  for (std::int64_t k = 0; k < vectors.count; k += vectors.lanes) {
    top = hn::Max(top, hn::LoadU(d, x + vectors.At(k)));
  }
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

// What a frame's emissions are relative to: its largest log weight, or none where that is so large
// that others would drown beside it, though a path may need them. Linear numbers cannot do without.
HWY_INLINE double BaseOfFrame(CtcNumbers numbers, double top) {
  constexpr double kLarge = 0x1p40;
  const bool linear = numbers == CtcNumbers::linear || numbers == CtcNumbers::linear_down;
  return top <= kZeroWeight || (!linear && std::abs(top) > kLarge) ? 0 : top;
}

// Emissions of one frame from its classes' log weights.
HWY_INLINE void EmissionsOfFrame(const ClassVectors& vectors, CtcNumbers numbers, const double* x,
                                 double base, double* emissions, CtcSide& side) {
  const CtcD d;
  const auto top = hn::Set(d, base);
  const auto lowest = hn::Set(d, kLeastNormalLog);
  const bool up = numbers == CtcNumbers::linear;
  const bool linear = up || numbers == CtcNumbers::linear_down;
  const auto least = hn::Set(d, up ? std::numeric_limits<double>::min() : 0.0);
  const auto nothing = hn::Set(d, -std::numeric_limits<double>::infinity());
  auto clamped = hn::Lt(top, top);
  // Padding is no mass; whole alphabets write over part of it.
  hn::StoreU(linear ? hn::Zero(d) : nothing, d, emissions + vectors.count - vectors.lanes);
  for (std::int64_t k = 0; k < vectors.count; k += vectors.lanes) {
    const std::int64_t at = vectors.At(k);
    const auto given = hn::LoadU(d, x + at);
    const auto relative = hn::Sub(given, top);
    if (linear) {
      // Zero weights are so far below the base that their exponential is zero by itself.
      const auto low = hn::And(hn::Lt(relative, lowest), hn::Gt(given, hn::Set(d, kZeroWeight)));
      clamped = hn::Or(clamped, low);
      hn::StoreU(hn::IfThenElse(low, least, ExpNonPositive(d, relative)), d, emissions + at);
    } else {
      const auto zero = hn::Le(given, hn::Set(d, kZeroWeight));
      hn::StoreU(hn::IfThenElse(zero, nothing, relative), d, emissions + at);
    }
  }
  if (!hn::AllFalse(d, clamped)) side.clamped = true;
}

// The log weights of a frame's classes as doubles, padding -inf; their largest, `top`; and unless
// biased, that is from logits, that of all labels, `row_top`. Returns whether none is +inf or NaN.
template <class Real>
HWY_INLINE bool ReadClasses(const CtcStates& states, bool biased, const Real* row,
                            std::int64_t labels, double* x, double& top, double& row_top,
                            CtcSide& side) {
  const CtcD d;
  const ClassVectors vectors(states);
  const auto nothing = hn::Set(d, -std::numeric_limits<double>::infinity());
  if (!vectors.in_place) {
    side.may_have_zeros = true;
    // First from end to end, which brings a long row near, then here and there.
    row_top = TopOfRow(row, labels);
    hn::StoreU(nothing, d, x + states.emission_width - states.lanes);
    for (std::size_t k = 0; k < states.classes.size(); ++k) {
      const auto given = static_cast<double>(row[states.classes[k]]);
      x[k] = biased ? given + states.class_bias[k] : given;
    }
    top = TopOfFrame(vectors, x);
    return !std::isnan(row_top);
  }
  // The largest is found here, not by reading x again: its last two vectors overlap, and a load
  // that needs two stores waits till both have left the store buffer.
  auto tops = nothing;
  // Neither zeros nor +inf or NaN: one comparison for what hardly ever is.
  const auto ordinary = hn::Set(d, -kZeroWeight);
  auto all_ordinary = hn::Eq(ordinary, ordinary);
  for (std::int64_t k = 0; k < vectors.count; k += states.lanes) {
    const std::int64_t at = vectors.At(k);
    const auto given = LoadWide(d, row + at);
    const auto bias = hn::LoadU(d, states.class_bias.data() + at);
    all_ordinary = hn::And(all_ordinary, hn::Lt(hn::Abs(given), ordinary));
    const auto weight = biased ? hn::Add(given, bias) : given;
    tops = hn::Max(tops, weight);
    hn::StoreU(weight, d, x + at);
  }
  top = row_top = hn::GetLane(hn::MaxOfLanes(d, tops));
  if (hn::AllTrue(d, all_ordinary)) return true;
  side.may_have_zeros = true;
  return !std::isnan(TopOfRow(row, labels));
}

// The softmax's denominator from the emissions of a whole alphabet: terms of 1 are the maximum's.
HWY_INLINE Denominator DenominatorOf(const double* emissions, std::int64_t width, double max) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.0);
  auto ones = hn::Zero(d), others = hn::Zero(d);
  for (std::int64_t k = 0; k < width; k += lanes) {
    const auto e = hn::Load(d, emissions + k);
    const auto is_one = hn::Eq(e, one);
    ones = hn::Add(ones, hn::IfThenElseZero(is_one, one));
    others = hn::Add(others, hn::IfThenZeroElse(is_one, e));
  }
  const double sum = hn::GetLane(hn::SumOfLanes(d, others));
  return {max, hn::GetLane(hn::SumOfLanes(d, ones)) + sum};
}

// The softmax of one frame: what it takes from the loss, and its gradient for the labels whose
// posterior is not written later.
template <class Real, class Storage>
HWY_INLINE void PrepareSoftmax(const CtcJob& job, bool from_emissions, const CtcStates& states,
                               const Real* row, double row_top, double top, CtcWork& work,
                               CtcSide& side, std::int64_t t) {
  const bool empty = top <= kZeroWeight;
  const bool write = job.gradient.data != nullptr && !from_emissions;
  auto* const terms = write ? reinterpret_cast<Real*>(side.terms) : nullptr;
  const Denominator softmax = from_emissions && !empty
                                  ? DenominatorOf(work.Emissions(t), states.emission_width, top)
                                  : SoftmaxOf(row, job.frames.labels, row_top, terms);
  if (softmax.sum != 0) {
    side.partition_offset.Add(softmax.max);
    side.partition *= softmax.sum;
  }
  work.softmax_scale[t] = empty ? 0 : std::exp(top - softmax.max) / softmax.sum;
  if (write) {
    const double factor = softmax.sum == 0 ? 0 : job.weight / softmax.sum;
    WriteScaled(terms, static_cast<Real>(factor), job.frames.labels,
                static_cast<Storage*>(job.gradient.data) + t * job.gradient.frame_stride,
                job.gradient.label_stride);
  }
}

// Asks for the rows of a block that comes soon. A frame of one sequence is far from the next, where
// no hardware looks ahead.
HWY_INLINE void PrefetchFrames(const CtcFrames& frames, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kLine = 64, kLargest = 1024;
  const auto size = static_cast<std::int64_t>(SizeOf(frames.dtype));
  if (frames.label_stride != 1 || frames.labels * size > kLargest) return;
  for (std::int64_t t = begin; t < end; ++t) {
    const auto* const row = static_cast<const char*>(frames.data) + t * frames.frame_stride * size;
    for (std::int64_t byte = 0; byte < frames.labels * size; byte += kLine) {
      hwy::Prefetch(row + byte);
    }
    hwy::Prefetch(row + frames.labels * size - 1);
  }
}

template <class Real, class Storage>
void PrepareFrames(const CtcJob& job, const CtcStates& states, CtcNumbers numbers, CtcWork& work,
                   CtcSide& side, std::int64_t begin, std::int64_t end) {
  const bool linear = numbers == CtcNumbers::linear || numbers == CtcNumbers::linear_down;
  const bool from_emissions = states.whole_alphabet && linear;
  const bool softmax = job.from_logits && !job.emissions_only;
  const ClassVectors vectors(states);
  for (std::int64_t block = begin; block < end; block += kCtcBlock) {
    const std::int64_t block_end = std::min(block + kCtcBlock, end);
    PrefetchFrames(job.frames, block_end, std::min(block_end + kCtcBlock, end));
    const FrameRows<Real, Storage> rows(job.frames, block, block_end, side.frames);
    // All frames are read before the first is exponentiated, so that their chains of instructions,
    // each longer than its work, overlap.
    double* const x = side.shares;
    double tops[kCtcBlock], row_tops[kCtcBlock];
    for (std::int64_t t = block; t < block_end; ++t) {
      double* const at = x + (t - block) * states.emission_width;
      // Logits of all labels are needed for the softmax; else only the sequence's own count.
      const Real* const row = rows.Row(t - block);
      if (!ReadClasses(states, !job.from_logits, row, job.frames.labels, at, tops[t - block],
                       row_tops[t - block], side)) {
        side.invalid = true;
        return;
      }
    }
    for (std::int64_t t = block; t < block_end; ++t) {
      const double top = tops[t - block], base = BaseOfFrame(numbers, top);
      EmissionsOfFrame(vectors, numbers, x + (t - block) * states.emission_width, base,
                       work.Emissions(t), side);
      side.offset.Add(base);
      work.softmax_shift[t] = top > kZeroWeight ? base - top : 0;
      if (!softmax) continue;
      PrepareSoftmax<Real, Storage>(job, from_emissions, states, rows.Row(t - block),
                                    row_tops[t - block], top, work, side, t);
    }
    if (softmax) {
      int exponent;
      side.partition = std::frexp(side.partition, &exponent);
      side.partition_exponent += exponent;
    }
  }
  // What was written past the caches is there before another thread comes to change it.
  if (softmax && !from_emissions) hwy::FlushStream();
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
