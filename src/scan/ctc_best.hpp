// The best alignment of one CTC sequence: the Max semiring.
#pragma once
#include <cstdint>
#include <vector>

#include "scan/ctc_kernels.hpp"

namespace logsum::scan {

class CtcBest {
 public:
  CtcBest(const CtcKernels& kernels, const CtcSequence& sequence, std::int64_t blank,
          const CtcJob& job);

  // Minus the score of the best alignment; +inf when there is none, NaN when a frame has +inf or
  // NaN.
  double loss() const { return loss_; }
  // The label of each frame; empty when there is no alignment.
  const std::vector<std::int64_t>& labels() const { return labels_; }

  // The job's gradient, if it has one: minus the alignment's indicator, plus the softmax with
  // from_logits, which has been written already.
  void WriteGradient(std::int64_t all_frames) const;

 private:
  void Trace(const CtcStates& states, const CtcWork& work);

  CtcJob job_;
  std::int64_t num_frames_;
  double loss_;
  std::vector<std::int64_t> labels_;
  std::vector<double> softmax_;  // of each frame's label
};

}  // namespace logsum::scan
