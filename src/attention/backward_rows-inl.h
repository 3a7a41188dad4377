// What the backward pass needs of each row before its pairs.
#if defined(LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/backward_block-inl.h"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/element.hpp"
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

// Beyond this size an lse has lost so many digits that p is normalised again: below, its rounding
// changes p by 2^-14 of itself (float32).
inline constexpr double kLargeLse = 1024;

// Of a panel's rows: how many scores are +inf, and the sum of e^(score - lse).
struct RowSums {
  std::int64_t infinities[kTileQueries] = {};
  double total[kTileQueries] = {};
};

template <class Real>
HWY_INLINE void AddToRows(int keys, const CellMemory<Real>& memory, RowSums& sums) {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  for (int at = 0; at < keys * kTileQueries; ++at) {
    sums.infinities[at % kTileQueries] += memory.scores[at] == kInfinity ? 1 : 0;
  }
  Weigh<false, false, Real>(keys, memory.lse, memory.share, nullptr, nullptr, memory.scores,
                            nullptr);
  for (int at = 0; at < keys * kTileQueries; ++at) {
    sums.total[at % kTileQueries] += static_cast<double>(memory.scores[at]);
  }
}

// The shares of rows that have 0.
template <class Real>
HWY_NOINLINE void FindShares(const RowsTask<Real>& task, const CellMemory<Real>& memory) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Problem& problem = task.problem;
  const std::int64_t kv_head = task.head / problem.group;
  const std::int64_t first = (task.batch * problem.heads + task.head) * problem.queries;
  const double sink = problem.sinks ? ElementOf(problem.sinks, {task.head}) : -kInfinity;
  for (std::int64_t begin = task.rows.begin; begin < task.rows.end; begin += kTileQueries) {
    const Extent queries{begin, std::min(begin + kTileQueries, task.rows.end)};
    Real* const share = task.share + first + begin;
    if (std::none_of(share, share + queries.Size(), [](Real x) { return x == 0; })) continue;
    StageQueries(problem, task.batch, task.head, queries, memory);
    for (std::int64_t i = 0; i < kTileQueries; ++i) {
      const double lse =
          i < queries.Size() ? ElementOf(problem.lse, {task.batch, task.head, begin + i}) : 0;
      memory.lse[i] = std::isfinite(lse) ? static_cast<Real>(lse) : 0;
      memory.share[i] = 1;
    }
    RowSums sums;
    const KeyRange keys = KeysOf(problem, task.batch, queries.begin, queries.end);
    for (std::int64_t key = keys.begin; key < keys.end; key += kKeys) {
      const auto count = static_cast<int>(std::min<std::int64_t>(kKeys, keys.end - key));
      const TilePlace place{task.batch, task.head, begin, key, static_cast<int>(queries.Size()),
                            count};
      const TileOffsets offsets = OffsetsOf(problem, place, memory.offsets);
      if (offsets.coverage == Coverage::none) continue;
      StageKeys(problem, task.batch, kv_head, key, count, false, memory);
      const SpecialPairs<Real> special(problem, task.gradients.grad_out, memory, place, 0);
      ScoreTile(problem, place, 0, special, memory);
      if (offsets.written) AddOffsets(memory.offsets, count, memory.scores);
      AddToRows(count, memory, sums);
    }
    for (std::int64_t i = 0; i < queries.Size(); ++i) {
      if (share[i] != 0) continue;
      const double lse = ElementOf(problem.lse, {task.batch, task.head, begin + i});
      const double total = lse == kInfinity
                               ? static_cast<double>(sums.infinities[i] + (sink == kInfinity))
                               : sums.total[i] + std::exp(std::min(sink - lse, 0.0));
      share[i] = total > 0 ? static_cast<Real>(1 / total) : 1;
    }
  }
}

template <class Real>
void PrepareRows(const RowsTask<Real>& task) {
  const Problem& problem = task.problem;
  // Pairs as cells have them: their scores are what shares are found for.
  const bool pairs = task.direction == nullptr && MultipliesPairs<Real>(problem);
  const CellMemory<Real> memory(problem, nullptr, task.score_elements, pairs, Carve(task.memory));
  const View<3>& grad_lse = task.gradients.grad_lse;
  const std::int64_t first = (task.batch * problem.heads + task.head) * problem.queries;
  bool any = false;
  for (std::int64_t i = task.rows.begin; i < task.rows.end; ++i) {
    ReadRow(task.gradients.grad_out, task.batch, task.head, i, 0, problem.value_dim, memory.row);
    ReadRow(problem.out, task.batch, task.head, i, 0, problem.value_dim, memory.other_row);
    double delta = InnerProduct(memory.row, memory.other_row, problem.value_dim);
    if (grad_lse) delta -= ElementOf(grad_lse, {task.batch, task.head, i});
    task.delta[first + i] = static_cast<Real>(delta);
    const double lse = ElementOf(problem.lse, {task.batch, task.head, i});
    const bool needs_share = lse > kLargeLse || (lse < -kLargeLse && std::isfinite(lse));
    task.share[first + i] = needs_share ? 0 : 1;
    any |= needs_share;
  }
  if (any) FindShares(task, memory);
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
