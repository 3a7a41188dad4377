// What the functions of ctc.hpp refuse, in which words, and that nothing is written before.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "logsum/ctc.hpp"

namespace logsum::testing {
namespace {

// Every function with good arguments but for those that a test changes.
class CtcErrors : public ::testing::Test {
 protected:
  CtcErrors() {
    for (auto* const array : {&results, &of_gradient}) array->Fill([] { return 77; });
    Reset();
  }
  void Reset() {
    log_probs = frames, targets = labels, input_lengths = inputs, target_lengths = sizes;
    losses = results, grad = of_gradient, direction = frames, weights = of_weights;
    found = of_labels, found_lengths = of_sizes;
    options = {}, decode = {};
  }
  std::string MessageOf(const std::function<void()>& call) {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      // Nothing was written.
      for (auto* const array : {&results, &of_gradient}) {
        EXPECT_EQ(std::count(array->data(), array->data() + array->Size(), 77.0f), array->Size());
      }
      for (auto* const array : {&of_labels, &of_sizes}) {
        for (const std::int64_t value : array->values()) EXPECT_EQ(value, -7);
      }
      return error.what();
    }
    return "no error";
  }
  std::string Loss() {
    return MessageOf([&] {
      ctc_loss(log_probs, targets, input_lengths, target_lengths, losses, &grad, options);
    });
  }
  std::string Tangent() {
    return MessageOf([&] {
      ctc_loss_tangent(log_probs, targets, input_lengths, target_lengths, direction, &losses, &grad,
                       options);
    });
  }
  std::string Align() {
    return MessageOf([&] {
      ctc_align(log_probs, targets, input_lengths, target_lengths, found, losses, options.blank);
    });
  }
  std::string Decode() {
    return MessageOf(
        [&] { ctc_decode(log_probs, input_lengths, found, found_lengths, losses, decode); });
  }
  // Three functions that read targets say the same; with them decoding, where it does too.
  void ExpectAll(const std::string& message, bool decoding = false) {
    EXPECT_EQ(Loss(), "ctc_loss: " + message);
    EXPECT_EQ(Tangent(), "ctc_loss_tangent: " + message);
    EXPECT_EQ(Align(), "ctc_align: " + message);
    if (decoding) {
      EXPECT_EQ(Decode(), "ctc_decode: " + message);
    }
    Reset();
  }

