#include "scan/ctc_best.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

#include "core/buffer_pool.hpp"
#include "core/dtype.hpp"
#include "scan/ctc_evaluation.hpp"
#include "scan/ctc_states.hpp"
#include "scan/ctc_work.hpp"

namespace logsum::scan {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

CtcBest::CtcBest(const CtcKernels& kernels, const CtcSequence& sequence, std::int64_t blank,
                 const CtcJob& job)
    : job_(job), num_frames_(sequence.frames), loss_(kInfinity) {
  const CtcStates states(sequence, job.frames.labels, blank, kernels.lanes);
  const CtcSizes sizes = {.width = states.width,
                          .emission_width = states.emission_width,
                          .frames = num_frames_,
                          .labels = job.frames.labels,
                          .keep = states.feasible};
  const TaskMemory<double> memory(static_cast<std::size_t>(sizes.Elements()));
  CtcWork work(sizes, memory.get());
  CtcSide& side = work.sides[0];
  constexpr CtcNumbers kNumbers = CtcNumbers::max_plus;
  kernels.prepare(job_, states, kNumbers, work, side, 0, num_frames_);
  if (side.invalid) {
    loss_ = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  if (!states.feasible) return;
  loss_ = 0;
  if (num_frames_ > 0) {
    loss_ = kInfinity;
    kernels.forward(states, kNumbers, work, side, num_frames_);
    Trace(states, work);
    if (labels_.empty()) return;
  }
  const double log_partition =
      std::log(side.partition) + side.partition_exponent * std::numbers::ln2;
  loss_ += log_partition + (side.partition_offset.Value() - side.offset.Value());
  if (job_.from_logits) loss_ = std::max(loss_, 0.0);
}

// Goes back from the better final state; into each state from the best one before, staying rather
// than stepping, stepping rather than skipping.
void CtcBest::Trace(const CtcStates& states, const CtcWork& work) {
  const std::int64_t L = states.num_labels;
  // Scores outside a frame's span were not computed: no complete path is there.
  const auto score = [&](std::int64_t t, std::int64_t array, std::int64_t i) {
    const VectorSpan span = states.spans[static_cast<std::size_t>(t)];
    const bool inside = i >= span.first * states.lanes && i < span.end * states.lanes;
    return inside ? work.kept.At(t)[array * states.width + i] : -kInfinity;
  };
  const auto label = [&](std::int64_t t, std::int64_t i) { return score(t, 0, i); };
  const auto blank = [&](std::int64_t t, std::int64_t i) { return score(t, 1, i); };

  const std::int64_t last = num_frames_ - 1;
  bool is_label = L > 0 && label(last, L - 1) >= blank(last, L);
  std::int64_t i = is_label ? L - 1 : L;
  const double best = is_label ? label(last, i) : blank(last, i);
  if (best == -kInfinity) return;
  loss_ = -best;
  const auto frames = static_cast<std::size_t>(num_frames_);
  labels_.resize(frames);
  softmax_.resize(frames);
  for (std::int64_t t = last;; --t) {
    const auto at = static_cast<std::size_t>(t);
    const std::int64_t k =
        is_label ? states.label_class[static_cast<std::size_t>(i)] : states.blank_class;
    labels_[at] = states.classes[static_cast<std::size_t>(k)];
    if (job_.from_logits) {
      softmax_[at] = std::exp(work.Emissions(t)[k] + work.softmax_shift[t]) * work.softmax_scale[t];
    }
    if (t == 0) return;
    const double stay = is_label ? label(t - 1, i) : blank(t - 1, i);
    const double step = is_label ? blank(t - 1, i) : label(t - 1, i - 1);
    const bool may_skip = is_label && states.may_skip[static_cast<std::size_t>(i)] != 0;
    const double skip = may_skip ? label(t - 1, i - 1) : -kInfinity;
    if (stay >= step && stay >= skip) continue;
    if (step >= skip) {
      if (!is_label) --i;
      is_label = !is_label;
    } else {
      --i;
    }
  }
}

void CtcBest::WriteGradient(std::int64_t all_frames) const {
  if (job_.gradient.data == nullptr) return;
  FillFrames(job_.gradient, num_frames_, all_frames, 0);
  if (labels_.empty()) {
    FillFrames(job_.gradient, 0, num_frames_, std::isnan(loss_) ? loss_ : 0);
    return;
  }
  if (!job_.from_logits) FillFrames(job_.gradient, 0, num_frames_, 0);
  VisitFloating(job_.gradient.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    for (std::int64_t t = 0; t < num_frames_; ++t) {
      const auto at = static_cast<std::size_t>(t);
      const double gradient = (job_.from_logits ? softmax_[at] : 0) - 1;
      static_cast<Storage*>(job_.gradient.data)[t * job_.gradient.frame_stride +
                                                labels_[at] * job_.gradient.label_stride] =
          FromDouble<Storage>(job_.weight * gradient);
    }
  });
}

}  // namespace logsum::scan
