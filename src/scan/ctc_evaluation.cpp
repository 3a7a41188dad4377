#include "scan/ctc_evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/dtype.hpp"
#include "scan/ctc_scale.hpp"

namespace logsum::scan {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// log(a 2^m / (b 2^n)) - offset, accurate near zero too.
double LogOfRatio(CtcTotal a, CtcTotal b, double offset) {
  int a_exponent, b_exponent;
  double ratio = std::frexp(a.fraction, &a_exponent) / std::frexp(b.fraction, &b_exponent);
  double exponent = a.exponent - b.exponent + (a_exponent - b_exponent);
  // A ratio near one is a number near one, not a logarithm near one cancelled by an exponent.
  if (std::abs(exponent) <= 2) {
    ratio = std::ldexp(ratio, static_cast<int>(exponent));
    exponent = 0;
  }
  return std::log(ratio) + exponent * std::numbers::ln2 - offset;
}

}  // namespace

void FillFrames(const CtcFrames& frames, std::int64_t begin, std::int64_t end, double value) {
  VisitFloating(frames.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    const Storage filling = FromDouble<Storage>(value);
    for (std::int64_t t = begin; t < end; ++t) {
      Storage* const to = static_cast<Storage*>(frames.data) + t * frames.frame_stride;
      for (std::int64_t c = 0; c < frames.labels; ++c) to[c * frames.label_stride] = filling;
    }
  });
}

CtcEvaluation::CtcEvaluation(const CtcKernels& kernels, BufferPool<double>& pool,
                             const CtcSequence& sequence, std::int64_t all_frames,
                             std::int64_t blank, const CtcJob& job)
    : kernels_(kernels),
      pool_(pool),
      job_(job),
      states_(sequence, job.frames.labels, blank, kernels.lanes),
      all_frames_(all_frames) {
  if (has_gradient()) FillFrames(job_.gradient, states_.num_frames, all_frames_, 0);
  BeginAttempt(has_gradient() ? CtcNumbers::linear : CtcNumbers::linear_down);
  if (states_.feasible && states_.num_frames > 0) return;
  // Without a path, or frames to take it: only NaN and +inf are looked for.
  CtcSide& side = work_->sides[0];
  kernels_.prepare(job_, states_, numbers_, *work_, side, 0, states_.num_frames);
  FinishWithout(side.invalid       ? std::numeric_limits<double>::quiet_NaN()
                : states_.feasible ? 0
                                   : kInfinity);
}

void CtcEvaluation::BeginAttempt(CtcNumbers numbers) {
  numbers_ = numbers;
  const CtcSizes sizes = {.width = states_.width,
                          .emission_width = states_.emission_width,
                          .frames = states_.num_frames,
                          .labels = job_.frames.labels,
                          .keep = has_gradient(),
                          .arrays = numbers == CtcNumbers::ranged ? 2 : 1};
  memory_.reset();
  memory_.emplace(pool_, static_cast<std::size_t>(sizes.Elements()));
  work_.emplace(sizes, memory_->get());
  for (CtcSide& side : work_->sides) side.least_total = kInfinity;
}

// The frames' softmax is known and written by now; only emissions are read again.
void CtcEvaluation::TryAgain(CtcNumbers numbers) {
  if (is_first_) {
    softmax_scale_.assign(work_->softmax_scale, work_->softmax_scale + states_.num_frames);
    std::copy_n(work_->sides, 2, first_);
  }
  is_first_ = false;
  BeginAttempt(numbers);
  std::copy(softmax_scale_.begin(), softmax_scale_.end(), work_->softmax_scale);
}

void CtcEvaluation::Sweep(int number) {
  CtcSide& side = work_->sides[number];
  const std::int64_t begin = number == 0 ? 0 : states_.meeting;
  const std::int64_t end = number == 0 ? states_.meeting : states_.num_frames;
  CtcJob job = job_;
  job.emissions_only = !is_first_;
  kernels_.prepare(job, states_, numbers_, *work_, side, begin, end);
  if (side.invalid) return;
  if (number == 0) {
    kernels_.forward(states_, numbers_, *work_, side, end);
  } else {
    kernels_.backward(states_, numbers_, *work_, side, begin);
  }
}

