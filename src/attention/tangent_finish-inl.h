// From the sums of a panel's rows to their results.
#if defined(LOGSUM_ATTENTION_TANGENT_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_FINISH_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_FINISH_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_FINISH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "attention/backward_kernels.hpp"
#include "attention/backward_write-inl.h"
#include "attention/element.hpp"
#include "attention/panel.hpp"
#include "attention/problem.hpp"
#include "attention/sink.hpp"
#include "attention/stage-inl.h"
#include "attention/tangent_kernels.hpp"
#include "attention/tangent_memory-inl.h"
#include "attention/tangent_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// A row without a score has an lse of 0 here, and so a p of 0 from scores of -inf.
template <class Real>
HWY_INLINE void ReadLse(const Problem& problem, const PanelPlace& place, TangentRows<Real>& rows) {
  rows.Clear(place.queries);
  for (int i = 0; i < place.queries; ++i) {
    const double lse = ElementOf(problem.lse, {place.batch, place.head, place.query + i});
    const bool is_empty = lse == -std::numeric_limits<double>::infinity();
    rows.lse[i] = is_empty ? 0 : static_cast<Real>(lse);
  }
}

// Of panel p of a block. sums_out: whether memory.out has the sums of p (v - m).
template <class Real>
void FinishPanel(const TangentTask<Real>& task, const PanelPlace& place, std::int64_t p,
                 bool sums_out, const TangentBlockMemory<Real>& memory) {
  const Problem& problem = task.problem;
  const ResultTangents& results = task.results;
  const TangentRows<Real>& rows = memory.rows[p];
  const double sink = problem.sinks ? ElementOf(problem.sinks, {place.head})
                                    : -std::numeric_limits<double>::infinity();
  const double sink_move = task.tangents.sinks ? ElementOf(task.tangents.sinks, {place.head}) : 0;
  const Target to = results.out ? TargetOf(results.out, place.batch, place.head) : Target{};
  for (int i = 0; i < place.queries; ++i) {
    const std::int64_t query = place.query + i;
    const double c = static_cast<double>(rows.reference[i]);
    double total = static_cast<double>(rows.p_high[i]) + static_cast<double>(rows.p_low[i]);
    double moves = static_cast<double>(rows.move_high[i]) + static_cast<double>(rows.move_low[i]);
    const double lse = ElementOf(problem.lse, {place.batch, place.head, query});
    const double p_sink = SinkProbability(sink, lse, 1);
    const double move_sink = p_sink == 0 ? 0 : p_sink * (sink_move - c);
    total += p_sink;
    moves += move_sink;
    const double inverse = total == 0 ? 0 : 1 / total;
    const double mean = total == 0 ? 0 : moves * inverse;  // lse. - c
    if (results.lse) {
      SetElement(results.lse, {place.batch, place.head, query}, total == 0 ? 0 : c + mean);
    }
    if (!results.out) continue;
    if (mean != 0 && !sums_out) {
      ReadRow(problem.out, place.batch, place.head, query, 0, problem.value_dim, memory.row);
    }
    for (std::int64_t x = 0; x < problem.value_dim; ++x) {
      double move = memory.out_moves.At(p, i, x) * inverse;
      const auto m = static_cast<double>(memory.common[x]);
      if (mean != 0) {  // nor does an infinite value matter
        const double relative = sums_out ? (memory.out.At(p, i, x) - m * p_sink) * inverse
                                         : static_cast<double>(memory.row[x]) - m;
        move -= mean * relative;
      }
      if (m != 0) move -= m * move_sink * inverse;
      memory.row[x] = static_cast<Real>(move);
    }
    WriteRow(to, query, problem.value_dim, memory.row, false);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
