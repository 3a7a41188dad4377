// Sums over paths in extended range: right on any input, for what the linear domain cannot certify
// and where the scores themselves are wanted.
#if defined(LOGSUM_SCAN_RANGED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_RANGED_INL_H_
#undef LOGSUM_SCAN_RANGED_INL_H_
#else
#define LOGSUM_SCAN_RANGED_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/log-inl.h"
#include "core/two_sum-inl.h"
#include "hwy/highway.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/numbers-inl.h"
#include "scan/segments.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Accumulate;
using logsum::HWY_NAMESPACE::LogScaled;

template <class D>
using NumberOf = typename Ranged<D>::Number;

// a b, in which a zero absorbs NaN as well: a path that is none takes no part.
template <class D>
HWY_INLINE NumberOf<D> Times(D d, const NumberOf<D>& a, const NumberOf<D>& b) {
  const auto zero = hn::Zero(d);
  const auto is_zero = hn::Or(hn::Eq(a.fraction, zero), hn::Eq(b.fraction, zero));
  const auto product = Ranged<D>::Mul(d, a, b);
  return {hn::IfThenZeroElse(is_zero, product.fraction),
          hn::IfThenElse(is_zero, hn::Set(d, kZeroExponent), product.exponent)};
}

// A row of `count` elements in memory.
template <class D>
HWY_INLINE Row RowAt(double* row, std::int64_t count) {
  return {row, row + count * kLanesOf<D>};
}

// Every state's sum over its arcs of weight times the state at the arc's other end.
template <class D>
void RangedStep(const Graph::Arcs::Sorted& sorted, std::int64_t num_states, Row weights, Row from,
                Row to) {
  using Numbers = Ranged<D>;
  constexpr int kLanes = kLanesOf<D>;
  const D d;
  for (std::int64_t c = 0; c < num_states; ++c) {
    auto sum = Numbers::Zero(d);
    const std::int64_t end = sorted.begin[static_cast<std::size_t>(c) + 1];
    for (std::int64_t i = sorted.begin[static_cast<std::size_t>(c)]; i < end; ++i) {
      const auto [state, slot] = sorted.arcs[static_cast<std::size_t>(i)];
      sum = Numbers::Add(d, sum,
                         Times(d, Numbers::Load(d, weights, std::int64_t{slot} * kLanes),
                               Numbers::Load(d, from, std::int64_t{state} * kLanes)));
    }
    Numbers::Store(d, Numbers::Normalize(d, sum), to, c * kLanes);
  }
}

// The same sum of numbers one by one.
template <class D>
HWY_INLINE NumberOf<D> SumOf(D d, Row row, std::int64_t count) {
  auto sum = Ranged<D>::Zero(d);
  for (std::int64_t i = 0; i < count * kLanesOf<D>; i += kLanesOf<D>) {
    // The sum of many may leave the range that Add allows.
    if (i % (64 * kLanesOf<D>) == 0) sum = Ranged<D>::Normalize(d, sum);
    sum = Ranged<D>::Add(d, sum, Ranged<D>::Load(d, row, i));
  }
  return Ranged<D>::Normalize(d, sum);
}

// Numbers to their share of their sum, in the fractions; all 0 if that is 0. The largest exponent
// is the unit, so that shares add up to one however large exponents are.
template <class D>
void Normalise(D d, Row row, std::int64_t count) {
  using V = hn::Vec<D>;
  constexpr int kLanes = kLanesOf<D>;
  const V zero = hn::Zero(d);
  V unit = hn::Set(d, kZeroExponent);
  for (std::int64_t i = 0; i < count * kLanes; i += kLanes) {
    unit = hn::Max(unit, hn::LoadU(d, row.exponents + i));
  }
  V sum = zero;
  for (std::int64_t i = 0; i < count * kLanes; i += kLanes) {
    const V share = Ranged<D>::InUnits(d, Ranged<D>::Load(d, row, i), unit);
    hn::StoreU(share, d, row.fractions + i);
    sum = hn::Add(sum, share);
  }
  const V scale = hn::IfThenZeroElse(hn::Eq(sum, zero), hn::Div(hn::Set(d, 1.0), sum));
  for (std::int64_t i = 0; i < count * kLanes; i += kLanes) {
    const V share = hn::LoadU(d, row.fractions + i);
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(share, zero), hn::Mul(share, scale)), d,
               row.fractions + i);
  }
}

