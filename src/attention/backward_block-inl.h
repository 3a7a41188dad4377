// A block of queries of one head, and a tile's keys: staged operands, and from them the scores.
#if defined(LOGSUM_ATTENTION_BACKWARD_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_BLOCK_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_BLOCK_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/backward_memory-inl.h"
#include "attention/backward_special-inl.h"
#include "attention/backward_tile-inl.h"
#include "attention/pairs-inl.h"
#include "attention/score.hpp"
#include "attention/scores-inl.h"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"
#include "core/transpose-inl.h"
#include "gemm/product_bf16.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Panels of kTileQueries staged rows as columns.
template <class Real>
HWY_INLINE void ColumnsOf(const Real* rows, std::int64_t stride, std::int64_t panels,
                          std::int64_t dim, Real* columns) {
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    logsum::HWY_NAMESPACE::Transpose(
        rows + panel * kTileQueries * stride, stride, std::int64_t{kTileQueries}, dim,
        columns + panel * kTileQueries * dim, std::int64_t{kTileQueries});
  }
}

// The same as pairs, of rows as they are times a power of two.
template <class Real>
HWY_INLINE void PairColumnsOf(const View<4>& array, std::int64_t batch, std::int64_t head,
                              Extent rows, std::int64_t dim, float power, Real* columns) {
  for (std::int64_t row = rows.begin; row < rows.end; row += kTileQueries) {
    const auto count = static_cast<int>(std::min<std::int64_t>(kTileQueries, rows.end - row));
    CopyPairColumns(array, batch, head, row, count, dim, power,
                    columns + (row - rows.begin) * gemm::Bf16Pairs(dim));
  }
}

template <class Real>
HWY_INLINE void MarkSpecial(const SpecialRows& special, std::uint8_t mark, std::uint8_t* marks) {
  for (int n = 0; n < special.count; ++n) marks[special.rows[n]] |= mark;
}

constexpr std::int64_t WholePanels(std::int64_t queries) {
  return (queries + kTileQueries - 1) / kTileQueries;
}

// q of queries [begin, end), scaled. Clears the marks of special lanes.
template <class Real>
HWY_INLINE void StageQueries(const Problem& problem, std::int64_t batch, std::int64_t head,
                             Extent queries, const CellMemory<Real>& memory) {
  const std::int64_t panels = WholePanels(queries.Size());
  std::fill_n(memory.special_lanes, panels * kTileQueries, std::uint8_t{0});
  SpecialRows special{0, memory.special_rows};
  StageRows(problem.q, batch, head, queries.begin, static_cast<int>(queries.Size()),
            static_cast<int>(panels * kTileQueries), problem.dim, static_cast<Real>(problem.scale),
            memory.q_rows, memory.stride, special);
  MarkSpecial<Real>(special, kSpecialQ, memory.special_lanes);
  if (memory.pairs) {
    PairColumnsOf(problem.q, batch, head, queries, problem.dim, memory.scale.power,
                  memory.q_columns);
  } else {
    ColumnsOf(memory.q_rows, memory.stride, panels, problem.dim, memory.q_columns);
  }
}

// dO, lse, delta and share of the same. A row without a score has an lse of 0 here, and so a p of 0
// from scores of -inf. Lanes beyond the last query have no pair.
template <class Real>
HWY_INLINE void StageGradients(const Problem& problem, const View<4>& grad_out, std::int64_t batch,
                               std::int64_t head, Extent queries, const Real* delta,
                               const Real* share, const CellMemory<Real>& memory) {
  const std::int64_t count = queries.Size(), panels = WholePanels(count);
  SpecialRows special{0, memory.special_rows};
  StageRows(grad_out, batch, head, queries.begin, static_cast<int>(count),
            static_cast<int>(panels * kTileQueries), problem.value_dim, Real{1}, memory.grad_rows,
            memory.value_stride, special);
  MarkSpecial<Real>(special, kSpecialGrad, memory.special_lanes);
  if (memory.pairs) {
    PairColumnsOf(grad_out, batch, head, queries, problem.value_dim, 1, memory.grad_columns);
  } else {
    ColumnsOf(memory.grad_rows, memory.value_stride, panels, problem.value_dim,
              memory.grad_columns);
  }
  const std::int64_t row = (batch * problem.heads + head) * problem.queries + queries.begin;
  const Real* const lse = static_cast<const Real*>(problem.lse.data) +
                          batch * problem.lse.strides[0] + head * problem.lse.strides[1] +
                          queries.begin * problem.lse.strides[2];
  for (std::int64_t i = 0; i < panels * kTileQueries; ++i) {
    const Real total = i < count ? lse[i * problem.lse.strides[2]] : 0;
    memory.lse[i] = total == -std::numeric_limits<Real>::infinity() ? 0 : total;
    memory.delta[i] = i < count ? delta[row + i] : 0;
    memory.share[i] = i < count ? share[row + i] : 1;
    if (!std::isfinite(memory.lse[i]) || !std::isfinite(memory.delta[i])) {
      memory.special_lanes[i] |= kSpecialRow;
    }
  }
}

// k, and v if there is need, of keys [begin, begin + keys).
template <class Real>
HWY_INLINE void StageKeys(const Problem& problem, std::int64_t batch, std::int64_t kv_head,
                          std::int64_t begin, int keys, bool with_values,
                          const CellMemory<Real>& memory) {
  std::fill_n(memory.special_keys, kKeys, std::uint8_t{0});
  SpecialRows special{0, memory.special_rows};
  StageRows(problem.k, batch, kv_head, begin, keys, keys, problem.dim, Real{1}, memory.k_rows,
            memory.stride, special);
  MarkSpecial<Real>(special, kSpecialK, memory.special_keys);
  if (memory.pairs) {
    StagePairs(problem.k, batch, kv_head, begin, keys, problem.dim, memory.k_left,
               memory.left_stride, special);
  }
  if (!with_values) return;
  if (memory.pairs) {
    StagePairs(problem.v, batch, kv_head, begin, keys, problem.value_dim, memory.v_left,
               memory.value_left_stride, special);
  } else {
    StageRows(problem.v, batch, kv_head, begin, keys, keys, problem.value_dim, Real{1},
              memory.v_left, memory.value_left_stride, special);
  }
  MarkSpecial<Real>(special, kSpecialV, memory.special_keys);
}

// Scores of a tile before offsets; `before` has what they were before the score formula, if there
// is a cap or a formula. `lane` is the tile's first query in the block.
template <class Real>
HWY_INLINE void ScoreTile(const Problem& problem, const TilePlace& place, std::int64_t lane,
                          const SpecialPairs<Real>& special, const CellMemory<Real>& memory) {
  MultiplyColumns(memory.pairs, memory.k_left, memory.left_stride, place.keys, memory.q_columns,
                  lane, problem.dim, memory.scale.rest, memory.scores);
  if (special.any()) special.Scores();
  if (problem.softcap != 0) {
    CapScores(static_cast<Real>(problem.softcap), place.keys, memory.scores);
  }
  if (problem.softcap != 0 || problem.score != nullptr) {
    std::copy_n(memory.scores, place.keys * kTileQueries, memory.before);
  }
  if (problem.score != nullptr) {
    EvaluateScore(problem, place, memory.scores, memory.score_scratch);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
