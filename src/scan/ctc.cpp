#include "logsum/ctc.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string_view>
#include <vector>

#include "core/buffer_pool.hpp"
#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "logsum/config.hpp"
#include "scan/ctc_batch.hpp"
#include "scan/ctc_best.hpp"
#include "scan/ctc_evaluation.hpp"
#include "scan/ctc_jobs.hpp"
#include "scan/ctc_kernels.hpp"

namespace logsum {

using namespace scan;

namespace {

using Evaluation = std::unique_ptr<CtcEvaluation>;

// Evaluates sequences so that all threads have work. Many are a task each; few are taken in waves,
// in which every sequence is two tasks, its frames from the left and from the right. The
// arithmetic of a sequence is the same either way.
template <class Make, class Finish>
void EvaluateAll(std::int64_t count, int threads, const Make& make, const Finish& finish) {
  if (threads <= 0) threads = get_num_threads();
  if (count >= 8 * std::int64_t{threads}) {
    ParallelFor(count, threads, [&](std::int64_t n) {
      const Evaluation evaluation = make(n);
      while (!evaluation->done()) {
        evaluation->Sweep(0);
        evaluation->Sweep(1);
        evaluation->Meet();
        evaluation->Gradient(0);
        evaluation->Gradient(1);
        evaluation->Conclude();
      }
      finish(n, *evaluation);
    });
    return;
  }
  for (std::int64_t begin = 0; begin < count; begin += threads) {
    const std::int64_t end = std::min(count, begin + threads);
    std::vector<Evaluation> wave(static_cast<std::size_t>(end - begin));
    const auto sequences = [&](const auto& step) {
      ParallelFor(end - begin, threads,
                  [&](std::int64_t i) { step(wave[static_cast<std::size_t>(i)], begin + i); });
    };
    sequences([&](Evaluation& evaluation, std::int64_t n) { evaluation = make(n); });
    const auto halves = [&](auto step) {
      ParallelFor(2 * static_cast<std::int64_t>(wave.size()), threads, [&](std::int64_t half) {
        CtcEvaluation& evaluation = *wave[static_cast<std::size_t>(half / 2)];
        if (!evaluation.done()) (evaluation.*step)(static_cast<int>(half % 2));
      });
    };
    const auto is_done = [](const Evaluation& evaluation) { return evaluation->done(); };
    while (!std::all_of(wave.begin(), wave.end(), is_done)) {
      halves(&CtcEvaluation::Sweep);
      sequences([](Evaluation& evaluation, std::int64_t) {
        if (!evaluation->done()) evaluation->Meet();
      });
      halves(&CtcEvaluation::Gradient);
      sequences([](Evaluation& evaluation, std::int64_t) { evaluation->Conclude(); });
    }
    sequences([&](Evaluation& evaluation, std::int64_t n) { finish(n, *evaluation); });
  }
}

}  // namespace

ScanReport ctc_loss(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                    const Tensor& target_lengths, Tensor& losses, Tensor* grad, CtcOptions options,
                    Context context) {
  const CtcBatch batch("ctc_loss", log_probs, targets, input_lengths, target_lengths,
                       options.blank);
  const bool reduced = options.reduction != CtcReduction::none;
  batch.CheckScores("losses", losses, reduced);
  if (grad != nullptr) batch.CheckLikeLogProbs("grad", *grad);
  CheckOutputs("ctc_loss", {{"losses", &losses}, {"grad", grad}});
  const CtcJobs jobs("ctc_loss", batch, log_probs, grad, options);
  // Summed in their order, whichever thread found them.
  std::vector<double> parts(reduced ? static_cast<std::size_t>(batch.size()) : 0);
  const auto finish = [&](std::int64_t n, double loss) {
    if (options.zero_infinity && std::isinf(loss)) loss = 0;
    if (reduced) {
      parts[static_cast<std::size_t>(n)] = loss * jobs.Share(n);
    } else {
      StoreScore(losses, n, loss);
    }
  };
  const auto reduce = [&] {
    if (reduced) StoreScore(losses, std::accumulate(parts.begin(), parts.end(), 0.0));
  };
  const CtcKernels& kernels = CtcKernelsOfTarget();
  if (options.semiring == Semiring::max) {
    ParallelFor(batch.size(), context.threads, [&](std::int64_t n) {
      const CtcBest best(kernels, batch.sequence(n), options.blank, jobs.job(n));
      best.WriteGradient(batch.num_frames());
      finish(n, best.loss());
    });
    reduce();
    return {};
  }
  std::vector<char> repaired(static_cast<std::size_t>(batch.size()));
  BufferPool<double> pool;
  EvaluateAll(
      batch.size(), context.threads,
      [&](std::int64_t n) {
        return std::make_unique<CtcEvaluation>(kernels, pool, batch.sequence(n), batch.num_frames(),
                                               options.blank, jobs.job(n));
      },
      [&](std::int64_t n, const CtcEvaluation& evaluation) {
        repaired[static_cast<std::size_t>(n)] = evaluation.repaired();
        finish(n, evaluation.loss());
      });
  reduce();
  return {.repaired = std::count(repaired.begin(), repaired.end(), 1)};
}

}  // namespace logsum
