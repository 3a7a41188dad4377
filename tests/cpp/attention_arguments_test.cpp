// What the functions of attention.hpp refuse, and in which words.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "array.hpp"
#include "logsum/attention.hpp"
#include "message.hpp"

namespace logsum::testing {
namespace {

// Good arguments, of which each test spoils some: batch 2, heads 4 and 2, 3 queries, 5 keys, 6
// components and 7 of a value.
class AttentionErrors : public ::testing::Test {
 protected:
  std::string Forward() {
    std::fill_n(lse_array.data(), lse_array.Size(), 77.0f);
    const std::string message =
        MessageOf([this] { attention(q, k, v, arrays, out, lse, options); });
    // A call that is refused writes nothing.
    const bool is_kept = std::count(lse_array.data(), lse_array.data() + lse_array.Size(), 77.0f) ==
                         lse_array.Size();
    EXPECT_EQ(is_kept, message != "no error") << message;
    return message;
  }
  std::string Backward() {
    return MessageOf([this] {
      attention_backward(grad_out, with_grad_lse ? &grad_lse : nullptr, q, k, v, arrays, out, lse,
                         gradients, options);
    });
  }
  std::string ForwardTangent() {
    return MessageOf([this] {
      attention_tangent(q, k, v, arrays, out, lse, tangents, wants_out ? &out_tangent : nullptr,
                        wants_lse ? &lse_tangent : nullptr, options);
    });
  }
  std::string BackwardTangent() {
    return MessageOf([this] {
      attention_backward_tangent(grad_out, with_grad_lse ? &grad_lse : nullptr, q, k, v, arrays,
                                 out, lse, tangents, out_tangent, lse_tangent, gradients, options);
    });
  }
  // All functions refuse the same things.
  void ExpectOfAll(const std::string& message) {
    EXPECT_EQ(Forward(), "attention: " + message);
    ExpectOfGradients(message);
    EXPECT_EQ(ForwardTangent(), "attention_tangent: " + message);
  }
  void ExpectOfGradients(const std::string& message) {
    EXPECT_EQ(Backward(), "attention_backward: " + message);
    EXPECT_EQ(BackwardTangent(), "attention_backward_tangent: " + message);
  }
  void ExpectGradient(const std::string& message) {
    EXPECT_EQ(Backward(), "attention_backward: grad " + message);
    EXPECT_EQ(BackwardTangent(), "attention_backward_tangent: tangent of grad " + message);
  }
  void ExpectOfTangents(const std::string& message) {
    EXPECT_EQ(ForwardTangent(), "attention_tangent: " + message);
    EXPECT_EQ(BackwardTangent(), "attention_backward_tangent: " + message);
  }
  void ExpectNoError() {
    for (const std::string& message :
         {Forward(), Backward(), ForwardTangent(), BackwardTangent()}) {
      EXPECT_EQ(message, "no error");
    }
  }

  Array<float> q_array{{2, 4, 3, 6}}, k_array{{2, 2, 5, 6}}, v_array{{2, 2, 5, 7}};
  Array<float> out_array{{2, 4, 3, 7}}, lse_array{{2, 4, 3}};
  Array<float> grad_out_array{{2, 4, 3, 7}}, grad_lse_array{{2, 4, 3}};
  Array<float> out_tangent_array{{2, 4, 3, 7}}, lse_tangent_array{{2, 4, 3}};
  Array<float> bias_array{{4, 3, 5}}, sinks_array{{4}}, slope_array{{4}};
  Array<bool> mask_array{{2, 1, 1, 5}};
  Array<std::int64_t> lengths_q_array{{2}}, lengths_k_array{{2}};
  Array<float> wrong_shape{{2, 3, 3, 6}}, flat{{6}};
  Array<double> wrong_dtype{{4}};

