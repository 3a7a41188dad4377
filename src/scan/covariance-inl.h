// The derivative of a sum over paths and of its gradients along a direction.
//
// Beside the forward and backward sums go the means of the direction: of a state's prefixes,
// mean(s) = sum over arcs into s of p(arc) (mean(source) + direction(arc)), p the arc's share of
// the state's sum, and of its suffixes likewise. With f(path) the direction summed along a path,
//
//   cov(f, arc) = p(arc) (mean(source) + direction(arc) + mean'(target) - E f),
//
// in which nothing cancels that the problem does not cancel (Eisner 2002; Li and Eisner 2009 carry
// p times the means, which do).
#if defined(LOGSUM_SCAN_COVARIANCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_COVARIANCE_INL_H_
#undef LOGSUM_SCAN_COVARIANCE_INL_H_
#else
#define LOGSUM_SCAN_COVARIANCE_INL_H_
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

// p x, 0 where p is 0 even if x is infinite or NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Weighted(D d, V p, V x) {
  return hn::IfThenZeroElse(hn::Eq(p, hn::Zero(d)), hn::Mul(p, x));
}

// A sweep of Segments::Run.
template <class D>
class Covariance {
 public:
  using V = hn::Vec<D>;
  using Numbers = Ranged<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static Segments Rows(const CovarianceJob& job, const Group& group) {
    return {group.steps, -1, RowSize<D>(job.shape.C(), 3)};
  }
  static std::int64_t Memory(const CovarianceJob& job, const Group& group) {
    return Rows(job, group).Size() + 2 * RowSize<D>(job.shape.C(), 3) +
           7 * FrameSize<D>(job.shape.Arcs());
  }

  Covariance(const CovarianceJob& job, const Group& group, double* memory)
      : job_(job),
        group_(group),
        arcs_(job.shape.Arcs()),
        num_states_(arcs_.num_states),
        lanes_(group),
        mean_(hn::Zero(D())) {
    const std::int64_t row = RowSize<D>(num_states_, 3), frame = FrameSize<D>(arcs_);
    rows_ = memory;
    later_ = rows_ + Rows(job, group).Size();
    earlier_ = later_ + row;
    space_ = earlier_ + row;
    weights_ = {space_ + frame, space_ + 2 * frame};
    last_ = {space_ + 3 * frame, space_ + 4 * frame};
    direction_ = space_ + 5 * frame;
    last_direction_ = space_ + 6 * frame;
  }

