// The loss of one CTC sequence, and its gradient, up the ladder of number systems.
//
// With a gradient the sequence is swept in the linear domain, rounded up, and certified by the
// masses of its frames; without one, rounded down while watching what is lost, then up if anything
// was, and certified if both agree. What fails is swept again in ranged numbers.
//
//   while not done: Sweep(0), Sweep(1); Meet; Gradient(0), Gradient(1); Conclude
//
// The two calls for sides may run on different threads.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "core/buffer_pool.hpp"
#include "scan/ctc_kernels.hpp"
#include "scan/ctc_states.hpp"
#include "scan/ctc_work.hpp"

namespace logsum::scan {

class CtcEvaluation {
 public:
  // The gradient has `all_frames`, those past the sequence's own are zero.
  CtcEvaluation(const CtcKernels& kernels, BufferPool<double>& pool, const CtcSequence& sequence,
                std::int64_t all_frames, std::int64_t blank, const CtcJob& job);

  void Sweep(int side);
  void Meet();
  void Gradient(int side);
  void Conclude();
  bool done() const { return done_; }

  double loss() const { return loss_; }
  bool repaired() const { return numbers_ == CtcNumbers::ranged; }

 private:
  void BeginAttempt(CtcNumbers numbers);
  void TryAgain(CtcNumbers numbers);
  void FinishWithout(double loss);
  double Loss(CtcTotal total) const;
  bool has_gradient() const { return job_.gradient.data != nullptr; }

  const CtcKernels& kernels_;
  BufferPool<double>& pool_;
  CtcJob job_;
  CtcStates states_;
  std::int64_t all_frames_;
  CtcNumbers numbers_ = CtcNumbers::linear;
  std::optional<BufferPool<double>::Lease> memory_;
  std::optional<CtcWork> work_;
  // What the first attempt's reading of the frames found, for later ones.
  std::vector<double> softmax_scale_;
  CtcSide first_[2];
  bool is_first_ = true;
  std::optional<CtcTotal> lower_;  // of linear_down
  double unit_ = 0;
  double loss_ = 0;
  bool wants_gradient_ = false;
  bool done_ = false;
};

// Sets frames [begin, end) of a gradient.
void FillFrames(const CtcFrames& frames, std::int64_t begin, std::int64_t end, double value);

}  // namespace logsum::scan
