// Means and sums of weights under exponentials: softmax_weight and logsumexp_weight.
//
// Products are made and added in Real, 16 in a chain, and totals are as sums'. A group whose
// products leave the numbers (an overflow, a weight that is not finite, a term of -inf beside such
// a weight) is added again term by term, in double.
#if defined(LOGSUM_REDUCE_FOLD_WEIGHT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_WEIGHT_INL_H_
#undef LOGSUM_REDUCE_FOLD_WEIGHT_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_WEIGHT_INL_H_
#endif

#include <cmath>

#include "hwy/highway.h"
#include "reduce/fold_exponents-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

// The product of e^(formula - reference) and a weight, as their limits want it: nothing of -inf
// takes part; beside terms of +inf, where reference is +inf, only those do, each with e^0.
inline double Product(double formula, double reference, double weight) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (formula == -kInfinite || (reference == kInfinite && formula < reference)) return 0;
  if (formula == reference) return weight;
  return std::isfinite(weight) ? std::exp(formula - reference) * weight : formula + weight;
}

// One result of a group, term by term.
template <class Real, bool kRows>
double SumInDouble(const Piece<Real>& formula, const Piece<Real>& weight, std::int64_t kept,
                   double reference) {
  CompensatedSum sum;
  ForTerms<Real, kRows>(formula, kept, [&](Real f, std::int64_t k) {
    const Real w = kRows ? weight.At(kept, k) : weight.At(k, kept);
    sum.Add(Product(f, reference, w));
  });
  return sum.Value();
}

// totals * factor; an infinite total stays unless the factor is 0, which ends it.
template <class Real>
HWY_NOINLINE void ScaleTotals(const Totals<Real>& totals, const double* factors,
                              std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) {
    double& high = totals.high[k];
    high = std::isinf(high) && factors[k] == 0 ? 0 : high * factors[k];
    if constexpr (kPairs<Real>) totals.low[k] = factors[k] == 0 ? 0 : totals.low[k] * factors[k];
  }
}

// Adds the products of a group to the totals of its results.
template <class Real, bool kRows>
HWY_INLINE void PushProducts(const Totals<Real>& totals, const Real* reference,
                             const Piece<Real>& formula, const Shares<Real>& shares,
                             const Piece<Real>& weight, unsigned infinite) {
  const Words<Real> d;
  const auto sum =
      SumProducts<Real, kRows>(weight, {shares.data, shares.row, weight.rows, weight.columns});
  const auto finite = hn::Lt(hn::Abs(sum), hn::Set(d, kInfinity<Real>));
  if (HWY_LIKELY(infinite == 0 && hn::AllTrue(d, finite))) {
    AddResults(totals, sum, Results<Real, kRows>(weight));
    return;
  }
  HWY_ALIGN Real sums[kLanes<Real>];
  hn::Store(sum, d, sums);
  for (std::int64_t k = 0; k < Results<Real, kRows>(weight); ++k) {
    const bool plain = std::isfinite(sums[k]) && (infinite >> k & 1) == 0;
    AddToTotal(totals + k,
               plain ? sums[k] : SumInDouble<Real, kRows>(formula, weight, k, reference[k]));
  }
}

template <class Real>
class ShareBlock {
 public:
  // For a group of `rows` rows.
  template <bool kRows>
  HWY_INLINE Shares<Real> Get(std::int64_t rows) {
    return {data_, kRows ? PieceColumns<Real>(rows) : kLanes<Real>};
  }

 private:
  HWY_ALIGN Real data_[Repeated<Real>::kSize];
};

template <class Real, bool kRows>
void PushSoftmaxWeight(const FoldState<Real>& state, std::int64_t first,
                       const TileValue<Real>& formula, const TileValue<Real>& weight,
                       const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> formulas, weights;
  ShareBlock<Real> block;
  Push<Real> push;
  ForGroups<Real, kRows>(
      span, [&](std::int64_t r, std::int64_t c, std::int64_t rows, std::int64_t columns) HWY_ATTR {
        const std::int64_t kept = first + (kRows ? r : c);
        const Shares<Real> shares = block.template Get<kRows>(rows);
        const Piece<Real> x = formulas.Read(formula, 0, r, c, rows, columns);
        PushExponentials<Real, kRows, true>(
            {view.max + kept, view.reference + kept, view.rest + kept}, x, shares, push);
        for (std::int64_t d = 0; d < state.shape.dim; ++d) {
          const Totals<Real> totals = view.total + view.Line(kept, d);
          if (push.raised) ScaleTotals(totals, push.factors, Results<Real, kRows>(x));
          PushProducts<Real, kRows>(totals, view.reference + kept, x, shares,
                                    weights.Read(weight, d, r, c, rows, columns), push.infinite);
        }
      });
}

