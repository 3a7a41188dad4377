// Pushing a tile of values into the state of a fold: the interface of the kernels that fold.
//
// Costs little beside making the values: about two operations a value for sums and extrema, the
// exponential and three for log-sum-exps. Nothing is allocated; 64 KB of stack at most.
#if defined(LOGSUM_REDUCE_FOLD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_INL_H_
#undef LOGSUM_REDUCE_FOLD_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_INL_H_
#endif

#include "hwy/highway.h"
#include "reduce/fold_extrema-inl.h"
#include "reduce/fold_logsumexp-inl.h"
#include "reduce/fold_sum-inl.h"
#include "reduce/fold_weight-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

template <class Real, bool kRows>
void PushTileOf(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
                const TileValue<Real>& weight, const TileSpan& span) {
  switch (state.shape.fold) {
    case Fold::sum: {
      const SumTarget<Real> target = TargetOf(state, first, TileValue<Real>{});
      return PushSumsOf<Real, kRows>({&target, 1}, {.value = formula, .dim = state.shape.dim},
                                     span);
    }
    case Fold::logsumexp:
      return PushLogSumExp<Real, kRows>(state, first, formula, span);
    case Fold::logsumexp_weight:
      return PushLogSumExpWeight<Real, kRows>(state, first, formula, weight, span);
    case Fold::softmax_weight:
      return PushSoftmaxWeight<Real, kRows>(state, first, formula, weight, span);
    case Fold::min:
      return PushExtrema<Real, kRows, false>(state, first, formula, span);
    case Fold::max:
      return PushExtrema<Real, kRows, true>(state, first, formula, span);
    case Fold::kmin:
      return PushKMin<Real, kRows>(state, first, formula, span);
  }
}

// `first`: the place in the state of the tile's first row (kept i), or column (kept j); 0 where
// kept is parameter. Rows of values per column are padded to whole vectors. weight: of the folds
// that have one. Threads may push to different kept indices of a state.
template <class Real>
void PushTile(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
              const TileValue<Real>& weight, const TileSpan& span) {
  switch (state.shape.kept) {
    case FormulaIndex::i:
      return PushTileOf<Real, true>(state, first, formula, weight, span);
    case FormulaIndex::j:
      return PushTileOf<Real, false>(state, first, formula, weight, span);
    case FormulaIndex::parameter: {
      const SumTarget<Real> target = TargetOf(state, 0, TileValue<Real>{});
      return PushSumsOfAll<Real>({&target, 1}, {.value = formula, .dim = state.shape.dim}, span);
    }
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
