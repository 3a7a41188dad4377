// Sums of vectors under the weights of all pairs of a tile, as a matrix product: weights are
// broadcast, the vectors' components lie in lanes, a few kept indices by two vectors of components
// stay in registers while the reduced index goes by.
//
// Error: chains of at most 32 terms, 8 chains plainly (32 in a mean of few rows), then totals in
// double or in two doubles.
#if defined(LOGSUM_REDUCE_WEIGHTED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_WEIGHTED_INL_H_
#undef LOGSUM_REDUCE_WEIGHTED_INL_H_
#else
#define LOGSUM_REDUCE_WEIGHTED_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/transpose-inl.h"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "reduce/fold_weight-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

using gemm::HWY_NAMESPACE::ForRowGroups;
using gemm::HWY_NAMESPACE::kManyRegisters;
using gemm::HWY_NAMESPACE::Unrolled;

inline constexpr std::int64_t kWeightedChain = 32;
// Terms whose chains meet before they reach the totals.
inline constexpr std::int64_t kWeightedDepth = 256;

// Weights of kept index k and reduced index n at data[k * kept + n * reduced].
template <class Real>
struct Weights {
  const Real* data;
  std::ptrdiff_t kept, reduced;
};

// kGroup kept indices by kWidth vectors of components. kDifference: U - V in place of V.
template <class Real, int kGroup, int kWidth, bool kDifference>
HWY_NOINLINE void WeightedGroup(const Weights<Real>& weights, std::int64_t depth,
                                const Real* HWY_RESTRICT vectors, const Real* HWY_RESTRICT kept,
                                std::ptrdiff_t stride, Real* HWY_RESTRICT sums) {
  const Words<Real> d;
  using V = Word<Real>;
  constexpr int kCount = kGroup * kWidth;
  constexpr std::ptrdiff_t lanes = kLanes<Real>;
  V own[kDifference ? kCount : 1], plain[kCount];
  if constexpr (kDifference) {
    Unrolled<kCount>([&](auto i) HWY_ATTR {
      own[i] = hn::LoadU(d, kept + (i / kWidth) * stride + (i % kWidth) * lanes);
    });
  }
  const Real* weight = weights.data;
  for (std::int64_t from = 0; from < depth; from += kWeightedChain) {
    V sum[kCount];
    Unrolled<kCount>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
    const std::int64_t end = std::min(depth, from + kWeightedChain);
    for (std::int64_t n = from; n < end; ++n, weight += weights.reduced, vectors += stride) {
      V vector[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { vector[v] = hn::LoadU(d, vectors + v * lanes); });
      Unrolled<kGroup>([&](auto r) HWY_ATTR {
        const V w = hn::Set(d, weight[r * weights.kept]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          constexpr int i = r * kWidth + v;
          if constexpr (kDifference) {
            sum[i] = hn::MulAdd(w, hn::Sub(own[i], vector[v]), sum[i]);
          } else {
            sum[i] = hn::MulAdd(w, vector[v], sum[i]);
          }
        });
      });
    }
    if (from == 0) {
      Unrolled<kCount>([&](auto i) HWY_ATTR { plain[i] = sum[i]; });
    } else {
      Unrolled<kCount>([&](auto i) HWY_ATTR { plain[i] = hn::Add(plain[i], sum[i]); });
    }
  }
  Unrolled<kCount>([&](auto i) HWY_ATTR { hn::Store(plain[i], d, sums + i * lanes); });
}

// Differences keep the vectors of kept indices in registers, too.
template <bool kDifference>
inline constexpr int kWeightedRows = kManyRegisters ? (kDifference ? 4 : 8)
                                     : kDifference  ? 2
                                                    : 4;

// Calls use(kept, component, sum) for the sums of `count` kept indices, a vector of components
// each.
template <class Real, bool kDifference, class Use>
HWY_INLINE void ForWeightedSums(const Weights<Real>& weights, std::int64_t count,
                                std::int64_t depth, const Real* vectors, const Real* kept,
                                std::ptrdiff_t stride, std::int64_t dim, const Use& use) {
  const Words<Real> d;
  constexpr std::int64_t lanes = kLanes<Real>;
  constexpr int kRows = kWeightedRows<kDifference>;
  HWY_ALIGN Real sums[kRows * 2 * lanes];
  for (std::int64_t c = 0; c < dim; c += 2 * lanes) {
    const int width = dim - c > lanes ? 2 : 1;
    ForRowGroups<kRows>(
        static_cast<int>(count), width, 0, [&](auto group, auto w, int row) HWY_ATTR {
          WeightedGroup<Real, group, w, kDifference>(
              {weights.data + row * weights.kept, weights.kept, weights.reduced}, depth,
              vectors + c, kDifference ? kept + row * stride + c : nullptr, stride, sums);
          for (int i = 0; i < group * w; ++i) {
            use(row + i / w, c + i % w * lanes, hn::Load(d, sums + i * lanes));
          }
        });
  }
}

template <class Real>
HWY_INLINE bool AllFinite(Word<Real> v) {
  const Words<Real> d;
  return hn::AllTrue(d, hn::Lt(hn::Abs(v), hn::Set(d, kInfinity<Real>)));
}

// A vector of components of one kept index in double, term(n, component) by term.
template <class Real, class Term>
HWY_NOINLINE void AddComponentsInDouble(const Totals<Real>& totals, std::int64_t component,
                                        std::int64_t dim, std::int64_t depth, const Term& term) {
  const std::int64_t end = std::min(dim, component + kLanes<Real>);
  for (std::int64_t at = component; at < end; ++at) {
    CompensatedSum sum;
    for (std::int64_t n = 0; n < depth; ++n) sum.Add(term(n, at));
    AddToTotal(totals + at, sum.Value());
  }
}

