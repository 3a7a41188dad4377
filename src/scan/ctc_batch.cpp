#include "scan/ctc_batch.hpp"

#include <array>
#include <string>

#include "core/errors.hpp"
#include "scan/lengths.hpp"

namespace logsum::scan {

CtcBatch::CtcBatch(std::string_view function, const Tensor& log_probs, const Tensor& input_lengths,
                   std::int64_t blank)
    : function_(function), dtype_(log_probs.dtype), blank_(blank) {
  CheckFloating(function, "log_probs", log_probs);
  CheckTensor(function, "log_probs", log_probs);
  if (log_probs.shape.size() != 3) {
    ThrowInvalid(function, "log_probs", "three axes (T, N, C)", ShapeString(log_probs.shape));
  }
  frames_ = log_probs.shape[0];
  size_ = log_probs.shape[1];
  labels_ = log_probs.shape[2];
  if (blank < 0 || blank >= labels_) {
    ThrowInvalid(function, "blank", "a label in [0, " + std::to_string(labels_) + ")",
                 std::to_string(blank));
  }
  input_lengths_ = ReadLengths(function, "input_lengths", input_lengths, size_, frames_);
}

CtcBatch::CtcBatch(std::string_view function, const Tensor& log_probs, const Tensor& targets,
                   const Tensor& input_lengths, const Tensor& target_lengths, std::int64_t blank)
    : CtcBatch(function, log_probs, input_lengths, blank) {
  ReadTargets(targets, target_lengths);
}

void CtcBatch::ReadTargets(const Tensor& targets, const Tensor& target_lengths) {
  CheckInteger(function_, "targets", targets);
  const bool padded = targets.shape.size() == 2;
  if (!padded && targets.shape.size() != 1) {
    ThrowInvalid(function_, "targets", "one axis (concatenated) or two (padded)",
                 ShapeString(targets.shape));
  }
  if (padded && targets.shape[0] != size_) {
    ThrowInvalid(function_, "targets", std::to_string(size_) + " rows", ShapeString(targets.shape));
  }
  const std::int64_t longest = padded ? targets.shape[1] : targets.shape[0];
  const std::vector<std::int64_t> lengths =
      ReadLengths(function_, "target_lengths", target_lengths, size_, longest);
  starts_.assign(1, 0);
  for (const std::int64_t length : lengths) starts_.push_back(starts_.back() + length);
  if (!padded && starts_.back() != targets.shape[0]) {
    ThrowInvalid(function_, "targets",
                 std::to_string(starts_.back()) + " labels (the sum of target_lengths)",
                 std::to_string(targets.shape[0]));
  }
  targets_.reserve(static_cast<std::size_t>(starts_.back()));
  for (std::int64_t n = 0; n < size_; ++n) {
    const std::int64_t length = lengths[static_cast<std::size_t>(n)];
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t at = padded
                                  ? n * targets.strides[0] + i * targets.strides[1]
                                  : (starts_[static_cast<std::size_t>(n)] + i) * targets.strides[0];
      const std::int64_t label = IntegerAt(targets, at);
      if (label < 0 || label >= labels_ || label == blank_) {
        ThrowInvalid(function_, "targets",
                     "labels in [0, " + std::to_string(labels_) + ") other than the blank, " +
                         std::to_string(blank_),
                     std::to_string(label) + " in sequence " + std::to_string(n));
      }
      targets_.push_back(label);
    }
  }
}

CtcSequence CtcBatch::sequence(std::int64_t n) const {
  const auto i = static_cast<std::size_t>(n);
  if (starts_.empty()) return {n, input_lengths_[i], {}};
  const auto begin = static_cast<std::size_t>(starts_[i]);
  const auto end = static_cast<std::size_t>(starts_[i + 1]);
  return {n, input_lengths_[i], std::span(targets_).subspan(begin, end - begin)};
}

void CtcBatch::CheckScores(std::string_view argument, const Tensor& tensor, bool reduced) const {
  CheckTensor(function_, argument, tensor);
  CheckDType(function_, argument, tensor, dtype_ == DType::f64 ? DType::f64 : DType::f32);
  CheckShape(function_, argument, tensor, std::span(&size_, reduced ? 0 : 1));
}

void CtcBatch::CheckLikeLogProbs(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  CheckDType(function_, argument, tensor, dtype_);
  CheckShape(function_, argument, tensor, std::array{frames_, size_, labels_});
}

void CtcBatch::CheckLabels(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  CheckDType(function_, argument, tensor, DType::i64);
  CheckShape(function_, argument, tensor, std::array{size_, frames_});
}

}  // namespace logsum::scan