  void Run() {
    Rows(job_, group_).Run(*this, rows_);
    lanes_.FillPast(job_.cov_Ms, 0, job_.shape.T(), arcs_.num_slots, 0);
    double means[kLanes];
    hn::StoreU(mean_, D(), means);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      StoreAt(job_.mean, job_.mean.At(0, group_.sequence[lane]), means[lane]);
    }
  }

  void First(double* row) {
    States(job_.vT, job_.direction_vT, last_, last_direction_);
    States(job_.v0, job_.direction_v0, weights_, direction_);
    Begin(weights_, direction_, row);
  }

  void Forward(std::int64_t t, double* from, double* to, bool /*again*/) {
    Frame(t);
    Step(arcs_.into, from, to);
  }

  void Last(double* row) {
    Begin(last_, last_direction_, later_);
    Meet(group_.steps, row);
  }

  void Backward(std::int64_t t, double* row, double* /*next*/) {
    Frame(t);
    Step(arcs_.out_of, later_, earlier_);
    if (job_.cov_Ms.Exists()) WriteArcs(t, row);
    std::swap(later_, earlier_);
    Meet(t, row);
  }

  void Done(double* row) { WriteStates(job_.cov_v0, row, (1u << group_.count) - 1); }

 private:
  Row RowOf(double* row) const { return RowAt<D>(row, num_states_); }
  double* MeansOf(double* row) const { return row + 2 * num_states_ * kLanes; }

  void States(const Operand& operand, const Operand& direction, Row weights, double* means) {
    double unused[kLanes];
    RangedWeights<kLanes>(operand, StatesOf<kLanes>(operand, group_), num_states_, nullptr, space_,
                          weights, unused);
    Directions(direction, StatesOf<kLanes>(direction, group_), num_states_, means);
  }

  void Frame(std::int64_t t) {
    double unused[kLanes];
    const Operand& Ms = job_.shape.Ms();
    RangedWeights<kLanes>(Ms, FrameOf<kLanes>(Ms, group_, t), arcs_.num_slots, &arcs_.padding,
                          space_, weights_, unused);
    const Operand& direction = job_.direction_Ms;
    Directions(direction, FrameOf<kLanes>(direction, group_, t), arcs_.num_slots, direction_);
  }

  void Directions(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                  double* values) {
    if (operand.Exists()) {
      WidenedElements<kLanes, false>(operand, places, count, nullptr, space_, values);
    } else {
      std::fill_n(values, count * kLanes, 0.0);
    }
  }

  void Begin(Row weights, const double* means, double* row) const {
    const D d;
    const Row to = RowOf(row);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const auto weight = Numbers::Load(d, weights, i);
      Numbers::Store(d, weight, to, i);
      const auto none = hn::Eq(weight.fraction, hn::Zero(d));
      hn::StoreU(hn::IfThenZeroElse(none, hn::LoadU(d, means + i)), d, MeansOf(row) + i);
    }
  }

  // Sums and means of every state.
  void Step(const Graph::Arcs::Sorted& sorted, double* from, double* to) {
    const D d;
    RangedStep<D>(sorted, num_states_, weights_, RowOf(from), RowOf(to));
    const double* const means = MeansOf(from);
    for (std::int64_t c = 0; c < num_states_; ++c) {
      const auto sum = Numbers::Load(d, RowOf(to), c * kLanes);
      const auto none = hn::Eq(sum.fraction, hn::Zero(d));
      const V scale = hn::IfThenZeroElse(none, hn::Div(hn::Set(d, 1.0), sum.fraction));
      V mean = hn::Zero(d);
      const std::int64_t end = sorted.begin[static_cast<std::size_t>(c) + 1];
      for (std::int64_t i = sorted.begin[static_cast<std::size_t>(c)]; i < end; ++i) {
        const auto [state, slot] = sorted.arcs[static_cast<std::size_t>(i)];
        const std::int64_t at = std::int64_t{slot} * kLanes;
        const std::int64_t other = std::int64_t{state} * kLanes;
        const auto term =
            Times(d, Numbers::Load(d, weights_, at), Numbers::Load(d, RowOf(from), other));
        const V share = hn::Mul(Numbers::InUnits(d, term, sum.exponent), scale);
        const V value = hn::Add(hn::LoadU(d, means + other), hn::LoadU(d, direction_ + at));
        mean = hn::Add(mean, Weighted(d, share, value));
      }
      hn::StoreU(mean, d, MeansOf(to) + c * kLanes);
    }
  }

  // weights_ = the probabilities of the states between a forward row and later_.
  void Probabilities(double* row) {
    const D d;
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      Numbers::Store(d,
                     Times(d, Numbers::Load(d, RowOf(row), i), Numbers::Load(d, RowOf(later_), i)),
                     weights_, i);
    }
    Normalise(d, weights_, num_states_);
  }

  HWY_INLINE V MeanThrough(const double* row_means, const double* later_means,
                           std::int64_t i) const {
    return hn::Add(hn::LoadU(D(), row_means + i), hn::LoadU(D(), later_means + i));
  }

  // Sequences that are t long end here.
  void Meet(std::int64_t t, double* row) {
    if (!lanes_.AnyEndsAt(t)) return;
    const D d;
    const auto ending = lanes_.AsLongAs(t);
    Begin(last_, last_direction_, earlier_);
    const std::int64_t num_states = num_states_;
    for (std::int64_t i = 0; i < 3 * num_states * kLanes; i += kLanes) {
      const V begun = hn::LoadU(d, earlier_ + i), old = hn::LoadU(d, later_ + i);
      hn::StoreU(hn::IfThenElse(ending, begun, old), d, later_ + i);
    }
    Probabilities(row);
    V mean = hn::Zero(d);
    for (std::int64_t i = 0; i < num_states * kLanes; i += kLanes) {
      const V through = MeanThrough(MeansOf(row), MeansOf(later_), i);
      mean = hn::Add(mean, Weighted(d, hn::LoadU(d, weights_.fractions + i), through));
    }
    mean_ = hn::IfThenElse(ending, mean, mean_);
    WriteStates(job_.cov_vT, row, lanes_.Bits([&](std::int64_t length) { return length == t; }));
  }

  void WriteStates(const Operand& operand, double* row, unsigned live) {
    if (!operand.Exists()) return;
    const D d;
    Probabilities(row);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      const V excess = hn::Sub(MeanThrough(MeansOf(row), MeansOf(later_), i), mean_);
      hn::StoreU(Weighted(d, hn::LoadU(d, weights_.fractions + i), excess), d,
                 weights_.fractions + i);
    }
    WriteFrame<kLanes>(operand, StatesOf<kLanes>(operand, group_), num_states_, live,
                       weights_.fractions, space_);
  }

  void WriteArcs(std::int64_t t, double* row) {
    const D d;
    const auto for_each_arc = [&](const auto& body) HWY_ATTR {
      for (std::int64_t s = 0; s < num_states_; ++s) {
        const std::int64_t end = arcs_.out_of.begin[static_cast<std::size_t>(s) + 1];
        for (std::int64_t i = arcs_.out_of.begin[static_cast<std::size_t>(s)]; i < end; ++i) {
          const auto [state, slot] = arcs_.out_of.arcs[static_cast<std::size_t>(i)];
          body(s * kLanes, std::int64_t{slot} * kLanes, std::int64_t{state} * kLanes);
        }
      }
    };
    for_each_arc([&](std::int64_t source, std::int64_t slot, std::int64_t target) HWY_ATTR {
      const auto after =
          Times(d, Numbers::Load(d, weights_, slot), Numbers::Load(d, RowOf(later_), target));
      Numbers::Store(d, Times(d, Numbers::Load(d, RowOf(row), source), after), weights_, slot);
    });
    Normalise(d, weights_, arcs_.num_slots);
    for_each_arc([&](std::int64_t source, std::int64_t slot, std::int64_t target) HWY_ATTR {
      const V outside = hn::Sub(
          hn::Add(hn::LoadU(d, MeansOf(row) + source), hn::LoadU(d, MeansOf(later_) + target)),
          mean_);
      const V excess = hn::Add(outside, hn::LoadU(d, direction_ + slot));
      hn::StoreU(Weighted(d, hn::LoadU(d, weights_.fractions + slot), excess), d,
                 weights_.fractions + slot);
    });
    WriteFrame<kLanes>(job_.cov_Ms, RowsOf<kLanes>(job_.cov_Ms, group_, t), arcs_.num_slots,
                       lanes_.Bits([&](std::int64_t length) { return length > t; }),
                       weights_.fractions, space_);
  }

  const CovarianceJob& job_;
  const Group& group_;
  const Graph::Arcs& arcs_;
  const std::int64_t num_states_;
  const GroupLanes<D> lanes_;
  V mean_;
  Row weights_, last_;
  double *rows_, *later_, *earlier_, *space_, *direction_, *last_direction_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
