// Sums over paths in the linear domain with their gradients, certified (certificate-inl.h).
#if defined(LOGSUM_SCAN_LINEAR_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_LINEAR_GRADIENT_INL_H_
#undef LOGSUM_SCAN_LINEAR_GRADIENT_INL_H_
#else
#define LOGSUM_SCAN_LINEAR_GRADIENT_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "scan/arc_walk-inl.h"
#include "scan/certificate-inl.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/linear-inl.h"
#include "scan/segments.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

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
           2 * FrameSize<D>(job.shape.Arcs()) + StatesSize<D>(job.shape.Arcs()) +
           (group.steps + 1) * kLanes;
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
    factors_ = last_ + StatesSize<D>(arcs_);
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
    const V floor = hn::Set(d, FloorOf(arcs_));
    V largest = floor;
    scale_.Frame(job_.shape, group_, t, t + 1, {}, space_, weights_, [&](auto& frame) HWY_ATTR {
      ArcWalk walk(arcs_.into);
      const double* HWY_RESTRICT before = from;
      double* HWY_RESTRICT after = to;
      V most = floor;
      for (std::int64_t c = 0; c < num_states_; ++c) {
        frame.NextState();
        V sum = floor;
        walk.NextState([&](std::int64_t state, std::int64_t slot) HWY_ATTR {
          sum = hn::MulAdd(frame.Weight(slot), hn::LoadU(d, before + state * kLanes), sum);
        });
        hn::StoreU(sum, d, after + c * kLanes);
        most = hn::Max(most, sum);
      }
      largest = most;
    });
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
    const V floor = hn::Set(d, FloorOf(arcs_));
    // next = factor times what comes from this row: so probabilities are relative to z_.
    const V unit = hn::Div(hn::LoadU(d, factors_ + (t + 1) * kLanes), z_);
    // The row that comes next left the caches long ago.
    const std::int64_t row_size = RowSize<D>(num_states_, 1);
    const double* const next_row = row - rows_ >= row_size ? row - row_size : row;
    V largest = floor, meeting = hn::Zero(d);
    const auto sweep = [&](auto& frame) HWY_ATTR {
      const double* HWY_RESTRICT later = later_;
      double* HWY_RESTRICT earlier = earlier_;
      ArcWalk walk(arcs_.out_of);
      const double* HWY_RESTRICT here = row;
      const V of_here = unit;
      V most = floor, met = hn::Zero(d);
      for (std::int64_t s = 0; s < num_states_; ++s) {
        hwy::Prefetch(next_row + s * kLanes);
        frame.NextState();
        V sum = floor;
        const V score = hn::LoadU(d, here + s * kLanes);
        const V before = hn::Mul(score, of_here);
        walk.NextState([&](std::int64_t state, std::int64_t slot) HWY_ATTR {
          const V after = hn::Mul(frame.Weight(slot), hn::LoadU(d, later + state * kLanes));
          frame.Replace(slot, hn::Mul(before, after));
          sum = hn::Add(sum, after);
        });
        hn::StoreU(sum, d, earlier + s * kLanes);
        most = hn::Max(most, sum);
        met = hn::MulAdd(score, sum, met);
      }
      largest = most;
      meeting = met;
    };
    scale_.Frame(job_.shape, group_, t, t - 1, {job_.grad_Ms, written, arcs_.num_slots}, space_,
                 weights_, sweep);
    V exponent;
    backward_factor_ = Rescale(d, largest, floor, num_states_, earlier_, exponent);
    const unsigned live = lanes_.Bits([&](std::int64_t length) { return length > t; });
    WriteResults<D>(job_.grad_Ms, written, arcs_, live, weights_, space_);
    std::swap(later_, earlier_);
    // Rescaled rows meet in a rescaled sum; the floors that come with it are no part of Z.
    z_ = hn::Mul(meeting, backward_factor_);
    if (lanes_.AnyEndsAt(t)) {
      Meet(t, row);
    } else {
      Certify(t);
    }
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
    const auto ending = lanes_.AsLongAs(t);
    const V scale = hn::Set(d, kScale), floor = hn::Set(d, FloorOf(arcs_));
    V sum = hn::Zero(d);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const V begun = hn::MulAdd(hn::LoadU(d, last_ + i), scale, floor);
      const V after = hn::IfThenElse(ending, begun, hn::LoadU(d, later_ + i));
      hn::StoreU(after, d, later_ + i);
      sum = hn::MulAdd(hn::LoadU(d, row + i), after, sum);
    }
    z_ = sum;
    Certify(t);
    sum_ = hn::IfThenElse(ending, z_, sum_);
    if (job_.grad_vT.Exists()) {
      std::copy_n(last_, num_states_ * kLanes, weights_);
      const unsigned live = lanes_.Bits([&](std::int64_t length) { return length == t; });
      WriteStates(job_.grad_vT, weights_, row, live);
    }
  }

  HWY_INLINE void Certify(std::int64_t t) {
    certificate_.Add(lanes_.AtLeastLong(t), z_, hn::LoadU(D(), factors_ + t * kLanes),
                     backward_factor_);
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
