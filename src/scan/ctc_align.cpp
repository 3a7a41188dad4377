// ctc_align: the best alignment of every sequence.
#include <cstddef>
#include <cstdint>

#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "logsum/ctc.hpp"
#include "scan/ctc_batch.hpp"
#include "scan/ctc_best.hpp"
#include "scan/ctc_jobs.hpp"
#include "scan/ctc_kernels.hpp"

namespace logsum {

using namespace scan;

void ctc_align(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
               const Tensor& target_lengths, Tensor& labels, Tensor& scores, std::int64_t blank,
               Context context) {
  constexpr std::string_view kFunction = "ctc_align";
  const CtcBatch batch(kFunction, log_probs, targets, input_lengths, target_lengths, blank);
  batch.CheckLabels("labels", labels);
  batch.CheckScores("scores", scores);
  CheckOutputs(kFunction, {{"labels", &labels}, {"scores", &scores}});
  const CtcKernels& kernels = CtcKernelsOfTarget();
  ParallelFor(batch.size(), context.threads, [&](std::int64_t n) {
    const CtcBest best(kernels, batch.sequence(n), blank,
                       {.frames = FramesOf(log_probs, n), .gradient = {}});
    auto* const to = static_cast<std::int64_t*>(labels.data) + n * labels.strides[0];
    const auto frames = static_cast<std::int64_t>(best.labels().size());
    for (std::int64_t t = 0; t < batch.num_frames(); ++t) {
      to[t * labels.strides[1]] = t < frames ? best.labels()[static_cast<std::size_t>(t)] : -1;
    }
    StoreScore(scores, n, 0.0 - best.loss());
  });
}

}  // namespace logsum
