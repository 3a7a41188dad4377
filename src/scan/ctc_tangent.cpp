// ctc_loss_tangent: the derivative of the losses and of their gradients along a direction.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "core/buffer_pool.hpp"
#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "logsum/ctc.hpp"
#include "scan/ctc_batch.hpp"
#include "scan/ctc_best.hpp"
#include "scan/ctc_evaluation.hpp"
#include "scan/ctc_jobs.hpp"
#include "scan/ctc_kernels.hpp"

namespace logsum {

using namespace scan;

namespace {

CtcSizes SizesOf(const CtcStates& states, const CtcJob& job) {
  return {.width = states.width,
          .emission_width = states.emission_width,
          .frames = states.num_frames,
          .labels = job.frames.labels,
          .keep = true,
          .arrays = 3};
}

// The tangent where a sequence has no posterior: NaN if it has no loss either, else zero.
double WithoutPosterior(const CtcJob& job, std::int64_t frames, bool invalid) {
  const double value = invalid ? std::numeric_limits<double>::quiet_NaN() : 0;
  if (job.gradient.data != nullptr) FillFrames(job.gradient, 0, frames, value);
  return value;
}

double TangentOfSum(const CtcKernels& kernels, const CtcJob& job, const CtcFrames& direction,
                    const CtcStates& states, CtcWork& work) {
  CtcJob reading = job;
  reading.gradient = {};
  CtcSide& side = work.sides[0];
  kernels.prepare(reading, states, CtcNumbers::ranged, work, side, 0, states.num_frames);
  if (side.invalid || !states.feasible || states.num_frames == 0) {
    return WithoutPosterior(job, states.num_frames, side.invalid);
  }
  kernels.slopes(job, direction, states, work);
  const std::optional<double> mean = kernels.tangent(job, states, work);
  return mean.has_value() ? -*mean : WithoutPosterior(job, states.num_frames, false);
}

// The best alignment stays the best: only the softmax moves.
double TangentOfBest(const CtcKernels& kernels, const CtcJob& job, const CtcFrames& direction,
                     const CtcBest& best, const CtcStates& states, CtcWork& work) {
  if (best.labels().empty()) {
    return WithoutPosterior(job, states.num_frames, std::isnan(best.loss()));
  }
  if (job.gradient.data != nullptr) FillFrames(job.gradient, 0, states.num_frames, 0);
  kernels.slopes(job, direction, states, work);
  double sum = 0;
  for (std::int64_t t = 0; t < states.num_frames; ++t) {
    sum += work.Slopes(t)[states.ClassOf(best.labels()[static_cast<std::size_t>(t)])];
  }
  return -sum;
}

}  // namespace

void ctc_loss_tangent(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                      const Tensor& target_lengths, const Tensor& direction, Tensor* losses_tangent,
                      Tensor* grad_tangent, CtcOptions options, Context context) {
  constexpr std::string_view kFunction = "ctc_loss_tangent";
  const CtcBatch batch(kFunction, log_probs, targets, input_lengths, target_lengths, options.blank);
  batch.CheckLikeLogProbs("direction", direction);
  if (losses_tangent != nullptr) batch.CheckScores("losses_tangent", *losses_tangent);
  if (grad_tangent != nullptr) batch.CheckLikeLogProbs("grad_tangent", *grad_tangent);
  CheckOutputs(kFunction, {{"losses_tangent", losses_tangent}, {"grad_tangent", grad_tangent}});
  options.reduction = CtcReduction::none;
  const CtcJobs jobs(kFunction, batch, log_probs, grad_tangent, options);
  const CtcKernels& kernels = CtcKernelsOfTarget();
  BufferPool<double> pool;
  ParallelFor(batch.size(), context.threads, [&](std::int64_t n) {
    const CtcSequence sequence = batch.sequence(n);
    const CtcJob job = jobs.job(n);
    if (job.gradient.data != nullptr) {
      FillFrames(job.gradient, sequence.frames, batch.num_frames(), 0);
    }
    const CtcFrames along = FramesOf(direction, n);
    const CtcStates states(sequence, job.frames.labels, options.blank, kernels.lanes);
    std::optional<CtcBest> best;
    if (options.semiring == Semiring::max) {
      CtcJob reading = job;
      reading.gradient = {};
      best.emplace(kernels, sequence, options.blank, reading);
    }
    const CtcSizes sizes = SizesOf(states, job);
    const BufferPool<double>::Lease memory(pool, static_cast<std::size_t>(sizes.Elements()));
    CtcWork work(sizes, memory.get());
    const double tangent = best.has_value()
                               ? TangentOfBest(kernels, job, along, *best, states, work)
                               : TangentOfSum(kernels, job, along, states, work);
    if (losses_tangent != nullptr) StoreScore(*losses_tangent, n, tangent);
  });
}

}  // namespace logsum
