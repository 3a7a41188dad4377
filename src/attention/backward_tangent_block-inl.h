// What a cell has beside its memory where gradients are differentiated: tangents of the operands of
// a block of queries and of a tile's keys, and from them the tangents of scores.
#if defined(LOGSUM_ATTENTION_BACKWARD_TANGENT_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_TANGENT_BLOCK_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_TANGENT_BLOCK_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_TANGENT_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "attention/backward_block-inl.h"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_rows-inl.h"
#include "attention/backward_special-inl.h"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// The tangents of what CellMemory has by the same name. Keys and values are those of one tile.
template <class Real>
struct TangentMemory {
  Real *q_rows, *q_columns, *lse, *delta;
  Real *k_rows, *v_rows;
  Real *scores, *grads, *before;

  TangentMemory(const Problem& problem, const CellMemory<Real>& memory, Carve carve) {
    const auto take = [&](std::int64_t count) { return carve.Take<Real>(count); };
    q_rows = take(memory.block_queries * memory.stride);
    q_columns = take(memory.block_queries * problem.dim);
    lse = take(memory.block_queries);
    delta = take(memory.block_queries);
    k_rows = take(kKeys * memory.stride);
    v_rows = take(kKeys * memory.value_stride);
    constexpr std::int64_t kTile = std::int64_t{kKeys} * kTileQueries;
    scores = take(kTile);
    grads = take(kTile);
    before = take(kTile);
    bytes = carve.bytes();
  }

  std::int64_t bytes = 0;
};

// Those of queries [begin, end), after StageQueries and StageGradients.
template <class Real>
HWY_INLINE void StageQueryTangents(const Problem& problem, const Direction<Real>& direction,
                                   std::int64_t batch, std::int64_t head, Extent queries,
                                   const CellMemory<Real>& memory,
                                   const TangentMemory<Real>& tangents) {
  const std::int64_t count = queries.Size(), panels = WholePanels(count);
  if (direction.tangents.q) {
    SpecialRows special{0, memory.special_rows};
    StageRows(direction.tangents.q, batch, head, queries.begin, static_cast<int>(count),
              static_cast<int>(panels * kTileQueries), problem.dim,
              static_cast<Real>(problem.scale), tangents.q_rows, memory.stride, special);
    MarkSpecial<Real>(special, kSpecialQ, memory.special_lanes);
    ColumnsOf(tangents.q_rows, memory.stride, panels, problem.dim, tangents.q_columns);
  }
  const View<3>& lse = direction.results.lse;
  const Real* const of_lse = static_cast<const Real*>(lse.data) + batch * lse.strides[0] +
                             head * lse.strides[1] + queries.begin * lse.strides[2];
  const std::int64_t row = (batch * problem.heads + head) * problem.queries + queries.begin;
  for (std::int64_t i = 0; i < panels * kTileQueries; ++i) {
    tangents.lse[i] = i < count ? of_lse[i * lse.strides[2]] : 0;
    tangents.delta[i] = i < count ? direction.delta[row + i] : 0;
    if (!std::isfinite(tangents.lse[i]) || !std::isfinite(tangents.delta[i])) {
      memory.special_lanes[i] |= kSpecialRow;
    }
  }
}

// Those of keys [begin, begin + keys), after StageKeys.
template <class Real>
HWY_INLINE void StageKeyTangents(const Problem& problem, const Tangents& moves, std::int64_t batch,
                                 std::int64_t kv_head, std::int64_t begin, int keys,
                                 bool with_values, const CellMemory<Real>& memory,
                                 const TangentMemory<Real>& tangents) {
  SpecialRows special{0, memory.special_rows};
  if (moves.k) {
    StageRows(moves.k, batch, kv_head, begin, keys, keys, problem.dim, Real{1}, tangents.k_rows,
              memory.stride, special);
    MarkSpecial<Real>(special, kSpecialK, memory.special_keys);
  }
  if (moves.v && with_values) {
    StageRows(moves.v, batch, kv_head, begin, keys, keys, problem.value_dim, Real{1},
              tangents.v_rows, memory.value_stride, special);
    MarkSpecial<Real>(special, kSpecialV, memory.special_keys);
  }
}

// PrepareRows, and the tangents of delta: sum of grad_out out's tangent.
template <class Real>
void PrepareTangentRows(const RowsTask<Real>& task) {
  PrepareRows(task);
  const Problem& problem = task.problem;
  const CellMemory<Real> memory(problem, nullptr, task.score_elements, false, Carve(task.memory));
  const std::int64_t first = (task.batch * problem.heads + task.head) * problem.queries;
  for (std::int64_t i = task.rows.begin; i < task.rows.end; ++i) {
    ReadRow(task.gradients.grad_out, task.batch, task.head, i, 0, problem.value_dim, memory.row);
    ReadRow(task.direction->results.out, task.batch, task.head, i, 0, problem.value_dim,
            memory.other_row);
    task.direction->delta[first + i] =
        static_cast<Real>(InnerProduct(memory.row, memory.other_row, problem.value_dim));
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
