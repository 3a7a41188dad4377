// Sums over paths in the linear domain, between two bounds (certificate-inl.h).
#if defined(LOGSUM_SCAN_LINEAR_SUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_LINEAR_SUM_INL_H_
#undef LOGSUM_SCAN_LINEAR_SUM_INL_H_
#else
#define LOGSUM_SCAN_LINEAR_SUM_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "scan/arc_walk-inl.h"
#include "scan/certificate-inl.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/linear-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// logZ alone: two rows of scores, rounded up and rounded down.
template <class D>
class LinearSum {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static std::int64_t Memory(const ScanShape& shape) {
    return 2 * RowSize<D>(shape.C(), 2) + 2 * FrameSize<D>(shape.Arcs()) +
           StatesSize<D>(shape.Arcs());
  }

  LinearSum(const SumJob& job, const Group& group, double* memory)
      : job_(job), group_(group), lanes_(group) {
    const std::int64_t row = RowSize<D>(job.shape.C(), 2), frame = FrameSize<D>(job.shape.Arcs());
    from_ = memory;
    to_ = from_ + row;
    space_ = to_ + row;
    weights_ = space_ + frame;
    last_ = weights_ + frame;
  }

  unsigned Run() {
    const D d;
    const std::int64_t num_states = job_.shape.C();
    scale_.States(job_.vT, group_, num_states, space_, last_);
    scale_.States(job_.v0, group_, num_states, space_, weights_);
    const V scale = hn::Set(d, kScale), floor = hn::Set(d, FloorOf(job_.shape.Arcs()));
    for (std::int64_t i = 0; i < num_states * kLanes; i += kLanes) {
      const V weight = hn::LoadU(d, weights_ + i);
      hn::StoreU(hn::MulAdd(weight, scale, floor), d, from_ + 2 * i);
      hn::StoreU(hn::Mul(Below(weight), scale), d, from_ + 2 * i + kLanes);
    }
    V up = hn::Zero(d), down = up;
    for (std::int64_t t = 0;; ++t) {
      if (lanes_.AnyEndsAt(t)) Finish(t, up, down);
      if (t == group_.steps) break;
      V exponent = hn::Zero(d);
      scale_.Frame(job_.shape, group_, t, t + 1, {}, space_, weights_,
                   [&](auto& frame) HWY_ATTR { exponent = Step(frame); });
      scale_.Count(lanes_.LongerThan(t), exponent);
      std::swap(from_, to_);
    }
    WriteSums<D>(job_, group_, scale_.Log(up));
    // NaN agrees with nothing, and zero is left to exact arithmetic.
    const auto agree = hn::Le(hn::Sub(up, down), hn::Mul(up, hn::Set(d, kAgreement)));
    return FailedLanes<D>(hn::And(agree, hn::Gt(down, hn::Zero(d))), group_);
  }

 private:
  static HWY_INLINE V Below(V weight) {
    const D d;
    return hn::IfThenElseZero(hn::Gt(weight, hn::Set(d, kAboveLowestWeight)), weight);
  }

  // One step from from_ to to_; the exponent by which it was rescaled.
  template <class Frame>
  HWY_INLINE V Step(Frame& frame) {
    const D d;
    ArcWalk into(job_.shape.Arcs().into);
    const V floor = hn::Set(d, FloorOf(job_.shape.Arcs()));
    const double* HWY_RESTRICT from = from_;
    double* HWY_RESTRICT to = to_;
    V largest = floor;
    const std::int64_t num_states = job_.shape.C();
    for (std::int64_t c = 0; c < num_states; ++c) {
      frame.NextState();
      V up = floor, down = hn::Zero(d);
      into.NextState([&](std::int64_t state, std::int64_t slot) HWY_ATTR {
        const V weight = frame.Weight(slot);
        const double* const scores = from + state * (2 * kLanes);
        up = hn::MulAdd(weight, hn::LoadU(d, scores), up);
        down = hn::MulAdd(Below(weight), hn::LoadU(d, scores + kLanes), down);
      });
      hn::StoreU(up, d, to + c * (2 * kLanes));
      hn::StoreU(down, d, to + c * (2 * kLanes) + kLanes);
      largest = hn::Max(largest, up);
    }
    V exponent;
    const auto outside =
        hn::Or(hn::Gt(largest, hn::Set(d, kMost)), hn::Lt(largest, hn::Set(d, kLeast)));
    if (HWY_LIKELY(hn::AllFalse(d, outside))) return hn::Zero(d);
    const V factor = FactorFor(d, largest, exponent);
    for (std::int64_t i = 0; i < num_states * 2 * kLanes; i += 2 * kLanes) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, to + i), factor, floor), d, to + i);
      hn::StoreU(hn::Mul(hn::LoadU(d, to + i + kLanes), factor), d, to + i + kLanes);
    }
    return exponent;
  }

  // The sums of sequences that are t long, over their last states.
  HWY_INLINE void Finish(std::int64_t t, V& up, V& down) {
    const D d;
    V up_sum = hn::Zero(d), down_sum = up_sum;
    const V scale = hn::Set(d, kScale);
    for (std::int64_t i = 0; i < job_.shape.C() * kLanes; i += kLanes) {
      const V weight = hn::LoadU(d, last_ + i);
      up_sum = hn::MulAdd(hn::Mul(weight, scale), hn::LoadU(d, from_ + 2 * i), up_sum);
      down_sum =
          hn::MulAdd(hn::Mul(Below(weight), scale), hn::LoadU(d, from_ + 2 * i + kLanes), down_sum);
    }
    const auto ends = lanes_.AsLongAs(t);
    up = hn::IfThenElse(ends, up_sum, up);
    down = hn::IfThenElse(ends, down_sum, down);
  }

  const SumJob& job_;
  const Group& group_;
  const GroupLanes<D> lanes_;
  LinearScale<D> scale_;
  double *from_, *to_, *space_, *weights_, *last_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
