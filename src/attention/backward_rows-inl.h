// What the backward pass needs of each row before its pairs.
#if defined(LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "attention/backward_block-inl.h"
#include "attention/backward_finish.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/offsets-inl.h"
#include "attention/region.hpp"
#include "attention/scores-inl.h"
#include "attention/stage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// sum of a b, products and sums in double.
template <class Real>
HWY_INLINE double InnerProduct(const Real* HWY_RESTRICT a, const Real* HWY_RESTRICT b,
                               std::int64_t count) {
  constexpr int kSums = 8;
  double sums[kSums] = {};
  std::int64_t c = 0;
  for (; c + kSums <= count; c += kSums) {
    for (int s = 0; s < kSums; ++s) {
      sums[s] += static_cast<double>(a[c + s]) * static_cast<double>(b[c + s]);
    }
  }
  for (; c < count; ++c) sums[0] += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// One over the number of +inf scores of rows whose lse is +inf, a sink of +inf among them.
template <class Real>
HWY_NOINLINE void ShareInfinities(const RowsTask<Real>& task, const CellMemory<Real>& memory) {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  const Problem& problem = task.problem;
  const std::int64_t kv_head = task.head / problem.group;
  const std::int64_t first = (task.batch * problem.heads + task.head) * problem.queries;
  for (std::int64_t begin = task.rows.begin; begin < task.rows.end; begin += kTileQueries) {
    const Extent queries{begin, std::min(begin + kTileQueries, task.rows.end)};
    Real* const share = task.share + first + begin;
    if (std::all_of(share, share + queries.Size(), [](Real x) { return x == 0; })) continue;
    StageQueries(problem, task.batch, task.head, queries, memory);
    std::int64_t counts[kTileQueries] = {};
    const KeyRange keys = KeysOf(problem, task.batch, queries.begin, queries.end);
    for (std::int64_t key = keys.begin; key < keys.end; key += kKeys) {
      const TilePlace place{task.batch,
                            task.head,
                            begin,
                            key,
                            static_cast<int>(queries.Size()),
                            static_cast<int>(std::min<std::int64_t>(kKeys, keys.end - key))};
      const TileOffsets offsets = OffsetsOf(problem, place, memory.offsets);
      if (offsets.coverage == Coverage::none) continue;
      StageKeys(problem, task.batch, kv_head, key, place.keys, false, memory);
      const SpecialPairs<Real> special(problem, task.gradients.grad_out, memory, place, 0);
      ScoreTile(problem, place, 0, special, memory);
      if (offsets.written) AddOffsets(memory.offsets, place.keys, memory.scores);
      for (int at = 0; at < place.keys * kTileQueries; ++at) {
        counts[at % kTileQueries] += memory.scores[at] == kInfinity ? 1 : 0;
      }
    }
    const bool has_sink =
        problem.sinks && ElementOf(problem.sinks, {task.head}) == static_cast<double>(kInfinity);
    for (std::int64_t i = 0; i < queries.Size(); ++i) {
      if (share[i] == 0) continue;
      share[i] = 1 / static_cast<Real>(std::max<std::int64_t>(counts[i] + has_sink, 1));
    }
  }
}

template <class Real>
void PrepareRows(const RowsTask<Real>& task) {
  const Problem& problem = task.problem;
  const CellMemory<Real> memory(problem, nullptr, task.score_elements, Carve(task.memory));
  const View<3>& grad_lse = task.gradients.grad_lse;
  const std::int64_t first = (task.batch * problem.heads + task.head) * problem.queries;
  bool any = false;
  for (std::int64_t i = task.rows.begin; i < task.rows.end; ++i) {
    ReadRow(task.gradients.grad_out, task.batch, task.head, i, 0, problem.value_dim, memory.row);
    ReadRow(problem.out, task.batch, task.head, i, 0, problem.value_dim, memory.other_row);
    double delta = InnerProduct(memory.row, memory.other_row, problem.value_dim);
    if (grad_lse) delta -= ElementOf(grad_lse, {task.batch, task.head, i});
    task.delta[first + i] = static_cast<Real>(delta);
    const bool is_infinite = ElementOf(problem.lse, {task.batch, task.head, i}) ==
                             std::numeric_limits<double>::infinity();
    task.share[first + i] = is_infinite ? 1 : 0;
    any |= is_infinite;
  }
  if (any) ShareInfinities(task, memory);
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
