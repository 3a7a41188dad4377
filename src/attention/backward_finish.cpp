#include "attention/backward_finish.hpp"

#include <algorithm>

#include "attention/element.hpp"
#include "attention/sink.hpp"
#include "core/compensated.hpp"
#include "core/parallel.hpp"

namespace logsum::attend {
template <class Real>
void FinishSinks(const Problem& problem, const Gradients& gradients, const Real* delta,
                 const Real* share, const Direction<Real>* direction, Context context) {
  ParallelFor(problem.heads, context.threads, [&](std::int64_t head) {
    const double sink = ElementOf(problem.sinks, {head});
    const bool moves = direction != nullptr && direction->tangents.sinks;
    const double sink_tangent = moves ? ElementOf(direction->tangents.sinks, {head}) : 0;
    CompensatedSum sum;
    for (std::int64_t batch = 0; batch < problem.batch; ++batch) {
      const std::int64_t first = (batch * problem.heads + head) * problem.queries;
      for (std::int64_t i = 0; i < problem.queries; ++i) {
        const double lse = ElementOf(problem.lse, {batch, head, i});
        const double p = SinkProbability(sink, lse, static_cast<double>(share[first + i]));
        if (p == 0) continue;
        const auto mean = static_cast<double>(delta[first + i]);
        if (direction == nullptr) {
          sum.Add(-p * mean);
        } else {
          const double moved = sink_tangent - ElementOf(direction->results.lse, {batch, head, i});
          sum.Add(-p * (moved * mean + static_cast<double>(direction->delta[first + i])));
        }
      }
    }
    SetElement(gradients.sinks, {head}, sum.Value());
  });
}

template <class Real>
void FinishBias(const Problem& problem, const Gradients& gradients, BiasSums kind,
                const Compensated<Real>& sums, Context context) {
  const View<4>& to = gradients.bias;
  const bool by_keys = kind == BiasSums::keys;
  const std::int64_t size = by_keys ? problem.keys : problem.queries;
  // Axes that the bias repeats are summed, the others walked.
  const bool sums_batch = to.strides[0] == 0, sums_head = to.strides[1] == 0;
  const bool sums_all = to.strides[by_keys ? 3 : 2] == 0;
  const std::int64_t batches = sums_batch ? 1 : problem.batch;
  const std::int64_t heads = sums_head ? 1 : problem.heads;
  constexpr std::int64_t kRun = 256;
  const std::int64_t runs = sums_all ? 1 : (size + kRun - 1) / kRun;
  ParallelFor(batches * heads * runs, context.threads, [&](std::int64_t task) {
    const std::int64_t batch = task / (heads * runs), head = task / runs % heads;
    const std::int64_t begin = sums_all ? 0 : task % runs * kRun;
    const std::int64_t end = sums_all ? 1 : std::min(begin + kRun, size);
    for (std::int64_t x = begin; x < end; ++x) {
      CompensatedSum sum;
      for (std::int64_t b = batch; b < (sums_batch ? problem.batch : batch + 1); ++b) {
        for (std::int64_t h = head; h < (sums_head ? problem.heads : head + 1); ++h) {
          const std::int64_t first = (b * problem.heads + h) * size;
          for (std::int64_t y = x; y < (sums_all ? size : x + 1); ++y) {
            sum.Add(static_cast<double>(sums.high[first + y]));
            sum.Add(static_cast<double>(sums.low[first + y]));
          }
        }
      }
      const std::int64_t query = by_keys ? 0 : x, key = by_keys ? x : 0;
      SetElement(to, {batch, head, query, key}, sum.Value());
    }
  });
}

void ClearPairs(const Problem& problem, const Gradients& gradients) {
  const auto& strides = gradients.bias.strides;
  const std::int64_t batches = strides[0] == 0 ? 1 : problem.batch;
  const std::int64_t heads = strides[1] == 0 ? 1 : problem.heads;
  for (std::int64_t at = 0; at < batches * heads * problem.queries * problem.keys; ++at) {
    const std::int64_t row = at / problem.keys, head = row / problem.queries;
    SetElement(gradients.bias,
               {head / heads, head % heads, row % problem.queries, at % problem.keys}, 0);
  }
}

template void FinishSinks(const Problem&, const Gradients&, const float*, const float*,
                          const Direction<float>*, Context);
template void FinishSinks(const Problem&, const Gradients&, const double*, const double*,
                          const Direction<double>*, Context);
template void FinishBias(const Problem&, const Gradients&, BiasSums, const Compensated<float>&,
                         Context);
template void FinishBias(const Problem&, const Gradients&, BiasSums, const Compensated<double>&,
                         Context);

}  // namespace logsum::attend
