// Sums: chains of at most 16 terms a lane, then totals in double, or in two doubles. Terms may be
// products, and several sums differ in a factor of the kept index alone, which a group's sum is
// multiplied by.
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

#include <cmath>
#include <span>

#include "core/compensated.hpp"
#include "hwy/highway.h"
#include "reduce/fold_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

// Where the sums of terms go: totals of the tile's first kept index, each multiplied by `scale`,
// which depends on the kept index alone (1 where its data is null). Whole vectors of it are read.
template <class Real>
struct SumTarget {
  Totals<Real> totals;
  std::int64_t component_step, dim;
  TileValue<Real> scale;
};

template <class Real>
SumTarget<Real> TargetOf(const FoldState<Real>& state, std::int64_t first,
                         const TileValue<Real>& scale) {
  const StateView<Real> view(state);
  return {view.total + view.Line(first, 0), view.component_step, state.shape.dim, scale};
}

// A component of a target and a group of pairs, as ForGroups cuts them.
struct SumGroup {
  std::int64_t component, row, column, rows, columns;
};

// A result of a group again, term by term: sums of large floats may overflow on the way, and what
// is not finite must not reach masked terms.
template <class Real, bool kRows>
double SumInDouble(const SumTerms<Real>& terms, const TileValue<Real>& scale, const SumGroup& group,
                   std::int64_t kept) {
  CompensatedSum sum;
  const std::int64_t depth = kRows ? group.columns : group.rows;
  for (std::int64_t k = 0; k < depth; ++k) {
    const std::int64_t r = group.row + (kRows ? kept : k), c = group.column + (kRows ? k : kept);
    const auto at = [&](const TileValue<Real>& value) -> double {
      return value
          .data[group.component * value.component + r * value.row + (value.per_column ? c : 0)];
    };
    if (terms.mask.data != nullptr && at(terms.mask) == 0) continue;
    double term = at(terms.value);
    for (const TileValue<Real>* factor : {&terms.times, &terms.row, &scale}) {
      if (factor->data != nullptr) term *= at(*factor);
    }
    sum.Add(term);
  }
  return sum.Value();
}

// The scales of a group's results.
template <class Real, bool kRows>
HWY_INLINE Word<Real> ReadScales(const TileValue<Real>& scale, const SumGroup& group) {
  const Words<Real> d;
  const Real* const at = scale.data + group.component * scale.component +
                         (kRows              ? group.row * scale.row
                          : scale.per_column ? group.column
                                             : 0);
  const bool is_one = kRows ? scale.row == 0 : !scale.per_column;
  return is_one ? hn::Set(d, *at) : hn::LoadU(d, at);
}

template <class Real, bool kRows>
HWY_INLINE Word<Real> Scaled(Word<Real> sums, const TileValue<Real>& scale, const SumGroup& group) {
  if (scale.data == nullptr) return sums;
  const Words<Real> d;
  const std::int64_t results = kRows ? group.rows : group.columns;
  return hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(results)),
                            hn::Mul(sums, ReadScales<Real, kRows>(scale, group)));
}

