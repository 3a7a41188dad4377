// Sums over paths in extended range, with their gradients.
#if defined(LOGSUM_SCAN_RANGED_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_RANGED_GRADIENT_INL_H_
#undef LOGSUM_SCAN_RANGED_GRADIENT_INL_H_
#else
#define LOGSUM_SCAN_RANGED_GRADIENT_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/numbers-inl.h"
#include "scan/ranged-inl.h"
#include "scan/segments.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// logZ with gradients. A sweep of Segments::Run.
template <class D>
class RangedGradient {
 public:
  using V = hn::Vec<D>;
  using Numbers = Ranged<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static Segments Rows(const SumJob& job, const Group& group) {
    return {group.steps, job.checkpoint, RowSize<D>(job.shape.C(), 2)};
  }
  static std::int64_t Memory(const SumJob& job, const Group& group) {
    const std::int64_t rows = job.HasGradient() ? Rows(job, group).Size() : 0;
    return rows + 2 * RowSize<D>(job.shape.C(), 2) + 3 * FrameSize<D>(job.shape.Arcs()) +
           2 * StatesSize<D>(job.shape.Arcs());
  }

  RangedGradient(const SumJob& job, const Group& group, double* memory)
      : job_(job),
        group_(group),
        arcs_(job.shape.Arcs()),
        num_states_(arcs_.num_states),
        lanes_(group),
        sum_(Numbers::Zero(D())) {
    const std::int64_t row = RowSize<D>(num_states_, 2), frame = FrameSize<D>(arcs_);
    rows_ = memory;
    double* const later = rows_ + (job.HasGradient() ? Rows(job, group).Size() : 0);
    later_ = RowAt<D>(later, num_states_);
    earlier_ = RowAt<D>(later + row, num_states_);
    space_ = later + 2 * row;
    weights_ = {space_ + frame, space_ + 2 * frame};
    last_.fractions = space_ + 3 * frame;
    last_.exponents = last_.fractions + StatesSize<D>(arcs_);
  }

