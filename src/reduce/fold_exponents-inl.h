// Sums of exponentials of a group of terms, relative to each result's reference (states.hpp).
//
// Two looks at a group in L1: its maxima, then its exponentials. Terms are taken relative to the
// reference by one subtraction, which rounds by half an ulp of the larger of the two: a
// perturbation of the formula as small as its own rounding. References move by exponentials in
// double, and seldom, so sums are not rounded over and over.
#if defined(LOGSUM_REDUCE_FOLD_EXPONENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_EXPONENTS_INL_H_
#undef LOGSUM_REDUCE_FOLD_EXPONENTS_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_EXPONENTS_INL_H_
#endif

#include <cmath>

#include "core/exp-inl.h"
#include "hwy/highway.h"
#include "reduce/fold_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

using logsum::HWY_NAMESPACE::ExpNonPositive;

// The lines of a group's results.
template <class Real>
struct ExponentLines {
  Real* max;
  Real* reference;
  Totals<Real> total;
};

// f(lines) for the lines of a group with `count` results, or for copies of them in lines of a whole
// vector.
template <class Real, class F>
HWY_INLINE void WithWholeVector(const ExponentLines<Real>& lines, std::int64_t count, const F& f) {
  if (HWY_LIKELY(count == kLanes<Real>)) return f(lines);
  HWY_ALIGN Real max[kLanes<Real>], reference[kLanes<Real>] = {};
  HWY_ALIGN double high[kLanes<Real>] = {}, low[kLanes<Real>] = {};
  std::fill(max, max + kLanes<Real>, -kInfinity<Real>);
  const auto copy = [&](const auto* from, auto* to) {
    if (from != nullptr) std::copy(from, from + count, to);
  };
  copy(lines.max, max);
  copy(lines.reference, reference);
  copy(lines.total.high, high);
  copy(lines.total.low, low);
  f(ExponentLines<Real>{max, reference, {high, low}});
  copy(max, lines.max);
  copy(reference, lines.reference);
  copy(high, lines.total.high);
  if constexpr (kPairs<Real>) copy(low, lines.total.low);
}

// Where the exponentials of a group are kept for whoever weighs them.
template <class Real>
struct Shares {
  HWY_INLINE Real* At(std::int64_t r) const { return data + r * row; }

  Real* data = nullptr;
  std::ptrdiff_t row = 0;
};

// e^(x - reference), added to `sum`. Terms equal to `excluded` are counted instead.
template <class Real, bool kExclude, bool kStore, class V = Word<Real>>
HWY_INLINE void AddExponential(V x, V reference, V excluded, V& sum, V& count, Real* share) {
  const Words<Real> d;
  V term = ExpNonPositive(d, hn::Sub(x, reference));
  if constexpr (kStore) hn::StoreU(term, d, share);
  if constexpr (kExclude) {
    const auto is_max = hn::Eq(x, excluded);
    term = hn::IfThenZeroElse(is_max, term);
    count = hn::Add(count, hn::IfThenElseZero(is_max, hn::Set(d, Real{1})));
  }
  sum = hn::Add(sum, term);
}

// The sums of a group's exponentials, and how many terms were left out of each.
template <class Real, bool kRows, bool kExclude, bool kStore>
HWY_INLINE Word<Real> SumExponentials(const Piece<Real>& x, Word<Real> reference,
                                      Word<Real> excluded, const Shares<Real>& shares,
                                      Word<Real>& count) {
  using V = Word<Real>;
  const Words<Real> d;
  const V zero = hn::Zero(d);
  if constexpr (kRows) {
    HWY_ALIGN Real references[kLanes<Real>], excludeds[kLanes<Real>];
    hn::Store(reference, d, references);
    if constexpr (kExclude) hn::Store(excluded, d, excludeds);
    V sums[kLanes<Real>], counts[kLanes<Real>];
    const V none = hn::Set(d, -kInfinity<Real>);
    for (std::int64_t r = 0; r < kLanes<Real>; ++r) {
      V sum[4] = {zero, zero, zero, zero};
      V out = zero;
      if (r < x.rows) {
        const V from = hn::Set(d, references[r]);
        const V left_out = kExclude ? hn::Set(d, excludeds[r]) : zero;
        ForRow(x.Row(r), x.columns, none, [&](V v, std::int64_t c, auto k) HWY_ATTR {
          AddExponential<Real, kExclude, kStore>(v, from, left_out, sum[k], out,
                                                 kStore ? shares.At(r) + c : nullptr);
        });
      }
      sums[r] = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
      if constexpr (kExclude) counts[r] = out;
    }
    if constexpr (kExclude) count = CombineLanes<Real>(counts, Sum());
    return CombineLanes<Real>(sums, Sum());
  } else {
    V sum[2] = {zero, zero};
    count = zero;
    std::int64_t r = 0;
    const auto add = [&](std::int64_t row, V& to) HWY_ATTR {
      AddExponential<Real, kExclude, kStore>(hn::LoadU(d, x.Row(row)), reference, excluded, to,
                                             count, kStore ? shares.At(row) : nullptr);
    };
    for (; r + 2 <= x.rows; r += 2) {
      add(r, sum[0]);
      add(r + 1, sum[1]);
    }
    if (r < x.rows) add(r, sum[0]);
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns));
    count = hn::IfThenElseZero(valid, count);
    return hn::IfThenElseZero(valid, hn::Add(sum[0], sum[1]));
  }
}

