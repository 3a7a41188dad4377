// Sums: chains of at most 16 terms a lane, then totals in double, or in two doubles.
//
// Error, relative to the sum of sizes and in units of u = 2^-24 (2^-53): 15 in a chain and at most
// 8 where accumulators and lanes meet; from there on nothing that grows with the number of terms
// (n 2^-53 for floats, one ulp and n^2 2^-106 for doubles).
#if defined(LOGSUM_REDUCE_FOLD_SUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_SUM_INL_H_
#undef LOGSUM_REDUCE_FOLD_SUM_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_SUM_INL_H_
#endif

#include "core/compensated.hpp"
#include "hwy/highway.h"
#include "reduce/fold_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

// A group again, term by term: partial sums of large floats may overflow where their sum does not.
template <class Real, bool kRows>
HWY_NOINLINE void AddInDouble(const Totals<Real>& total, const Piece<Real>& x) {
  for (std::int64_t kept = 0; kept < Results<Real, kRows>(x); ++kept) {
    CompensatedSum sum;
    ForTerms<Real, kRows>(x, kept, [&](Real term, std::int64_t /*k*/) { sum.Add(term); });
    AddToTotal(total + kept, sum.Value());
  }
}

template <class Real, bool kRows>
HWY_INLINE void AddGroup(const Totals<Real>& total, const Piece<Real>& x) {
  const Words<Real> d;
  const auto sum = CombineGroup<Real, kRows>(x, Real{0}, Sum());
  if (HWY_LIKELY(hn::AllTrue(d, hn::Lt(hn::Abs(sum), hn::Set(d, kInfinity<Real>))))) {
    AddResults(total, sum, Results<Real, kRows>(x));
  } else {
    AddInDouble<Real, kRows>(total, x);
  }
}

template <class Real, bool kRows>
void PushSum(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
             const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> repeated;
  for (std::int64_t d = 0; d < state.shape.dim; ++d) {
    ForGroups<Real, kRows>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                     std::int64_t columns) HWY_ATTR {
      const std::int64_t line = view.Line(first + (kRows ? r : c), d);
      AddGroup<Real, kRows>(view.total + line, repeated.Read(formula, d, r, c, rows, columns));
    });
  }
}

// Over both axes: the results of a tile's rows, added up.
template <class Real>
void PushSumOfAll(const FoldState<Real>& state, const TileValue<Real>& formula,
                  const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> repeated;
  for (std::int64_t d = 0; d < state.shape.dim; ++d) {
    ForGroups<Real, true>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                    std::int64_t columns) HWY_ATTR {
      HWY_ALIGN double high[kLanes<Real>] = {}, low[kLanes<Real>] = {};
      const Totals<Real> totals{high, low};
      AddGroup<Real, true>(totals, repeated.Read(formula, d, r, c, rows, columns));
      const Totals<Real> all = view.total + view.Line(0, d);
      for (std::int64_t k = 0; k < rows; ++k) AddToTotal(all, high[k]);
      for (std::int64_t k = 0; k < rows; ++k) AddToTotal(all, low[k]);
    });
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