  void Run() {
    if (job_.HasGradient()) {
      Rows(job_, group_).Run(*this, rows_);
    } else {
      RunForward();
    }
    lanes_.FillPast(job_.grad_Ms, 0, job_.shape.T(), arcs_.num_slots, 0);
    double logs[kLanes];
    hn::StoreU(scale_.Log(sum_), D(), logs);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      StoreAt(job_.logZ, job_.logZ.At(0, group_.sequence[lane]), logs[lane]);
    }
  }

  void First(double* row) {
    scale_.States(job_.vT, group_, num_states_, space_, last_);
    scale_.States(job_.v0, group_, num_states_, space_, weights_);
    Copy(weights_, RowAt<D>(row, num_states_));
  }

  void Forward(std::int64_t t, double* from, double* to, bool again) {
    scale_.Frame(job_.shape, group_, t, space_, weights_);
    RangedStep<D>(arcs_.into, num_states_, weights_, RowAt<D>(from, num_states_),
                  RowAt<D>(to, num_states_));
    if (!again) scale_.Count(lanes_.LongerThan(t));
  }

  void Last(double* row) {
    Copy(last_, later_);
    Meet(group_.steps, RowAt<D>(row, num_states_));
  }

  void Backward(std::int64_t t, double* row, double* /*next*/) {
    scale_.Frame(job_.shape, group_, t, space_, weights_);
    RangedStep<D>(arcs_.out_of, num_states_, weights_, later_, earlier_);
    if (job_.grad_Ms.Exists()) WriteArcs(t, RowAt<D>(row, num_states_));
    std::swap(later_, earlier_);
    Meet(t, RowAt<D>(row, num_states_));
  }

  void Done(double* row) {
    const unsigned all = (1u << group_.count) - 1;
    WriteStates(job_.grad_v0, RowAt<D>(row, num_states_), later_, all);
  }

 private:
  void Copy(Row from, Row to) const {
    std::copy_n(from.fractions, num_states_ * kLanes, to.fractions);
    std::copy_n(from.exponents, num_states_ * kLanes, to.exponents);
  }

  // Sequences that are t long end here.
  void Meet(std::int64_t t, Row row) {
    if (!lanes_.AnyEndsAt(t)) return;
    const D d;
    const auto ending = lanes_.AsLongAs(t);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const auto begun = Numbers::Load(d, last_, i), old = Numbers::Load(d, later_, i);
      Numbers::Store(d,
                     {hn::IfThenElse(ending, begun.fraction, old.fraction),
                      hn::IfThenElse(ending, begun.exponent, old.exponent)},
                     later_, i);
    }
    Total(t, row);
    WriteStates(job_.grad_vT, row, later_,
                lanes_.Bits([&](std::int64_t length) { return length == t; }));
  }

  // Without gradients: two rows, the later one and the earlier one of the above.
  void RunForward() {
    double* from = later_.fractions;
    double* to = earlier_.fractions;
    First(from);
    for (std::int64_t t = 0;; ++t) {
      if (lanes_.AnyEndsAt(t)) Total(t, RowAt<D>(from, num_states_));
      if (t == group_.steps) return;
      Forward(t, from, to, false);
      std::swap(from, to);
    }
  }

  // The sums of sequences that are t long.
  void Total(std::int64_t t, Row row) {
    const D d;
    Products(row, last_);
    const auto ending = lanes_.AsLongAs(t);
    const auto sum = SumOf(d, weights_, num_states_);
    sum_ = {hn::IfThenElse(ending, sum.fraction, sum_.fraction),
            hn::IfThenElse(ending, sum.exponent, sum_.exponent)};
  }

  // weights_ = forward times backward scores, state by state.
  void Products(Row row, Row later) {
    const D d;
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      Numbers::Store(d, Times(d, Numbers::Load(d, row, i), Numbers::Load(d, later, i)), weights_,
                     i);
    }
  }

  void WriteStates(const Operand& operand, Row row, Row later, unsigned live) {
    if (!operand.Exists()) return;
    Products(row, later);
    Normalise(D(), weights_, num_states_);
    WriteFrame<kLanes>(operand, StatesOf<kLanes>(operand, group_), num_states_, live,
                       weights_.fractions, space_);
  }

  // The probabilities of the arcs of step t, between a forward row and later_.
  void WriteArcs(std::int64_t t, Row row) {
    const D d;
    for (std::int64_t s = 0; s < num_states_; ++s) {
      const auto before = Numbers::Load(d, row, s * kLanes);
      const std::int64_t end = arcs_.out_of.begin[static_cast<std::size_t>(s) + 1];
      for (std::int64_t i = arcs_.out_of.begin[static_cast<std::size_t>(s)]; i < end; ++i) {
        const auto [state, slot] = arcs_.out_of.arcs[static_cast<std::size_t>(i)];
        const std::int64_t at = std::int64_t{slot} * kLanes;
        const auto after = Times(d, Numbers::Load(d, weights_, at),
                                 Numbers::Load(d, later_, std::int64_t{state} * kLanes));
        Numbers::Store(d, Times(d, before, after), weights_, at);
      }
    }
    Normalise(d, weights_, arcs_.num_slots);
    WriteFrame<kLanes>(job_.grad_Ms, RowsOf<kLanes>(job_.grad_Ms, group_, t), arcs_.num_slots,
                       lanes_.Bits([&](std::int64_t length) { return length > t; }),
                       weights_.fractions, space_);
  }

  const SumJob& job_;
  const Group& group_;
  const Graph::Arcs& arcs_;
  const std::int64_t num_states_;
  const GroupLanes<D> lanes_;
  RangedScale<D> scale_;
  NumberOf<D> sum_;
  Row later_, earlier_, weights_, last_;
  double *rows_, *space_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