  Array<float> frames{{5, 2, 4}}, of_gradient{{5, 2, 4}}, results{{2}}, of_weights{{2}};
  Array<double> wide{{5, 2, 4}}, wide_results{{2}};
  Array<float> matrix{{5, 2}}, three{{3}}, other{{5, 2, 3}};
  Integers<> labels{{2, 3}, {1, 2, 3, 1, -9, -9}}, inputs{{5, 4}}, sizes{{3, 1}};
  Integers<> of_labels{{2, 5}, {}}, of_sizes{{2}, {}}, one{{3}}, flat{{1, 2, 3, 1, 1}};
  Tensor log_probs, targets, input_lengths, target_lengths, losses, grad, direction, weights;
  Tensor found, found_lengths;
  CtcOptions options;
  CtcDecodeOptions decode;
};

TEST_F(CtcErrors, OfFrames) {
  log_probs = labels;
  ExpectAll("log_probs: expected float16, bfloat16, float32 or float64, got int64", true);
  log_probs = matrix;
  ExpectAll("log_probs: expected three axes (T, N, C), got (5, 2)", true);
  log_probs.data = nullptr;
  ExpectAll("log_probs: expected a data pointer, got null", true);
  log_probs.device = Device::cuda;
  ExpectAll("log_probs: expected a CPU tensor (CUDA is not built yet), got a CUDA tensor", true);
  log_probs.strides = log_probs.strides.first(2);
  ExpectAll("log_probs: expected as many strides as axes, got 3 axes and 2 strides", true);
}

TEST_F(CtcErrors, OfTheBlank) {
  for (const std::int64_t blank : {-1, 4, 5000}) {
    decode.blank = options.blank = blank;
    const std::string message = "blank: expected a label in [0, 4), got " + std::to_string(blank);
    EXPECT_EQ(Decode(), "ctc_decode: " + message);
    ExpectAll(message);
  }
}

TEST_F(CtcErrors, OfLengths) {
  Array<float> real({2});
  input_lengths = real;
  ExpectAll("input_lengths: expected int32 or int64, got float32", true);
  input_lengths = one;
  ExpectAll("input_lengths: expected shape (2,), got (1,)", true);
  Integers<> negative({5, -1}), late({6, 5}), four({3, 4});
  input_lengths = negative;
  ExpectAll("input_lengths: expected lengths in [0, 5], got -1 at 1", true);
  input_lengths = late;
  ExpectAll("input_lengths: expected lengths in [0, 5], got 6 at 0", true);
  target_lengths = real;
  ExpectAll("target_lengths: expected int32 or int64, got float32");
  target_lengths = one;
  ExpectAll("target_lengths: expected shape (2,), got (1,)");
  target_lengths = four;
  ExpectAll("target_lengths: expected lengths in [0, 3], got 4 at 1");
  input_lengths.device = Device::cuda;
  ExpectAll("input_lengths: expected a CPU tensor (CUDA is not built yet), got a CUDA tensor",
            true);
}

TEST_F(CtcErrors, OfTargets) {
  targets = matrix;
  ExpectAll("targets: expected int32 or int64, got float32");
  Integers<> cube({1, 2, 3}, {}), rows({3, 3}, {});
  targets = cube;
  ExpectAll("targets: expected one axis (concatenated) or two (padded), got (1, 2, 3)");
  targets = rows;
  ExpectAll("targets: expected 2 rows, got (3, 3)");
  targets = flat;
  ExpectAll("targets: expected 4 labels (the sum of target_lengths), got 5");
  const std::string range = "targets: expected labels in [0, 4) other than the blank, 0, got ";
  for (const auto& [label, given] : std::vector<std::pair<std::int64_t, std::string>>{
           {4, "4 in sequence 0"}, {-1, "-1 in sequence 0"}, {0, "0 in sequence 0"}}) {
    labels.values()[2] = label;
    ExpectAll(range + given);
  }
  labels.values()[2] = 3;
  labels.values()[3] = 1 << 20;
  ExpectAll(range + "1048576 in sequence 1");
}

TEST_F(CtcErrors, OfResults) {
  losses = three;
  EXPECT_EQ(Loss(), "ctc_loss: losses: expected shape (2,), got (3,)");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: losses_tangent: expected shape (2,), got (3,)");
  EXPECT_EQ(Align(), "ctc_align: scores: expected shape (2,), got (3,)");
  EXPECT_EQ(Decode(), "ctc_decode: scores: expected shape (2,), got (3,)");
  losses = wide_results;
  EXPECT_EQ(Loss(), "ctc_loss: losses: expected float32, got float64");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: losses_tangent: expected float32, got float64");
  EXPECT_EQ(Align(), "ctc_align: scores: expected float32, got float64");
  EXPECT_EQ(Decode(), "ctc_decode: scores: expected float32, got float64");
  Reset();
  grad = other;
  EXPECT_EQ(Loss(), "ctc_loss: grad: expected shape (5, 2, 4), got (5, 2, 3)");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: grad_tangent: expected shape (5, 2, 4), got (5, 2, 3)");
  grad = wide;
  EXPECT_EQ(Loss(), "ctc_loss: grad: expected float32, got float64");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: grad_tangent: expected float32, got float64");
  Reset();
  direction = other;
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: direction: expected shape (5, 2, 4), got (5, 2, 3)");
  direction = wide;
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: direction: expected float32, got float64");
  Reset();
  found = labels;
  EXPECT_EQ(Align(), "ctc_align: labels: expected shape (2, 5), got (2, 3)");
  EXPECT_EQ(Decode(), "ctc_decode: labels: expected shape (2, 5), got (2, 3)");
  found = of_labels;
  found.dtype = DType::i32;
  EXPECT_EQ(Align(), "ctc_align: labels: expected int64, got int32");
  EXPECT_EQ(Decode(), "ctc_decode: labels: expected int64, got int32");
  Reset();
  found_lengths = one;
  EXPECT_EQ(Decode(), "ctc_decode: label_lengths: expected shape (2,), got (1,)");
  found_lengths.dtype = DType::i32;
  EXPECT_EQ(Decode(), "ctc_decode: label_lengths: expected int64, got int32");
}

TEST_F(CtcErrors, OfOptions) {
  weights = three;
  options.weights = &weights;
  EXPECT_EQ(Loss(), "ctc_loss: weights: expected shape (2,), got (3,)");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: weights: expected shape (2,), got (3,)");
  Array<Half> half({2});
  weights = half;
  EXPECT_EQ(Loss(), "ctc_loss: weights: expected float32 or float64, got float16");
  EXPECT_EQ(Tangent(), "ctc_loss_tangent: weights: expected float32 or float64, got float16");
  Reset();
  options.reduction = CtcReduction::sum;
  EXPECT_EQ(Loss(), "ctc_loss: losses: expected shape (), got (2,)");
  decode.beam = -2;
  EXPECT_EQ(Decode(),
            "ctc_decode: beam: expected a number of prefixes, or 0 for greedy decoding, got -2");
}

TEST_F(CtcErrors, NoneOfGoodArguments) {
  EXPECT_EQ(Loss(), "no error");
  EXPECT_EQ(Tangent(), "no error");
  EXPECT_EQ(Align(), "no error");
  EXPECT_EQ(Decode(), "no error");
}

}  // namespace
}  // namespace logsum::testing
