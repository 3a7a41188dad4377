#include "scan/ctc_jobs.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/dtype.hpp"
#include "core/errors.hpp"

namespace logsum::scan {

CtcJobs::CtcJobs(std::string_view function, const CtcBatch& batch, const Tensor& log_probs,
                 const Tensor* grad, const CtcOptions& options)
    : batch_(batch),
      log_probs_(log_probs),
      grad_(grad),
      weights_(options.weights),
      from_logits_(options.from_logits),
      reduction_(options.reduction) {
  if (weights_ == nullptr) return;
  CheckTensor(function, "weights", *weights_);
  if (weights_->dtype != DType::f32 && weights_->dtype != DType::f64) {
    ThrowInvalid(function, "weights", "float32 or float64", DTypeName(weights_->dtype));
  }
  CheckShape(function, "weights", *weights_, std::array{batch.size()});
}

CtcFrames FramesOf(const Tensor& tensor, std::int64_t n) {
  return VisitFloating(tensor.dtype, [&](auto storage) {
    return CtcFrames{.data = static_cast<decltype(storage)*>(tensor.data) + n * tensor.strides[1],
                     .dtype = tensor.dtype,
                     .frame_stride = tensor.strides[0],
                     .label_stride = tensor.strides[2],
                     .labels = tensor.shape[2]};
  });
}

CtcJob CtcJobs::job(std::int64_t n) const {
  CtcJob job;
  job.frames = FramesOf(log_probs_, n);
  job.from_logits = from_logits_;
  job.weight = Share(n);
  if (grad_ != nullptr) job.gradient = FramesOf(*grad_, n);
  if (weights_ != nullptr) {
    job.weight *= VisitFloating(weights_->dtype, [&](auto storage) {
      return static_cast<double>(
          ToFloat(static_cast<const decltype(storage)*>(weights_->data)[n * weights_->strides[0]]));
    });
  }
  return job;
}

double CtcJobs::Share(std::int64_t n) const {
  if (reduction_ != CtcReduction::mean) return 1;
  const std::size_t length = std::max<std::size_t>(batch_.sequence(n).labels.size(), 1);
  return 1 / (static_cast<double>(batch_.size()) * static_cast<double>(length));
}

namespace {

void StoreAt(const Tensor& scores, std::int64_t offset, double score) {
  VisitFloating(scores.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    static_cast<Storage*>(scores.data)[offset] = FromDouble<Storage>(score);
  });
}

}  // namespace

void StoreScore(const Tensor& scores, std::int64_t n, double score) {
  StoreAt(scores, n * scores.strides[0], score);
}

void StoreScore(const Tensor& scores, double score) { StoreAt(scores, 0, score); }

}  // namespace logsum::scan