// The logarithm of a number times e^(high + low).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogOf(D d, const NumberOf<D>& a, V high, V low) {
  const V infinity = hn::Set(d, std::numeric_limits<double>::infinity());
  const V log = LogScaled(d, a.fraction, a.exponent);
  Accumulate(high, low, log);
  const V sum = hn::Add(high, low);
  const auto huge = hn::And(hn::Ge(a.exponent, hn::Set(d, kFirstInfiniteExponent)),
                            hn::Eq(a.fraction, a.fraction));
  const auto none = hn::Eq(a.fraction, hn::Zero(d));
  return hn::IfThenElse(none, hn::Neg(infinity), hn::IfThenElse(huge, infinity, sum));
}

// The scale of a row: the sum of what was subtracted from its weights.
template <class D>
class RangedScale {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  RangedScale() : high_(hn::Zero(D())), low_(high_) {}

  void States(const Operand& operand, const Group& group, std::int64_t count, double* space,
              Row weights) {
    RangedWeights<kLanes>(operand, StatesOf<kLanes>(operand, group), count, nullptr, space, weights,
                          largest_);
    Count(hn::Eq(high_, high_));
  }
  void Frame(const ScanShape& shape, const Group& group, std::int64_t t, double* space,
             Row weights) {
    RangedWeights<kLanes>(shape.Ms(), FrameOf<kLanes>(shape.Ms(), group, t), shape.E(),
                          &shape.Arcs().padding, space, weights, largest_);
  }
  HWY_INLINE void Count(hn::Mask<D> counts) {
    Accumulate(high_, low_, hn::IfThenElseZero(counts, hn::LoadU(D(), largest_)));
  }
  HWY_INLINE V Log(const NumberOf<D>& a) const { return LogOf(D(), a, high_, low_); }

 private:
  V high_, low_;
  double largest_[kLanes];
};

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
    return Rows(job, group).Size() + 2 * RowSize<D>(job.shape.C(), 2) +
           5 * FrameSize<D>(job.shape.Arcs());
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
    double* const later = rows_ + Rows(job, group).Size();
    later_ = RowAt<D>(later, num_states_);
    earlier_ = RowAt<D>(later + row, num_states_);
    space_ = later + 2 * row;
    weights_ = {space_ + frame, space_ + 2 * frame};
    last_ = {space_ + 3 * frame, space_ + 4 * frame};
  }

  void Run() {
    Rows(job_, group_).Run(*this, rows_);
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
    if (job_.HasGradient()) {
      scale_.Frame(job_.shape, group_, t, space_, weights_);
      RangedStep<D>(arcs_.out_of, num_states_, weights_, later_, earlier_);
      if (job_.grad_Ms.Exists()) WriteArcs(t, RowAt<D>(row, num_states_));
      std::swap(later_, earlier_);
    }
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
    Products(row, later_);
    const auto sum = SumOf(d, weights_, num_states_);
    sum_ = {hn::IfThenElse(ending, sum.fraction, sum_.fraction),
            hn::IfThenElse(ending, sum.exponent, sum_.exponent)};
    WriteStates(job_.grad_vT, row, later_,
                lanes_.Bits([&](std::int64_t length) { return length == t; }));
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

// forward_scores and backward_scores: one sweep, the logarithms of all its rows.
template <class D>
class RangedScores {
 public:
  using V = hn::Vec<D>;
  using Numbers = Ranged<D>;
  static constexpr int kLanes = kLanesOf<D>;

  static std::int64_t Memory(const ScoresJob& job, const Group& /*group*/) {
    return 2 * RowSize<D>(job.shape.C(), 2) + 5 * FrameSize<D>(job.shape.Arcs());
  }

  RangedScores(const ScoresJob& job, const Group& group, double* memory)
      : job_(job), group_(group), num_states_(job.shape.C()), lanes_(group) {
    const std::int64_t row = RowSize<D>(num_states_, 2), frame = FrameSize<D>(job.shape.Arcs());
    from_ = RowAt<D>(memory, num_states_);
    to_ = RowAt<D>(memory + row, num_states_);
    space_ = memory + 2 * row;
    weights_ = {space_ + frame, space_ + 2 * frame};
    first_ = {space_ + 3 * frame, space_ + 4 * frame};
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