void CtcEvaluation::Meet() {
  const CtcSide &left = work_->sides[0], &right = work_->sides[1];
  if (left.invalid || right.invalid) {
    FinishWithout(std::numeric_limits<double>::quiet_NaN());
    return;
  }
  CtcTotal total = kernels_.meet(states_, numbers_, *work_);
  unit_ = total.exponent;
  total.exponent += left.exponent + right.exponent;
  const bool clamped = left.clamped || right.clamped;
  if (numbers_ == CtcNumbers::linear_down) {
    const bool exact = !left.flushed && !right.flushed && !clamped;
    if (!exact || !(total.fraction >= LeastExactTotal(2 * states_.width))) {
      lower_ = total;
      TryAgain(CtcNumbers::linear);
      return;
    }
  } else if (numbers_ == CtcNumbers::linear && lower_.has_value()) {
    // Both sweeps round alike; their results may still differ by a few units of the last place.
    const double ratio =
        std::ldexp(lower_->fraction / total.fraction,
                   static_cast<int>(std::max(lower_->exponent - total.exponent, -4000.0)));
    if (!(ratio >= 1 - 0x1p-50)) {
      TryAgain(CtcNumbers::ranged);
      return;
    }
  } else if (numbers_ == CtcNumbers::linear) {
    if (!(total.fraction >= LeastCertainTotal(states_.num_frames, 2 * states_.width, clamped))) {
      TryAgain(CtcNumbers::ranged);
      return;
    }
  }
  if (total.fraction == 0) {
    FinishWithout(kInfinity);
    return;
  }
  loss_ = Loss(total);
  wants_gradient_ = has_gradient();
  done_ = !wants_gradient_;
}

void CtcEvaluation::Gradient(int number) {
  if (!wants_gradient_) return;
  // The backward sweep comes to the left side, the forward sweep to the right.
  kernels_.gradient(job_, states_, numbers_, *work_, work_->sides[number], unit_, number == 1);
}

void CtcEvaluation::Conclude() {
  if (done_ || !wants_gradient_) return;
  wants_gradient_ = false;
  const CtcSide &left = work_->sides[0], &right = work_->sides[1];
  const double least = std::min(left.least_total, right.least_total);
  const bool clamped = left.clamped || right.clamped;
  if (numbers_ == CtcNumbers::linear &&
      !(least >= LeastCertainTotal(states_.num_frames, 2 * states_.width, clamped))) {
    TryAgain(CtcNumbers::ranged);
    return;
  }
  done_ = true;
}

double CtcEvaluation::Loss(CtcTotal total) const {
  CtcTotal partition = {1, 0};
  CompensatedSum offset;
  const auto add = [&](const CompensatedSum& sum, double sign) {
    offset.Add(sign * sum.High());
    offset.Add(sign * sum.Low());
  };
  for (int number = 0; number < 2; ++number) {
    const CtcSide& reading = is_first_ ? work_->sides[number] : first_[number];
    partition.fraction *= reading.partition;
    partition.exponent += reading.partition_exponent;
    add(work_->sides[number].offset, 1);
    add(reading.partition_offset, -1);
  }
  const double loss = LogOfRatio(partition, total, offset.Value());
  // A probability is at most one; rounding may say a little more.
  return job_.from_logits ? std::max(loss, 0.0) : loss;
}

// A sequence without posteriors.
void CtcEvaluation::FinishWithout(double loss) {
  loss_ = loss;
  done_ = true;
  if (has_gradient()) {
    FillFrames(job_.gradient, 0, states_.num_frames, std::isnan(loss) ? loss : 0);
  }
}

}  // namespace logsum::scan
