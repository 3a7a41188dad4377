#include <string_view>

#include "core/errors.hpp"
#include "scan/arguments.hpp"
#include "scan/kernels.hpp"
#include "scan/run.hpp"

namespace logsum {
namespace {

void RunScores(const scan::ScoresJob& job, Semiring semiring, int threads) {
  using scan::LaneKernels;
  const bool is_max = semiring == Semiring::max;
  scan::ForEachGroup(
      job,
      scan::MakeGroups(scan::AllSequences(job.shape), job.shape.Lengths(), scan::Kernels().lanes),
      threads, &LaneKernels::scores_memory,
      [&](const LaneKernels& kernels, const scan::Group& group, double* memory, std::int64_t) {
        (is_max ? kernels.max_scores : kernels.scores)(job, group, memory);
      });
}

}  // namespace

void forward_scores(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor* lengths,
                    Tensor& alpha, ScanOptions options, Context context) {
  const scan::ScanShape shape("forward_scores", Ms, graph, lengths);
  const scan::Operand first = shape.Weights("v0", v0), scores = shape.Scores("alpha", &alpha);
  shape.CheckScore("alpha", &alpha);
  CheckOutputs("forward_scores", {{"alpha", &alpha}});
  RunScores({.shape = shape, .first = first, .scores = scores}, options.semiring, context.threads);
}

void backward_scores(const Tensor& Ms, const Graph& graph, const Tensor& vT, const Tensor* lengths,
                     Tensor& beta, ScanOptions options, Context context) {
  const scan::ScanShape shape("backward_scores", Ms, graph, lengths);
  const scan::Operand last = shape.Weights("vT", vT), scores = shape.Scores("beta", &beta);
  shape.CheckScore("beta", &beta);
  CheckOutputs("backward_scores", {{"beta", &beta}});
  RunScores({.shape = shape, .first = last, .scores = scores, .backward = true}, options.semiring,
            context.threads);
}

}  // namespace logsum
