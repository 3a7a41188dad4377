// The log-sum-exp of each component.
#if defined(LOGSUM_REDUCE_FOLD_LOGSUMEXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_LOGSUMEXP_INL_H_
#undef LOGSUM_REDUCE_FOLD_LOGSUMEXP_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_LOGSUMEXP_INL_H_
#endif

#include "hwy/highway.h"
#include "reduce/fold_exponents-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

template <class Real, bool kRows>
void PushLogSumExp(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
                   const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> repeated;
  Push<Real> push;
  for (std::int64_t d = 0; d < state.shape.dim; ++d) {
    ForGroups<Real, kRows>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                     std::int64_t columns) HWY_ATTR {
      const std::int64_t line = view.Line(first + (kRows ? r : c), d);
      PushExponentials<Real, kRows, false>(
          {view.max + line, view.reference + line, view.total + line},
          repeated.Read(formula, d, r, c, rows, columns), {}, push);
    });
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