template <class Real, bool kRows, bool kDifference>
void PushWeightedSum(const FoldState<Real>& state, std::int64_t first,
                     const WeightedTile<Real>& tile, const TileSpan& span) {
  const Words<Real> d;
  const StateView<Real> view(state);
  const auto factor = hn::Set(d, tile.factor);
  const std::int64_t count = kRows ? span.rows : span.columns;
  const std::int64_t reduced = kRows ? span.columns : span.rows;
  const std::ptrdiff_t column_step = tile.weight.per_column ? 1 : 0, row_step = tile.weight.row;
  const Weights<Real> all{tile.weight.data, kRows ? row_step : column_step,
                          kRows ? column_step : row_step};
  for (std::int64_t from = 0; from < reduced; from += kWeightedDepth) {
    const std::int64_t depth = std::min(kWeightedDepth, reduced - from);
    const Weights<Real> weights{all.data + from * all.reduced, all.kept, all.reduced};
    const Real* const vectors = tile.vectors + from * tile.stride;
    ForWeightedSums<Real, kDifference>(
        weights, count, depth, vectors, tile.kept, tile.stride, state.shape.dim,
        [&](std::int64_t kept, std::int64_t component, Word<Real> sum) HWY_ATTR {
          const Totals<Real> totals = view.total + view.Line(first + kept, 0);
          sum = hn::Mul(sum, factor);
          if (HWY_LIKELY(AllFinite<Real>(sum))) return AddToTotals(totals + component, sum);
          AddComponentsInDouble(
              totals, component, state.shape.dim, depth,
              [&](std::int64_t n, std::int64_t at) -> double {
                const double w = weights.data[kept * weights.kept + n * weights.reduced];
                if (tile.keep && w == 0) return 0;
                const double v = vectors[n * tile.stride + at];
                return w * tile.factor * (kDifference ? tile.kept[kept * tile.stride + at] - v : v);
              });
        });
  }
}

template <class Real, bool kRows>
void PushWeightedMean(const FoldState<Real>& state, std::int64_t first,
                      const WeightedTile<Real>& tile, const TileSpan& span) {
  const StateView<Real> view(state);
  Repeated<Real> repeated;
  ShareBlock<Real> block;
  Push<Real> push;
  ForGroups<Real, kRows>(
      span, [&](std::int64_t r, std::int64_t c, std::int64_t rows, std::int64_t columns) HWY_ATTR {
        const std::int64_t line = first + (kRows ? r : c), reduced = kRows ? c : r;
        const std::int64_t count = kRows ? rows : columns, depth = kRows ? columns : rows;
        const Shares<Real> shares = block.template Get<kRows>(rows);
        const Piece<Real> x = repeated.Read(tile.weight, 0, r, c, rows, columns);
        PushExponentials<Real, kRows, true>(
            {view.max + line, view.reference + line, view.rest + line}, x, shares, push);
        for (std::int64_t k = 0; push.raised && k < count; ++k) {
          const double factor = push.factors[k];
          if (factor == 1) continue;
          const Totals<Real> totals = view.total + view.Line(line + k, 0);
          for (std::int64_t at = 0; at < state.shape.dim; ++at)
            ScaleTotals(totals + at, &factor, 1);
        }
        const Weights<Real> weights{shares.data, kRows ? shares.row : 1, kRows ? 1 : shares.row};
        const Real* const vectors = tile.vectors + reduced * tile.stride;
        ForWeightedSums<Real, false>(
            weights, count, depth, vectors, nullptr, tile.stride, state.shape.dim,
            [&](std::int64_t kept, std::int64_t component, Word<Real> sum) HWY_ATTR {
              const Totals<Real> totals = view.total + view.Line(line + kept, 0);
              const bool infinite = push.infinite >> kept & 1;
              if (HWY_LIKELY(!infinite && AllFinite<Real>(sum))) {
                return AddToTotals(totals + component, sum);
              }
              AddComponentsInDouble(
                  totals, component, state.shape.dim, depth, [&](std::int64_t n, std::int64_t at) {
                    const Real f = kRows ? x.At(kept, n) : x.At(n, kept);
                    return Product(f, view.reference[line + kept], vectors[n * tile.stride + at]);
                  });
            });
      });
}

// Adds a tile to a state whose shape is `weighted`: a sum of w V or w (U - V), or the mean of V
// under e^F. `first` as in PushTile.
template <class Real>
void PushWeighted(const FoldState<Real>& state, std::int64_t first, const WeightedTile<Real>& tile,
                  const TileSpan& span) {
  const bool rows = state.shape.kept == FormulaIndex::i;
  if (state.shape.fold == Fold::softmax_weight) {
    return rows ? PushWeightedMean<Real, true>(state, first, tile, span)
                : PushWeightedMean<Real, false>(state, first, tile, span);
  }
  if (tile.kept != nullptr) {
    return rows ? PushWeightedSum<Real, true, true>(state, first, tile, span)
                : PushWeightedSum<Real, false, true>(state, first, tile, span);
  }
  return rows ? PushWeightedSum<Real, true, false>(state, first, tile, span)
              : PushWeightedSum<Real, false, false>(state, first, tile, span);
}

// Brings `count` vectors, whose components are `component` elements apart, into rows of
// PackedStride(dim).
template <class Real>
void PackVectors(const Real* values, std::ptrdiff_t component, std::int64_t dim, std::int64_t count,
                 Real* packed) {
  const std::int64_t stride = PackedStride<Real>(dim);
  logsum::HWY_NAMESPACE::Transpose(values, component, dim, count, packed, stride);
  for (std::int64_t k = 0; k < count; ++k) {
    std::fill(packed + k * stride + dim, packed + (k + 1) * stride, Real{0});
  }
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
