// What sums over paths in the linear domain share: the scale of their rows.
#if defined(LOGSUM_SCAN_LINEAR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_LINEAR_INL_H_
#undef LOGSUM_SCAN_LINEAR_INL_H_
#else
#define LOGSUM_SCAN_LINEAR_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/log-inl.h"
#include "core/two_sum-inl.h"
#include "hwy/highway.h"
#include "scan/certificate-inl.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/linear_weights-inl.h"
#include "scan/numbers-inl.h"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Accumulate;
using logsum::HWY_NAMESPACE::LogScaledOfSum;

// The power of two that brings `largest` near kScale.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FactorFor(D d, V largest, V& exponent) {
  const hn::RebindToUnsigned<D> du;
  const auto field = hn::ShiftRight<52>(hn::BitCast(du, largest));
  // 2^52 + field, less 2^52.
  const V biased = hn::Sub(hn::BitCast(d, hn::Or(field, hn::BitCast(du, hn::Set(d, 0x1p52)))),
                           hn::Set(d, 0x1p52 + 1023));
  exponent =
      hn::Min(hn::Max(hn::Sub(hn::Set(d, double{kScaleExponent}), biased), hn::Set(d, -1000.0)),
              hn::Set(d, 1000.0));
  return PowerOf(d, exponent);
}

// What both sweeps below share: the logarithm of the scale of the forward row, and weights.
template <class D>
class LinearScale {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  LinearScale() : high_(hn::Zero(D())), low_(high_), exponent_(high_) {
    std::fill_n(lowest_, kLanes, 0.0);
  }

  // The weights of states, which count in every lane, and of a frame.
  void States(const Operand& operand, const Group& group, std::int64_t count, double* space,
              double* weights) {
    double largest[kLanes];
    LinearWeights<kLanes>(operand, StatesOf<kLanes>(operand, group), count, nullptr, space, weights,
                          largest, lowest_);
    Accumulate(high_, low_, hn::LoadU(D(), largest));
    exponent_ = hn::Sub(exponent_, hn::Set(D(), double{kScaleExponent}));
  }
  // Calls sweep(frame) for step t. `next` is the step after this one, -1 or the last if there is
  // none.
  template <class Sweep>
  void Frame(const ScanShape& shape, const Group& group, std::int64_t t, std::int64_t next,
             const Prefetcher<kLanes>& write, double* space, double* weights, const Sweep& sweep) {
    const Operand& Ms = shape.Ms();
    Ahead<kLanes> ahead{.read = {}, .write = write};
    if (next >= 0 && next < group.steps) {
      ahead.read = {Ms, FrameOf<kLanes>(Ms, group, next), shape.E()};
    }
    SweepFrame<D>(Ms, FrameOf<kLanes>(Ms, group, t), shape.Arcs(), space, weights, largest_,
                  lowest_, ahead, sweep);
  }
  // The frame's largest weight and the row's rescaling, for lanes whose sequence they belong to.
  HWY_INLINE void Count(hn::Mask<D> counts, V exponent) {
    Accumulate(high_, low_, hn::IfThenElseZero(counts, hn::LoadU(D(), largest_)));
    exponent_ = hn::Sub(exponent_, hn::IfThenElseZero(counts, exponent));
  }

  HWY_INLINE V Lowest() const { return hn::LoadU(D(), lowest_); }

  // log(sum) without its scale.
  HWY_INLINE V Log(V sum) const {
    V rest;
    const V log = LogScaledOfSum(D(), sum, exponent_, rest);
    V high = high_, low = low_;
    Accumulate(high, low, log);
    return hn::Add(high, hn::Add(low, rest));
  }

 private:
  V high_, low_, exponent_;
  double largest_[kLanes], lowest_[kLanes];
};

// Rescales a row when a lane's largest number is out of bounds. The factor, 1 if nothing was done.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Rescale(D d, V largest, V floor, std::int64_t num_states, double* row, V& exponent) {
  const auto outside =
      hn::Or(hn::Gt(largest, hn::Set(d, kMost)), hn::Lt(largest, hn::Set(d, kLeast)));
  exponent = hn::Zero(d);
  if (HWY_LIKELY(hn::AllFalse(d, outside))) return hn::Set(d, 1.0);
  const V factor = FactorFor(d, largest, exponent);
  for (std::int64_t i = 0; i < num_states * kLanesOf<D>; i += kLanesOf<D>) {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, row + i), factor, floor), d, row + i);
  }
  return factor;
}

template <class D>
void WriteSums(const SumJob& job, const Group& group, hn::Vec<D> logs) {
  double values[kLanesOf<D>];
  hn::StoreU(logs, D(), values);
  for (std::size_t lane = 0; lane < static_cast<std::size_t>(group.count); ++lane) {
    StoreAt(job.logZ, job.logZ.At(0, group.sequence[lane]), values[lane]);
  }
}

template <class D>
HWY_INLINE unsigned FailedLanes(hn::Mask<D> holds, const Group& group) {
  const D d;
  double flags[kLanesOf<D>];
  hn::StoreU(hn::IfThenZeroElse(holds, hn::Set(d, 1.0)), d, flags);
  unsigned failed = 0;
  for (int lane = 0; lane < group.count; ++lane) {
    if (flags[lane] != 0) failed |= 1u << lane;
  }
  return failed;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
