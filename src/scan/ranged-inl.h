// Steps of paths in extended range: right on any input, for what the linear domain cannot certify
// and where the scores themselves are wanted.
#if defined(LOGSUM_SCAN_RANGED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_RANGED_INL_H_
#undef LOGSUM_SCAN_RANGED_INL_H_
#else
#define LOGSUM_SCAN_RANGED_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/log-inl.h"
#include "core/two_sum-inl.h"
#include "hwy/highway.h"
#include "scan/arguments.hpp"
#include "scan/graph.hpp"
#include "scan/group.hpp"
#include "scan/lanes-inl.h"
#include "scan/numbers-inl.h"
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

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