  Tensor q = q_array, k = k_array, v = v_array, out = out_array, lse = lse_array;
  Tensor grad_out = grad_out_array, grad_lse = grad_lse_array;
  Tensor out_tangent = out_tangent_array, lse_tangent = lse_tangent_array;
  Tensor mask = mask_array, bias = bias_array, sinks = sinks_array, slope = slope_array;
  Tensor lengths_q = lengths_q_array, lengths_k = lengths_k_array, wrong = wrong_shape;
  Tensor flat_view = flat;
  AttentionArrays arrays;
  AttentionOptions options;
  AttentionGradients gradients{};
  AttentionTangents tangents;
  bool with_grad_lse = true, wants_out = true, wants_lse = true;
};

TEST_F(AttentionErrors, OfRows) {
  ExpectNoError();
  q = flat;
  ExpectOfAll("q: expected 4 axes (batch, heads, queries, dim), got (6,)");
  q = q_array;
  q.dtype = DType::i32;
  ExpectOfAll("q: expected float16, bfloat16, float32 or float64, got int32");
  q = q_array;
  q.device = Device::cuda;
  ExpectOfAll("q: expected a CPU tensor (CUDA is not built yet), got a CUDA tensor");
  q = wrong;
  ExpectOfAll("q: expected a number of heads that k's divides, 2, got shape (2, 3, 3, 6)");
  q = q_array;
  k.dtype = DType::f64;
  ExpectOfAll("k: expected float32, got float64");
  k = wrong;
  ExpectOfAll("v: expected shape (2, 3, 3, 7), got (2, 2, 5, 7)");
  k = v_array;
  ExpectOfAll("k: expected shape (2, 2, 5, 6), got (2, 2, 5, 7)");
  k = k_array;
  v = flat;
  ExpectOfAll("v: expected 4 axes (batch, key heads, keys, value dim), got (6,)");
  v = v_array;
  v.data = nullptr;
  ExpectOfAll("v: expected a data pointer, got null");
}

TEST_F(AttentionErrors, OfResults) {
  out = wrong;
  ExpectOfAll("out: expected shape (2, 4, 3, 7), got (2, 3, 3, 6)");
  out = out_array;
  out.dtype = DType::f16;
  ExpectOfAll("out: expected float32, got float16");
  out = out_array;
  lse = flat;
  ExpectOfAll("lse: expected shape (2, 4, 3), got (6,)");
  lse = lse_array;
  lse.dtype = DType::f64;
  ExpectOfAll("lse: expected float32, got float64");
}

TEST_F(AttentionErrors, OfMaskAndBias) {
  arrays = {.mask = &mask, .bias = &bias, .sinks = &sinks};
  ExpectNoError();
  mask.dtype = DType::f32;
  ExpectOfAll("mask: expected bool, got float32");
  mask = wrong;
  mask.dtype = DType::boolean;
  ExpectOfAll("mask: expected a shape that broadcasts to (2, 4, 3, 5), got (2, 3, 3, 6)");
  const std::array<std::int64_t, 5> five = {1, 1, 1, 1, 1};
  mask.shape = mask.strides = five;
  ExpectOfAll("mask: expected a shape that broadcasts to (2, 4, 3, 5), got (1, 1, 1, 1, 1)");
  mask = mask_array;
  bias = wrong;
  ExpectOfAll("bias: expected a shape that broadcasts to (2, 4, 3, 5), got (2, 3, 3, 6)");
  bias = wrong_dtype;
  ExpectOfAll("bias: expected float32, got float64");
  bias = bias_array;
  sinks = flat;
  ExpectOfAll("sinks: expected shape (4,), got (6,)");
  sinks = wrong_dtype;
  ExpectOfAll("sinks: expected float32, got float64");
}

TEST_F(AttentionErrors, OfLengths) {
  arrays = {.lengths_q = &lengths_q, .lengths_k = &lengths_k};
  EXPECT_EQ(Forward(), "no error");
  lengths_q_array.data()[1] = 4;
  ExpectOfAll("lengths_q: expected lengths in [0, 3], got 4 at 1");
  lengths_q_array.data()[1] = 3;
  lengths_k_array.data()[0] = -1;
  ExpectOfAll("lengths_k: expected lengths in [0, 5], got -1 at 0");
  lengths_k_array.data()[0] = 5;
  EXPECT_EQ(Forward(), "no error");
  lengths_k = sinks_array;
  ExpectOfAll("lengths_k: expected shape (2,), got (4,)");
  lengths_k = lengths_k_array;
  lengths_k.dtype = DType::f64;
  ExpectOfAll("lengths_k: expected int32 or int64, got float64");
}

TEST_F(AttentionErrors, OfOptions) {
  options.scale = std::numeric_limits<double>::infinity();
  ExpectOfAll("scale: expected a finite number, or 0 for 1 / sqrt(dim), got inf");
  options = {.softcap = -1};
  ExpectOfAll("softcap: expected a number from 1e-30 to 1e30, or 0 for none, got -1.000000");
  options = {.softcap = std::numeric_limits<double>::quiet_NaN()};
  ExpectOfAll("softcap: expected a number from 1e-30 to 1e30, or 0 for none, got nan");
  options = {.window_left = -2};
  ExpectOfAll("window_left: expected -1 (no bound) or more, got -2");
  options = {.window_right = -7};
  ExpectOfAll("window_right: expected -1 (no bound) or more, got -7");
  const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  options = {.causal = AttentionOptions::Causal::bottom_right,
             .window_left = largest,
             .window_right = largest};
  EXPECT_EQ(Forward(), "no error");
}

TEST_F(AttentionErrors, OfScores) {
  const std::array<Tensor, 1> score_args = {slope};
  const std::array<std::string_view, 2> names = {"slope", "other"};
  arrays.score_args = score_args;
  ExpectOfAll("score_names: expected a name for each of 1 score_args, got 0");
  arrays.score_names = std::span(names).first(1);
  ExpectOfAll("score_args: expected none without a score, got 1");
  options.score = "s - slope(h) * Abs(i - j)";
  EXPECT_EQ(Forward(), "no error");
  options.score = "s - slope(h";
  EXPECT_NE(Forward().find("s - slope(h"), std::string::npos) << Forward();
}

TEST_F(AttentionErrors, OfGradients) {
  grad_out = wrong;
  ExpectOfGradients("grad_out: expected shape (2, 4, 3, 7), got (2, 3, 3, 6)");
  grad_out = grad_out_array;
  grad_lse.dtype = DType::f64;
  ExpectOfGradients("grad_lse: expected float32, got float64");
  with_grad_lse = false;
  Array<float> sums({4, 3, 5});
  Tensor grad_bias = sums;
  gradients.bias = &grad_bias;
  ExpectGradient("bias: expected null without its array, got a tensor");
  arrays.bias = &bias;
  ExpectNoError();
  grad_bias.dtype = DType::f16;
  ExpectGradient("bias: expected float32, got float16");
  grad_bias = flat;
  ExpectGradient("bias: expected shape (4, 3, 5), got (6,)");
  gradients.bias = nullptr;
  gradients.k = &q;
  ExpectGradient("k: expected shape (2, 2, 5, 6), got (2, 4, 3, 6)");
}

TEST_F(AttentionErrors, OfScoreGradients) {
  const std::array<Tensor, 2> score_args = {slope, lengths_q};
  const std::array<std::string_view, 2> names = {"slope", "doc"};
  arrays.score_args = score_args;
  arrays.score_names = names;
  options.score = "s - slope(h) + doc(b)";
  Array<float> of_slope({4}), of_doc({2});
  std::array<Tensor, 2> wanted = {of_slope, Tensor{}};
  gradients.score_args = wanted;
  ExpectNoError();
  wanted[1] = of_doc;
  ExpectGradient("score_args[1]: expected float16, bfloat16, float32 or float64, got int64");
  wanted = {flat, Tensor{}};
  ExpectGradient("score_args[0]: expected shape (4,), got (6,)");
  gradients.score_args = std::span(wanted).first(1);
  ExpectGradient("score_args: expected none, or one for each of 2 arrays, got 1");
}

TEST_F(AttentionErrors, OfTangents) {
  tangents.q = &q;
  tangents.v = &v;
  wants_out = wants_lse = false;  // all that attention_tangent gives may go unasked for
  ExpectNoError();
  tangents.k = &flat_view;
  ExpectOfTangents("tangent of k: expected shape (2, 2, 5, 6), got (6,)");
  tangents.k = &k;
  Tensor half = v;
  half.dtype = DType::f16;
  tangents.v = &half;
  ExpectOfTangents("tangent of v: expected float32, got float16");
  half.dtype = DType::f32;
  half.data = nullptr;
  ExpectOfTangents("tangent of v: expected a data pointer, got null");
  tangents.v = nullptr;
  tangents.sinks = &sinks;
  ExpectOfTangents("tangent of sinks: expected null without its array, got a tensor");
  arrays.sinks = &sinks;
  ExpectNoError();
  tangents.bias = &wrong;
  arrays.bias = &bias;
  ExpectOfTangents("tangent of bias: expected shape (4, 3, 5), got (2, 3, 3, 6)");
}

TEST_F(AttentionErrors, OfScoreTangents) {
  const std::array<Tensor, 2> score_args = {slope, lengths_q};
  const std::array<std::string_view, 2> names = {"slope", "doc"};
  arrays.score_args = score_args;
  arrays.score_names = names;
  options.score = "s - slope(h) + doc(b)";
  std::array<Tensor, 2> moved = {slope, Tensor{}};
  tangents.score_args = moved;
  ExpectNoError();
  moved[1] = lengths_q;
  ExpectOfTangents(
      "tangent of score_args[1]: expected float16, bfloat16, float32 or float64, got int64");
  moved = {wrong_dtype, Tensor{}};
  ExpectOfTangents("tangent of score_args[0]: expected float32, got float64");
  tangents.score_args = std::span(moved).first(1);
  ExpectOfTangents("tangent of score_args: expected none, or one for each of 2 arrays, got 1");
}

TEST_F(AttentionErrors, OfTangentsOfResults) {
  out_tangent = wrong;
  ExpectOfTangents("out_tangent: expected shape (2, 4, 3, 7), got (2, 3, 3, 6)");
  out_tangent = out_array;
  out_tangent.dtype = DType::f64;
  ExpectOfTangents("out_tangent: expected float32, got float64");
  out_tangent = out_tangent_array;
  lse_tangent = flat;
  ExpectOfTangents("lse_tangent: expected shape (2, 4, 3), got (6,)");
  lse_tangent = lse_tangent_array;
  lse_tangent.dtype = DType::f16;
  ExpectOfTangents("lse_tangent: expected float32, got float16");
}

}  // namespace
}  // namespace logsum::testing