// totals = totals * factor + term, in doubles.
template <class Real>
HWY_INLINE void MoveTotals(const Totals<Real>& totals, Word<double> factor, Word<double> term) {
  const Doubles dd;
  Word<double> high = hn::Mul(hn::LoadU(dd, totals.high), factor);
  if constexpr (kPairs<Real>) {
    Word<double> low = hn::Mul(hn::LoadU(dd, totals.low), factor);
    logsum::HWY_NAMESPACE::Accumulate(high, low, term);
    hn::StoreU(low, dd, totals.low);
  } else {
    high = hn::Add(high, term);
  }
  hn::StoreU(high, dd, totals.high);
}

// Raises maxima to those of the lanes `grew`, moves references that are too low and lets the old
// maxima join their sums (kJoin). factors: what the sums were multiplied by.
template <class Real, bool kJoin>
HWY_NOINLINE void RaiseMaxima(const ExponentLines<Real>& lines, Word<Real> largest,
                              hn::Mask<Words<Real>> grew, double* HWY_RESTRICT factors) {
  using V = Word<Real>;
  const Words<Real> d;
  const Doubles dd;
  const V max = hn::LoadU(d, lines.max), reference = hn::LoadU(d, lines.reference);
  const V none = hn::Set(d, -kInfinity<Real>);
  const auto low =
      hn::Or(hn::Gt(largest, hn::Add(reference, hn::Set(d, Real{kSlack}))), hn::Eq(max, none));
  const auto moved = hn::And(grew, low);
  const V new_reference = hn::IfThenElse(moved, largest, reference);
  HWY_ALIGN double moves[kLanes<Real>], olds[kLanes<Real>];
  ForDoubles(hn::IfThenElseZero(moved, reference),
             [&](Word<double> x, std::int64_t at) HWY_ATTR { hn::Store(x, dd, moves + at); });
  ForDoubles(hn::IfThenElseZero(moved, largest), [&](Word<double> x, std::int64_t at) HWY_ATTR {
    // An empty sum may move down, and stays empty.
    const auto move = hn::Min(hn::Sub(hn::Load(dd, moves + at), x), hn::Zero(dd));
    hn::Store(move, dd, moves + at);
  });
  ForDoubles(new_reference,
             [&](Word<double> x, std::int64_t at) HWY_ATTR { hn::Store(x, dd, olds + at); });
  ForDoubles(hn::IfThenElse(grew, max, none), [&](Word<double> x, std::int64_t at) HWY_ATTR {
    const Word<double> tiny = hn::Set(dd, 1e-300);
    const Word<double> factor = hn::Max(ExpNonPositive(dd, hn::Load(dd, moves + at)), tiny);
    const Word<double> old = hn::Sub(x, hn::Load(dd, olds + at));
    hn::StoreU(factor, dd, factors + at);
    if constexpr (kJoin) {
      const Totals<Real> totals = lines.total + at;
      MoveTotals<Real>(totals, factor, ExpNonPositive(dd, old));
    }
  });
  hn::StoreU(hn::IfThenElse(grew, largest, max), d, lines.max);
  hn::StoreU(new_reference, d, lines.reference);
}

