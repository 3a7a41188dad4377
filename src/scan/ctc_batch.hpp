// What all functions of ctc.hpp check, and their sequences with lengths and labels read.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum::scan {

// One sequence of a batch.
struct CtcSequence {
  std::int64_t index;
  std::int64_t frames;
  std::span<const std::int64_t> labels;
};

// Throws std::invalid_argument, naming `function`, before anything but lengths and labels is read.
class CtcBatch {
 public:
  // Without targets: for decoding.
  CtcBatch(std::string_view function, const Tensor& log_probs, const Tensor& input_lengths,
           std::int64_t blank);
  CtcBatch(std::string_view function, const Tensor& log_probs, const Tensor& targets,
           const Tensor& input_lengths, const Tensor& target_lengths, std::int64_t blank);

  std::int64_t num_frames() const { return frames_; }  // T
  std::int64_t size() const { return size_; }          // N
  std::int64_t num_labels() const { return labels_; }  // C
  CtcSequence sequence(std::int64_t n) const;

  // A result (N,) of log_probs' dtype, f32 or wider; or of no axes.
  void CheckScores(std::string_view argument, const Tensor& tensor, bool reduced = false) const;
  // (T, N, C) of log_probs' dtype.
  void CheckLikeLogProbs(std::string_view argument, const Tensor& tensor) const;
  // (N, T) i64.
  void CheckLabels(std::string_view argument, const Tensor& tensor) const;

 private:
  void ReadTargets(const Tensor& targets, const Tensor& target_lengths);

  std::string_view function_;
  DType dtype_;
  std::int64_t frames_, size_, labels_, blank_;
  std::vector<std::int64_t> input_lengths_;
  std::vector<std::int64_t> targets_;  // of all sequences, one after the other
  std::vector<std::int64_t> starts_;   // N + 1, into targets_
};

}  // namespace logsum::scan
