// Scores of all states in extended range.
#if defined(LOGSUM_SCAN_RANGED_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_RANGED_SCORES_INL_H_
#undef LOGSUM_SCAN_RANGED_SCORES_INL_H_
#else
#define LOGSUM_SCAN_RANGED_SCORES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/numbers-inl.h"
#include "scan/ranged-inl.h"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// forward_scores and backward_scores: one sweep, the logarithms of all its rows.
template <class D>
class RangedScores {
 public:
  using V = hn::Vec<D>;
  using Numbers = Ranged<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static std::int64_t Memory(const ScoresJob& job, const Group& /*group*/) {
    return 2 * RowSize<D>(job.shape.C(), 2) + 3 * FrameSize<D>(job.shape.Arcs()) +
           2 * StatesSize<D>(job.shape.Arcs());
  }

  RangedScores(const ScoresJob& job, const Group& group, double* memory)
      : job_(job), group_(group), num_states_(job.shape.C()), lanes_(group) {
    const std::int64_t row = RowSize<D>(num_states_, 2), frame = FrameSize<D>(job.shape.Arcs());
    from_ = RowAt<D>(memory, num_states_);
    to_ = RowAt<D>(memory + row, num_states_);
    space_ = memory + 2 * row;
    weights_ = {space_ + frame, space_ + 2 * frame};
    first_.fractions = space_ + 3 * frame;
    first_.exponents = first_.fractions + StatesSize<D>(job.shape.Arcs());
  }

  void Run() {
    const Graph::Arcs& arcs = job_.shape.Arcs();
    scale_.States(job_.first, group_, num_states_, space_, first_);
    std::copy_n(first_.fractions, num_states_ * kLanes, from_.fractions);
    std::copy_n(first_.exponents, num_states_ * kLanes, from_.exponents);
    if (!job_.backward) {
      Write(0);
      for (std::int64_t t = 0; t < group_.steps; ++t) {
        Step(t, arcs.into);
        Write(t + 1);
      }
    } else {
      Write(group_.steps);
      for (std::int64_t t = group_.steps; t-- > 0;) {
        Step(t, arcs.out_of);
        Begin(t);
        Write(t);
      }
    }
    lanes_.FillPast(job_.scores, 1, job_.shape.T() + 1, num_states_,
                    -std::numeric_limits<double>::infinity());
  }

 private:
  void Step(std::int64_t t, const Graph::Arcs::Sorted& sorted) {
    scale_.Frame(job_.shape, group_, t, space_, weights_);
    RangedStep<D>(sorted, num_states_, weights_, from_, to_);
    scale_.Count(lanes_.LongerThan(t));
    std::swap(from_, to_);
  }

  // Backward: sequences that are t long begin.
  void Begin(std::int64_t t) {
    if (!lanes_.AnyEndsAt(t)) return;
    const D d;
    const auto begins = lanes_.AsLongAs(t);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const auto begun = Numbers::Load(d, first_, i), old = Numbers::Load(d, from_, i);
      Numbers::Store(d,
                     {hn::IfThenElse(begins, begun.fraction, old.fraction),
                      hn::IfThenElse(begins, begun.exponent, old.exponent)},
                     from_, i);
    }
  }

  void Write(std::int64_t t) {
    const D d;
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      hn::StoreU(scale_.Log(Numbers::Load(d, from_, i)), d, weights_.fractions + i);
    }
    WriteFrame<kLanes>(job_.scores, RowsOf<kLanes>(job_.scores, group_, t), num_states_,
                       lanes_.Bits([&](std::int64_t length) { return length >= t; }),
                       weights_.fractions, space_);
  }

  const ScoresJob& job_;
  const Group& group_;
  const std::int64_t num_states_;
  const GroupLanes<D> lanes_;
  RangedScale<D> scale_;
  Row from_, to_, weights_, first_;
  double* space_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
