// Sums over paths in the linear domain, certified (certificate-inl.h).
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
#include "scan/segments.hpp"
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
  // `next` is the step after this one, -1 or the last if there is none.
  void Frame(const ScanShape& shape, const Group& group, std::int64_t t, std::int64_t next,
             const Prefetcher<kLanes>& write, double* space, double* weights) {
    const Operand& Ms = shape.Ms();
    Ahead<kLanes> ahead{.read = {}, .write = write};
    if (next >= 0 && next < group.steps) {
      ahead.read = {Ms, FrameOf<kLanes>(Ms, group, next), shape.E()};
    }
    LinearWeights<kLanes>(Ms, FrameOf<kLanes>(Ms, group, t), shape.E(), &shape.Arcs().padding,
                          space, weights, largest_, lowest_, ahead);
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

// logZ alone: two rows of scores, rounded up and rounded down.
template <class D>
class LinearSum {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static std::int64_t Memory(const ScanShape& shape) {
    return 2 * RowSize<D>(shape.C(), 2) + 3 * FrameSize<D>(shape.Arcs());
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
      scale_.Frame(job_.shape, group_, t, t + 1, {}, space_, weights_);
      scale_.Count(lanes_.LongerThan(t), Step());
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
  HWY_INLINE V Step() {
    const D d;
    const Graph::Arcs::Sorted& into = job_.shape.Arcs().into;
    const V floor = hn::Set(d, FloorOf(job_.shape.Arcs()));
    const double* HWY_RESTRICT weights = weights_;
    const double* HWY_RESTRICT from = from_;
    double* HWY_RESTRICT to = to_;
    V largest = floor;
    const std::int64_t num_states = job_.shape.C();
    for (std::int64_t c = 0; c < num_states; ++c) {
      V up = floor, down = hn::Zero(d);
      const std::int64_t end = into.begin[static_cast<std::size_t>(c) + 1];
      for (std::int64_t i = into.begin[static_cast<std::size_t>(c)]; i < end; ++i) {
        const auto [state, slot] = into.arcs[static_cast<std::size_t>(i)];
        const V weight = hn::LoadU(d, weights + std::int64_t{slot} * kLanes);
        const double* const scores = from + std::int64_t{state} * (2 * kLanes);
        up = hn::MulAdd(weight, hn::LoadU(d, scores), up);
        down = hn::MulAdd(Below(weight), hn::LoadU(d, scores + kLanes), down);
      }
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

// logZ with gradients. A sweep of Segments::Run.
template <class D>
class LinearGradient {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static Segments Rows(const SumJob& job, const Group& group) {
    return {group.steps, job.checkpoint, RowSize<D>(job.shape.C(), 1)};
  }
  static std::int64_t Memory(const SumJob& job, const Group& group) {
    return Rows(job, group).Size() + 2 * RowSize<D>(job.shape.C(), 1) +
           3 * FrameSize<D>(job.shape.Arcs()) + (group.steps + 1) * kLanes;
  }

  LinearGradient(const SumJob& job, const Group& group, double* memory)
      : job_(job),
        group_(group),
        arcs_(job.shape.Arcs()),
        num_states_(arcs_.num_states),
        lanes_(group),
        certificate_(arcs_, group.steps),
        sum_(hn::Zero(D())),
        backward_factor_(hn::Set(D(), 1.0)) {
    const std::int64_t row = RowSize<D>(num_states_, 1), frame = FrameSize<D>(arcs_);
    rows_ = memory;
    later_ = rows_ + Rows(job, group).Size();
    earlier_ = later_ + row;
    space_ = earlier_ + row;
    weights_ = space_ + frame;
    last_ = weights_ + frame;
    factors_ = last_ + frame;
  }

  unsigned Run() {
    Rows(job_, group_).Run(*this, rows_);
    lanes_.FillPast(job_.grad_Ms, 0, job_.shape.T(), arcs_.num_slots, 0);
    WriteSums<D>(job_, group_, scale_.Log(sum_));
    return FailedLanes<D>(certificate_.Holds(scale_.Lowest()), group_);
  }

  void First(double* row) {
    const D d;
    scale_.States(job_.vT, group_, num_states_, space_, last_);
    scale_.States(job_.v0, group_, num_states_, space_, weights_);
    StartRow(weights_, row);
    hn::StoreU(hn::Set(d, 1.0), d, factors_);
  }

  void Forward(std::int64_t t, const double* HWY_RESTRICT from, double* HWY_RESTRICT to,
               bool again) {
    const D d;
    scale_.Frame(job_.shape, group_, t, t + 1, {}, space_, weights_);
    const V floor = hn::Set(d, FloorOf(arcs_));
    const double* HWY_RESTRICT weights = weights_;
    V largest = floor;
    for (std::int64_t c = 0; c < num_states_; ++c) {
      V sum = floor;
      const std::int64_t end = arcs_.into.begin[static_cast<std::size_t>(c) + 1];
      for (std::int64_t i = arcs_.into.begin[static_cast<std::size_t>(c)]; i < end; ++i) {
        const auto [state, slot] = arcs_.into.arcs[static_cast<std::size_t>(i)];
        sum = hn::MulAdd(hn::LoadU(d, weights + std::int64_t{slot} * kLanes),
                         hn::LoadU(d, from + std::int64_t{state} * kLanes), sum);
      }
      hn::StoreU(sum, d, to + c * kLanes);
      largest = hn::Max(largest, sum);
    }
    V exponent;
    const V factor = Rescale(d, largest, floor, num_states_, to, exponent);
    if (again) return;
    scale_.Count(lanes_.LongerThan(t), exponent);
    hn::StoreU(factor, d, factors_ + (t + 1) * kLanes);
  }

  void Last(const double* row) {
    const D d;
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      hn::StoreU(hn::Set(d, kScale), d, later_ + i);
    }
    Meet(group_.steps, row);
  }

  // later_ holds the backward row of step t + 1, z_ its sum with the forward row.
  void Backward(std::int64_t t, const double* HWY_RESTRICT row, const double* /*next*/) {
    const D d;
    const Places<kLanes> written = RowsOf<kLanes>(job_.grad_Ms, group_, t);
    scale_.Frame(job_.shape, group_, t, t - 1, {job_.grad_Ms, written, arcs_.num_slots}, space_,
                 weights_);
    const V floor = hn::Set(d, FloorOf(arcs_));
    // next = factor times what comes from this row: so probabilities are relative to z_.
    const V unit = hn::Div(hn::LoadU(d, factors_ + (t + 1) * kLanes), z_);
    double* HWY_RESTRICT weights = weights_;
    const double* HWY_RESTRICT later = later_;
    double* HWY_RESTRICT earlier = earlier_;
    V largest = floor;
    for (std::int64_t s = 0; s < num_states_; ++s) {
      V sum = floor;
      const V before = hn::Mul(hn::LoadU(d, row + s * kLanes), unit);
      const std::int64_t end = arcs_.out_of.begin[static_cast<std::size_t>(s) + 1];
      for (std::int64_t i = arcs_.out_of.begin[static_cast<std::size_t>(s)]; i < end; ++i) {
        const auto [state, slot] = arcs_.out_of.arcs[static_cast<std::size_t>(i)];
        double* const weight = weights + std::int64_t{slot} * kLanes;
        const V after =
            hn::Mul(hn::LoadU(d, weight), hn::LoadU(d, later + std::int64_t{state} * kLanes));
        hn::StoreU(hn::Mul(before, after), d, weight);
        sum = hn::Add(sum, after);
      }
      hn::StoreU(sum, d, earlier + s * kLanes);
      largest = hn::Max(largest, sum);
    }
    V exponent;
    backward_factor_ = Rescale(d, largest, floor, num_states_, earlier_, exponent);
    const unsigned live = lanes_.Bits([&](std::int64_t length) { return length > t; });
    WriteFrame<kLanes>(job_.grad_Ms, RowsOf<kLanes>(job_.grad_Ms, group_, t), arcs_.num_slots, live,
                       weights_, space_);
    std::swap(later_, earlier_);
    Meet(t, row);
  }

  void Done(const double* /*row*/) {
    if (!job_.grad_v0.Exists()) return;
    // Anew from the weights, whose zeros are exact.
    double unseen[kLanes], also_unseen[kLanes] = {};
    LinearWeights<kLanes>(job_.v0, StatesOf<kLanes>(job_.v0, group_), num_states_, nullptr, space_,
                          weights_, unseen, also_unseen);
    WriteStates(job_.grad_v0, weights_, later_, (1u << group_.count) - 1);
  }

 private:
  HWY_INLINE void StartRow(const double* weights, double* row) const {
    const D d;
    const V scale = hn::Set(d, kScale), floor = hn::Set(d, FloorOf(arcs_));
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, weights + i), scale, floor), d, row + i);
    }
  }

  // Lets sequences that are t long begin their backward row, and multiplies it by the forward row.
  HWY_INLINE void Meet(std::int64_t t, const double* row) {
    const D d;
    const bool ends = lanes_.AnyEndsAt(t);
    const auto ending = lanes_.AsLongAs(t);
    if (ends) {
      const V scale = hn::Set(d, kScale), floor = hn::Set(d, FloorOf(arcs_));
      for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
        const V begun = hn::MulAdd(hn::LoadU(d, last_ + i), scale, floor);
        hn::StoreU(hn::IfThenElse(ending, begun, hn::LoadU(d, later_ + i)), d, later_ + i);
      }
    }
    V even = hn::Zero(d), odd = even;
    std::int64_t i = 0;
    for (; i + kLanes < num_states_ * kLanes; i += 2 * kLanes) {
      even = hn::MulAdd(hn::LoadU(d, row + i), hn::LoadU(d, later_ + i), even);
      odd = hn::MulAdd(hn::LoadU(d, row + i + kLanes), hn::LoadU(d, later_ + i + kLanes), odd);
    }
    if (i < num_states_ * kLanes) {
      even = hn::MulAdd(hn::LoadU(d, row + i), hn::LoadU(d, later_ + i), even);
    }
    z_ = hn::Add(even, odd);
    certificate_.Add(lanes_.AtLeastLong(t), z_, hn::LoadU(d, factors_ + t * kLanes),
                     backward_factor_);
    if (!ends) return;
    sum_ = hn::IfThenElse(ending, z_, sum_);
    if (job_.grad_vT.Exists()) {
      std::copy_n(last_, num_states_ * kLanes, weights_);
      const unsigned live = lanes_.Bits([&](std::int64_t length) { return length == t; });
      WriteStates(job_.grad_vT, weights_, row, live);
    }
  }

  // The probabilities of states by their weights, which are overwritten, and the other sweep's row.
  HWY_INLINE void WriteStates(const Operand& operand, double* weights, const double* row,
                              unsigned live) {
    const D d;
    const V unit = hn::Div(hn::Set(d, kScale), z_);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const V p = hn::Mul(hn::Mul(hn::LoadU(d, weights + i), unit), hn::LoadU(d, row + i));
      hn::StoreU(p, d, weights + i);
    }
    WriteFrame<kLanes>(operand, StatesOf<kLanes>(operand, group_), num_states_, live, weights,
                       space_);
  }

  const SumJob& job_;
  const Group& group_;
  const Graph::Arcs& arcs_;
  const std::int64_t num_states_;
  const GroupLanes<D> lanes_;
  LinearScale<D> scale_;
  Certificate<D> certificate_;
  V sum_, z_, backward_factor_;
  double *rows_, *later_, *earlier_, *space_, *weights_, *last_, *factors_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
