// Minima and maxima with their indices, and the K lowest.
//
// Vectors look for values only: most groups bring nothing new, and those are left with one
// comparison a result. An index is looked up where a value enters its state.
#if defined(LOGSUM_REDUCE_FOLD_EXTREMA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_FOLD_EXTREMA_INL_H_
#undef LOGSUM_REDUCE_FOLD_EXTREMA_INL_H_
#else
#define LOGSUM_REDUCE_FOLD_EXTREMA_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "reduce/fold_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

template <bool kLargest>
using Extremum = std::conditional_t<kLargest, Larger, Smaller>;

// Whether a valid element of a group is NaN.
template <class Real, bool kRows>
HWY_INLINE bool HasNan(const Piece<Real>& x) {
  const Words<Real> d;
  auto ordered = hn::Eq(hn::Zero(d), hn::Zero(d));
  if constexpr (kRows) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      ForRow(x.Row(r), x.columns, hn::Zero(d),
             [&](auto v, std::int64_t /*c*/, auto /*k*/)
                 HWY_ATTR { ordered = hn::And(ordered, hn::Eq(v, v)); });
    }
    return !hn::AllTrue(d, ordered);
  } else {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const auto v = hn::LoadU(d, x.Row(r));
      ordered = hn::And(ordered, hn::Eq(v, v));
    }
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns));
    return !hn::AllTrue(d, hn::Or(ordered, hn::Not(valid)));
  }
}

// The first place where a result's terms equal `value`, which is among them.
template <class Real, bool kRows>
std::int64_t Find(const Piece<Real>& x, std::int64_t kept, Real value) {
  std::int64_t k = 0;
  if constexpr (kRows) {
    const Words<Real> d;
    const Real* const row = x.Row(kept);
    const auto wanted = hn::Set(d, value);
    for (; k < x.columns; k += kLanes<Real>) {
      const std::intptr_t found = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, row + k), wanted));
      if (found >= 0) return k + found;
    }
  } else {
    while (x.At(k, kept) != value) ++k;
  }
  return k;
}

// first_index: the global index of the group's first reduced one.
template <class Real, bool kRows, bool kLargest>
HWY_INLINE void PushExtremum(Real* values, std::int64_t* indices, const Piece<Real>& x,
                             std::int64_t first_index) {
  const Words<Real> d;
  const auto offer = [&](std::int64_t kept, const Indexed<Real>& other) {
    if (!Before<true, kLargest, Real>(other, {values[kept], indices[kept]})) return;
    values[kept] = other.value;
    indices[kept] = other.index;
  };
  if (HWY_UNLIKELY((HasNan<Real, kRows>(x)))) {
    for (std::int64_t kept = 0; kept < Results<Real, kRows>(x); ++kept) {
      ForTerms<Real, kRows>(
          x, kept, [&](Real term, std::int64_t k) { offer(kept, {term, first_index + k}); });
    }
    return;
  }
  const Real worst = kLargest ? -kInfinity<Real> : kInfinity<Real>;
  const auto best = CombineGroup<Real, kRows>(x, worst, Extremum<kLargest>());
  if (HWY_LIKELY((Results<Real, kRows>(x) == kLanes<Real>))) {
    const auto old = hn::LoadU(d, values);
    if (hn::AllFalse(d, kLargest ? hn::Ge(best, old) : hn::Le(best, old))) return;
  }
  HWY_ALIGN Real bests[kLanes<Real>];
  hn::Store(best, d, bests);
  for (std::int64_t kept = 0; kept < Results<Real, kRows>(x); ++kept) {
    // At the first index it could have.
    if (!Before<true, kLargest, Real>({bests[kept], first_index}, {values[kept], indices[kept]}))
      continue;
    offer(kept, {bests[kept], first_index + Find<Real, kRows>(x, kept, bests[kept])});
  }
}

