// The sequences of a batch as the kernels take them: where each one's frames and gradient lie.
#pragma once
#include <cstdint>
#include <string_view>

#include "logsum/ctc.hpp"
#include "logsum/tensor.hpp"
#include "scan/ctc_batch.hpp"
#include "scan/ctc_kernels.hpp"

namespace logsum::scan {

class CtcJobs {
 public:
  // Checks options.weights. `grad` may be null.
  CtcJobs(std::string_view function, const CtcBatch& batch, const Tensor& log_probs,
          const Tensor* grad, const CtcOptions& options);

  CtcJob job(std::int64_t n) const;
  // What a sequence's loss counts in the reduced one; 1 where it is not reduced.
  double Share(std::int64_t n) const;

 private:
  const CtcBatch& batch_;
  const Tensor& log_probs_;
  const Tensor* grad_;
  const Tensor* weights_;
  bool from_logits_;
  CtcReduction reduction_;
};

// The frames of sequence n of an array (T, N, C).
CtcFrames FramesOf(const Tensor& tensor, std::int64_t n);

// scores[n] = score, in its dtype (f32 or f64).
void StoreScore(const Tensor& scores, std::int64_t n, double score);
// The same of no axes.
void StoreScore(const Tensor& scores, double score);

}  // namespace logsum::scan