// Adds the equals of the maxima that were left out, `count` for each lane of which one stays out.
template <class Real>
HWY_INLINE void AddEquals(const ExponentLines<Real>& lines, Word<Real> equals) {
  const Words<Real> d;
  const Doubles dd;
  HWY_ALIGN double differences[kLanes<Real>];
  ForDoubles(hn::LoadU(d, lines.max),
             [&](Word<double> x, std::int64_t at) HWY_ATTR { hn::Store(x, dd, differences + at); });
  ForDoubles(hn::LoadU(d, lines.reference), [&](Word<double> x, std::int64_t at) HWY_ATTR {
    hn::Store(hn::Sub(hn::Load(dd, differences + at), x), dd, differences + at);
  });
  ForDoubles(equals, [&](Word<double> n, std::int64_t at) HWY_ATTR {
    const Word<double> term = ExpNonPositive(dd, hn::Load(dd, differences + at));
    // No equals of what may be infinite is nothing.
    const auto some = hn::IfThenElseZero(hn::Gt(n, hn::Zero(dd)), hn::Mul(term, n));
    MoveTotals<Real>(lines.total + at, hn::Set(dd, 1.0), some);
  });
}

// One result whose group has a term of +inf: from there on it counts those.
template <class Real, bool kRows>
void CountInfinite(const ExponentLines<Real>& line, const Piece<Real>& x, std::int64_t kept) {
  double count = 0;
  ForTerms<Real, kRows>(x, kept, [&](Real term, std::int64_t /*k*/) {
    if (term != term) count = term;
    if (term == kInfinity<Real>) count += 1;
  });
  if (*line.max != kInfinity<Real>) {
    const bool is_nan = *line.total.high != *line.total.high;
    if (!is_nan) *line.total.high = -1;
    if constexpr (kPairs<Real>) *line.total.low = 0;
    *line.max = *line.reference = kInfinity<Real>;
  }
  *line.total.high += count;
}

// What a group did to its lines.
template <class Real>
struct Push {
  bool raised = false;                     // whether totals beside the sum must be multiplied by
  HWY_ALIGN double factors[kLanes<Real>];  // these
  unsigned infinite = 0;                   // results that have terms of +inf now, bit by bit
};

template <class Real, bool kRows, bool kStore>
HWY_INLINE void PushToWholeVector(const ExponentLines<Real>& lines, const Piece<Real>& x,
                                  const Shares<Real>& shares, Push<Real>& push) {
  using V = Word<Real>;
  const Words<Real> d;
  const V largest = CombineGroup<Real, kRows>(x, -kInfinity<Real>, Larger());
  const V max = hn::LoadU(d, lines.max);
  const V finite = hn::Set(d, std::numeric_limits<Real>::max());
  const V nan = hn::Set(d, std::numeric_limits<Real>::quiet_NaN());
  V count = hn::Zero(d);
  push.raised = false;
  push.infinite = 0;
  // Larger than the maximum, or infinite.
  if (HWY_LIKELY(hn::AllFalse(d, hn::Gt(largest, hn::Min(max, finite))))) {
    AddToTotals(lines.total, SumExponentials<Real, kRows, false, kStore>(
                                 x, hn::LoadU(d, lines.reference), nan, shares, count));
    return;
  }
  const auto infinite = hn::Gt(largest, finite);
  const auto grew = hn::AndNot(infinite, hn::Gt(largest, max));
  push.raised = true;
  RaiseMaxima<Real, true>(lines, largest, grew, push.factors);
  const V excluded = hn::IfThenElse(grew, largest, nan);
  const V sum = SumExponentials<Real, kRows, true, kStore>(x, hn::LoadU(d, lines.reference),
                                                           excluded, shares, count);
  AddToTotals(lines.total, hn::IfThenZeroElse(infinite, sum));
  AddEquals(lines, hn::IfThenElseZero(grew, hn::Sub(count, hn::Set(d, Real{1}))));
  if (HWY_LIKELY(hn::AllFalse(d, infinite))) return;
  HWY_ALIGN Real largests[kLanes<Real>];
  hn::Store(largest, d, largests);
  for (std::int64_t k = 0; k < Results<Real, kRows>(x); ++k) {
    if (largests[k] != kInfinity<Real>) continue;
    if (lines.max[k] != kInfinity<Real>) push.factors[k] = 0;
    push.infinite |= 1u << k;
    CountInfinite<Real, kRows>({lines.max + k, lines.reference + k, lines.total + k}, x, k);
  }
}

// Adds a group's exponentials to its lines; kStore: keeps them in `shares`, too.
template <class Real, bool kRows, bool kStore>
HWY_INLINE void PushExponentials(const ExponentLines<Real>& lines, const Piece<Real>& x,
                                 const Shares<Real>& shares, Push<Real>& push) {
  WithWholeVector(lines, Results<Real, kRows>(x), [&](const ExponentLines<Real>& whole) HWY_ATTR {
    PushToWholeVector<Real, kRows, kStore>(whole, x, shares, push);
  });
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