// The formula where the weight is not zero, which takes its term out: -inf.
template <class Real>
Piece<Real> TakingPart(const Piece<Real>& formula, const Piece<Real>& weight,
                       const Shares<Real>& to) {
  const Words<Real> d;
  constexpr std::int64_t lanes = kLanes<Real>;
  for (std::int64_t r = 0; r < formula.rows; ++r) {
    for (std::int64_t c = 0; c < formula.columns; c += lanes) {
      const auto w = hn::LoadU(d, weight.Row(r) + c), x = hn::LoadU(d, formula.Row(r) + c);
      const auto none = hn::Set(d, -kInfinity<Real>);
      hn::StoreU(hn::IfThenElse(hn::Eq(w, hn::Zero(d)), none, x), d, to.At(r) + c);
    }
  }
  return {to.data, to.row, formula.rows, formula.columns};
}

// Terms of +inf are infinite parts of the total; reference and maximum are those of finite terms.
template <class Real, bool kRows>
HWY_INLINE void PushWeightedExponentials(const ExponentLines<Real>& lines, const Piece<Real>& x,
                                         const Piece<Real>& weight, const Shares<Real>& shares) {
  const Words<Real> d;
  const auto largest = CombineGroup<Real, kRows>(x, -kInfinity<Real>, Larger());
  const auto infinite = hn::Eq(largest, hn::Set(d, kInfinity<Real>));
  const auto grew = hn::AndNot(infinite, hn::Gt(largest, hn::LoadU(d, lines.max)));
  if (!hn::AllFalse(d, grew)) {
    HWY_ALIGN double factors[kLanes<Real>];
    RaiseMaxima<Real, false>(lines, largest, grew, factors);
    ScaleTotals(lines.total, factors, Results<Real, kRows>(x));
  }
  auto count = hn::Zero(d);
  SumExponentials<Real, kRows, false, true>(x, hn::LoadU(d, lines.reference), count, shares, count);
  if (HWY_LIKELY(hn::AllFalse(d, infinite))) {
    PushProducts<Real, kRows>(lines.total, lines.reference, x, shares, weight, 0);
    return;
  }
  HWY_ALIGN Real largests[kLanes<Real>];
  hn::Store(largest, d, largests);
  for (std::int64_t k = 0; k < Results<Real, kRows>(x); ++k) {
    const bool lane_infinite = largests[k] == kInfinity<Real>;
    ForTerms<Real, kRows>(x, k, [&](Real f, std::int64_t at) {
      const Real w = kRows ? weight.At(k, at) : weight.At(at, k);
      if (!lane_infinite) {
        AddToTotal(lines.total + k, Product(f, lines.reference[k], w));
      } else if (f == kInfinity<Real> || f != f || w != w) {
        // Of the weight's sign, or NaN. Finite terms are nothing beside it.
        AddToTotal(lines.total + k, double{f} * w);
      }
    });
  }
}

template <class Real, bool kRows>
void PushLogSumExpWeight(const FoldState<Real>& state, std::int64_t first,
                         const TileValue<Real>& formula, const TileValue<Real>& weight,
                         const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> formulas, weights;
  ShareBlock<Real> block, taking_part;
  for (std::int64_t d = 0; d < state.shape.dim; ++d) {
    ForGroups<Real, kRows>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                     std::int64_t columns) HWY_ATTR {
      const std::int64_t line = view.Line(first + (kRows ? r : c), d);
      const Piece<Real> w = weights.Read(weight, d, r, c, rows, columns);
      const Shares<Real> shares = block.template Get<kRows>(rows);
      const Piece<Real> x = TakingPart(formulas.Read(formula, 0, r, c, rows, columns), w,
                                       taking_part.template Get<kRows>(rows));
      WithWholeVector<Real>(
          {view.max + line, view.reference + line, view.total + line}, Results<Real, kRows>(x),
          [&](const ExponentLines<Real>& lines)
              HWY_ATTR { PushWeightedExponentials<Real, kRows>(lines, x, w, shares); });
    });
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