// The sums of a group again, with masks that are applied: 0 where all terms are masked.
template <class Real, bool kRows>
HWY_NOINLINE Word<Real> SumMasked(const SumTerms<Real>& terms, const TileValue<Real>& scale,
                                  const SumGroup& group) {
  using V = Word<Real>;
  const Words<Real> d;
  constexpr std::int64_t lanes = kLanes<Real>;
  const std::int64_t padded = (group.columns + lanes - 1) / lanes * lanes;
  HWY_ALIGN Real values[Repeated<Real>::kSize];
  const auto sum_of = [&](const auto& make) HWY_ATTR {
    for (std::int64_t r = 0; r < group.rows; ++r) {
      for (std::int64_t c = 0; c < padded; c += lanes) {
        const auto at = [&](const TileValue<Real>& value) HWY_ATTR {
          const Real* const from =
              value.data + group.component * value.component + (group.row + r) * value.row;
          return value.per_column ? hn::LoadU(d, from + group.column + c) : hn::Set(d, *from);
        };
        hn::Store(make(at), d, values + r * padded + c);
      }
    }
    return CombineGroup<Real, kRows>({values, padded, group.rows, group.columns}, Real{0}, Sum());
  };
  const V sums = sum_of([&](const auto& at) HWY_ATTR {
    V term = at(terms.value);
    for (const TileValue<Real>* factor : {&terms.times, &terms.row}) {
      if (factor->data != nullptr) term = hn::Mul(term, at(*factor));
    }
    return hn::IfThenZeroElse(hn::Eq(at(terms.mask), hn::Zero(d)), term);
  });
  const V masks = sum_of([&](const auto& at) HWY_ATTR { return hn::Abs(at(terms.mask)); });
  return hn::IfThenZeroElse(hn::Eq(masks, hn::Zero(d)), Scaled<Real, kRows>(sums, scale, group));
}

template <class Real>
HWY_INLINE bool AreFinite(Word<Real> v) {
  const Words<Real> d;
  return hn::AllTrue(d, hn::Lt(hn::Abs(v), hn::Set(d, kInfinity<Real>)));
}

// Adds a group whose sums are not finite.
template <class Real, bool kRows>
HWY_NOINLINE void AddAgain(const Totals<Real>& total, Word<Real> sums, const SumTerms<Real>& terms,
                           const TileValue<Real>& scale, const SumGroup& group) {
  if (terms.mask.data != nullptr) sums = SumMasked<Real, kRows>(terms, scale, group);
  const std::int64_t results = kRows ? group.rows : group.columns;
  if (AreFinite<Real>(sums)) return AddResults(total, sums, results);
  HWY_ALIGN Real each[kLanes<Real>];
  hn::Store(sums, Words<Real>(), each);
  for (std::int64_t k = 0; k < results; ++k) {
    AddToTotal(total + k,
               std::isfinite(each[k]) ? each[k] : SumInDouble<Real, kRows>(terms, scale, group, k));
  }
}

// Adds a group's sums to the totals of its results.
template <class Real, bool kRows>
HWY_INLINE void AddGroup(const Totals<Real>& total, Word<Real> sums, const SumTerms<Real>& terms,
                         const TileValue<Real>& scale, const SumGroup& group) {
  sums = Scaled<Real, kRows>(sums, scale, group);
  if (HWY_LIKELY(AreFinite<Real>(sums))) {
    AddResults(total, sums, kRows ? group.rows : group.columns);
  } else {
    AddAgain<Real, kRows>(total, sums, terms, scale, group);
  }
}

// The sums of a group's columns, of x y row, or x row.
template <class Real, bool kTimes>
HWY_INLINE Word<Real> SumColumns(const Piece<Real>& x, const Piece<Real>& y, const Real* row) {
  using V = Word<Real>;
  const Words<Real> d;
  V sum[2] = {hn::Zero(d), hn::Zero(d)};
  const auto add = [&](std::int64_t r, V& to) HWY_ATTR {
    const V term = hn::LoadU(d, x.Row(r)), times = hn::Set(d, row[r]);
    if constexpr (kTimes) {
      to = hn::MulAdd(hn::Mul(term, times), hn::LoadU(d, y.Row(r)), to);
    } else {
      to = hn::MulAdd(term, times, to);
    }
  };
  std::int64_t r = 0;
  for (; r + 2 <= x.rows; r += 2) {
    add(r, sum[0]);
    add(r + 1, sum[1]);
  }
  if (r < x.rows) add(r, sum[0]);
  const auto valid = hn::FirstN(d, static_cast<std::size_t>(x.columns));
  return hn::IfThenElseZero(valid, hn::Add(sum[0], sum[1]));
}