// Inserts what may belong to the K lowest of each result.
template <class Real, bool kRows>
HWY_INLINE void PushLowest(std::int64_t count, Real* values, std::int64_t* indices,
                           const Piece<Real>& x, std::int64_t first_index) {
  using V = Word<Real>;
  const Words<Real> d;
  constexpr std::int64_t lanes = kLanes<Real>;
  const std::int64_t last = count - 1;
  // What a term must be below, or may equal where its index could be lower; NaN: anything enters.
  HWY_ALIGN Real limits[lanes];
  bool ties = false;
  const auto limit = [&](std::int64_t kept) {
    const std::int64_t at = kept * count + last;
    limits[kRows ? 0 : kept] =
        indices[at] < 0 ? std::numeric_limits<Real>::quiet_NaN() : values[at];
    ties |= indices[at] > first_index;
  };
  const auto candidates = [&](V v, V below) HWY_ATTR {
    return hn::Not(ties ? hn::Gt(v, below) : hn::Ge(v, below));
  };
  HWY_ALIGN Real terms[lanes];
  const auto insert = [&](std::int64_t kept, Real term, std::int64_t index) {
    InsertLowest<Real>({term, index}, count, values + kept * count, indices + kept * count);
  };
  if constexpr (kRows) {
    for (std::int64_t r = 0; r < x.rows; ++r) {
      ties = false;
      limit(r);
      for (std::int64_t c = 0; c < x.columns; c += lanes) {
        const V v = hn::LoadU(d, x.Row(r) + c);
        if (HWY_LIKELY(hn::AllFalse(d, candidates(v, hn::Set(d, limits[0]))))) continue;
        hn::Store(v, d, terms);
        for (std::int64_t k = 0; k < std::min(lanes, x.columns - c); ++k) {
          insert(r, terms[k], first_index + c + k);
        }
        limit(r);
      }
    }
  } else {
    std::fill(limits, limits + lanes, -kInfinity<Real>);
    for (std::int64_t kept = 0; kept < x.columns; ++kept) limit(kept);
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns));
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const V v = hn::LoadU(d, x.Row(r));
      if (HWY_LIKELY(hn::AllFalse(d, hn::And(valid, candidates(v, hn::Load(d, limits)))))) continue;
      hn::Store(v, d, terms);
      for (std::int64_t kept = 0; kept < x.columns; ++kept) {
        insert(kept, terms[kept], first_index + r);
        limit(kept);
      }
    }
  }
}

template <class Real, bool kRows, class Use>
HWY_INLINE void ForExtremumGroups(const FoldState<Real>& state, std::int64_t first,
                                  const TileValue<Real>& formula, const TileSpan& span,
                                  const Use& use) {
  const StateView<Real> view(state);
  Repeated<Real> repeated;
  for (std::int64_t d = 0; d < state.shape.dim; ++d) {
    ForGroups<Real, kRows>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                     std::int64_t columns) HWY_ATTR {
      const std::int64_t line = view.Line(first + (kRows ? r : c), d) * view.each;
      use(view.value + line, view.index + line, repeated.Read(formula, d, r, c, rows, columns),
          kRows ? span.column + c : span.row + r);
    });
  }
}

template <class Real, bool kRows, bool kLargest>
void PushExtrema(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
                 const TileSpan& span) {
  ForExtremumGroups<Real, kRows>(
      state, first, formula, span,
      [](Real* values, std::int64_t* indices, const Piece<Real>& x, std::int64_t first_index)
          HWY_ATTR { PushExtremum<Real, kRows, kLargest>(values, indices, x, first_index); });
}

template <class Real, bool kRows>
void PushKMin(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
              const TileSpan& span) {
  ForExtremumGroups<Real, kRows>(
      state, first, formula, span,
      [&](Real* values, std::int64_t* indices, const Piece<Real>& x, std::int64_t first_index)
          HWY_ATTR {
            PushLowest<Real, kRows>(state.shape.count, values, indices, x, first_index);
          });
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