// The sums of a group: of x, x y, x row or x y row; null of what there is not.
template <class Real, bool kRows>
HWY_INLINE Word<Real> SumGroupOf(const Piece<Real>& x, const Piece<Real>& y, const Real* row) {
  if constexpr (!kRows) {
    if (row != nullptr) {
      return y.data != nullptr ? SumColumns<Real, true>(x, y, row)
                               : SumColumns<Real, false>(x, y, row);
    }
  }
  return y.data != nullptr ? SumProducts<Real, kRows>(x, y)
                           : CombineGroup<Real, kRows>(x, Real{0}, Sum());
}

// use(target, sums, group) for the sums of all groups and each component of a target: terms of
// dimension 1 are those of all its components.
template <class Real, bool kRows, class Use>
HWY_INLINE void ForSums(std::span<const SumTarget<Real>> targets, const SumTerms<Real>& terms,
                        const TileSpan& span, const Use& use) {
  Repeated<Real> values, times;
  for (std::int64_t component = 0; component < terms.dim; ++component) {
    ForGroups<Real, kRows>(span, [&](std::int64_t r, std::int64_t c, std::int64_t rows,
                                     std::int64_t columns) HWY_ATTR {
      const Piece<Real> x = values.Read(terms.value, component, r, c, rows, columns);
      Piece<Real> y;
      if (terms.times.data != nullptr) {
        y = times.Read(terms.times, component, r, c, rows, columns);
      }
      const Real* const row = terms.row.data == nullptr
                                  ? nullptr
                                  : terms.row.data + component * terms.row.component + r;
      const auto sums = SumGroupOf<Real, kRows>(x, y, row);
      for (const SumTarget<Real>& target : targets) {
        const std::int64_t end = terms.dim == 1 ? target.dim : component + 1;
        for (std::int64_t k = component; k < end; ++k) use(target, sums, {k, r, c, rows, columns});
      }
    });
  }
}

template <class Real, bool kRows>
void PushSumsOf(std::span<const SumTarget<Real>> targets, const SumTerms<Real>& terms,
                const TileSpan& span) {
  ForSums<Real, kRows>(
      targets, terms, span,
      [&](const SumTarget<Real>& target, Word<Real> sums, const SumGroup& group) HWY_ATTR {
        const std::int64_t line =
            group.component * target.component_step + (kRows ? group.row : group.column);
        AddGroup<Real, kRows>(target.totals + line, sums, terms, target.scale, group);
      });
}

// Over both axes: the results of a tile's rows, added up.
template <class Real>
void PushSumsOfAll(std::span<const SumTarget<Real>> targets, const SumTerms<Real>& terms,
                   const TileSpan& span) {
  ForSums<Real, true>(
      targets, terms, span,
      [&](const SumTarget<Real>& target, Word<Real> sums, const SumGroup& group) HWY_ATTR {
        HWY_ALIGN double high[kLanes<Real>] = {}, low[kLanes<Real>] = {};
        AddGroup<Real, true>({high, low}, sums, terms, target.scale, group);
        const Totals<Real> all = target.totals + group.component * target.component_step;
        for (std::int64_t k = 0; k < group.rows; ++k) AddToTotal(all, high[k]);
        for (std::int64_t k = 0; k < group.rows; ++k) AddToTotal(all, low[k]);
      });
}

// Adds a tile's sums of the same terms to all targets, whose states keep the same.
template <class Real>
void PushSums(FormulaIndex kept, std::span<const SumTarget<Real>> targets,
              const SumTerms<Real>& terms, const TileSpan& span) {
  switch (kept) {
    case FormulaIndex::i:
      return PushSumsOf<Real, true>(targets, terms, span);
    case FormulaIndex::j:
      return PushSumsOf<Real, false>(targets, terms, span);
    case FormulaIndex::parameter:
      return PushSumsOfAll<Real>(targets, terms, span);
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
