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
  // Both passes refuse the same things.
  void ExpectBoth(const std::string& message) {
    EXPECT_EQ(Forward(), "attention: " + message);
    EXPECT_EQ(Backward(), "attention_backward: " + message);
  }

  Array<float> q_array{{2, 4, 3, 6}}, k_array{{2, 2, 5, 6}}, v_array{{2, 2, 5, 7}};
  Array<float> out_array{{2, 4, 3, 7}}, lse_array{{2, 4, 3}};
  Array<float> grad_out_array{{2, 4, 3, 7}}, grad_lse_array{{2, 4, 3}};
  Array<float> bias_array{{4, 3, 5}}, sinks_array{{4}}, slope_array{{4}};
  Array<bool> mask_array{{2, 1, 1, 5}};
  Array<std::int64_t> lengths_q_array{{2}}, lengths_k_array{{2}};
  Array<float> wrong_shape{{2, 3, 3, 6}}, flat{{6}};
  Array<double> wrong_dtype{{4}};

  Tensor q = q_array, k = k_array, v = v_array, out = out_array, lse = lse_array;
  Tensor grad_out = grad_out_array, grad_lse = grad_lse_array;
  Tensor mask = mask_array, bias = bias_array, sinks = sinks_array, slope = slope_array;
  Tensor lengths_q = lengths_q_array, lengths_k = lengths_k_array, wrong = wrong_shape;
  AttentionArrays arrays;
  AttentionOptions options;
  AttentionGradients gradients{};
  bool with_grad_lse = true;
};

TEST_F(AttentionErrors, OfRows) {
  EXPECT_EQ(Forward(), "no error");
  EXPECT_EQ(Backward(), "no error");
  q = flat;
  ExpectBoth("q: expected 4 axes (batch, heads, queries, dim), got (6,)");
  q = q_array;
  q.dtype = DType::i32;
  ExpectBoth("q: expected float16, bfloat16, float32 or float64, got int32");
  q = q_array;
  q.device = Device::cuda;
  ExpectBoth("q: expected a CPU tensor (CUDA is not built yet), got a CUDA tensor");
  q = wrong;
  ExpectBoth("q: expected a number of heads that k's divides, 2, got shape (2, 3, 3, 6)");
  q = q_array;
  k.dtype = DType::f64;
  ExpectBoth("k: expected float32, got float64");
  k = wrong;
  ExpectBoth("v: expected shape (2, 3, 3, 7), got (2, 2, 5, 7)");
  k = v_array;
  ExpectBoth("k: expected shape (2, 2, 5, 6), got (2, 2, 5, 7)");
  k = k_array;
  v = flat;
  ExpectBoth("v: expected 4 axes (batch, key heads, keys, value dim), got (6,)");
  v = v_array;
  v.data = nullptr;
  ExpectBoth("v: expected a data pointer, got null");
}

TEST_F(AttentionErrors, OfResults) {
  out = wrong;
  ExpectBoth("out: expected shape (2, 4, 3, 7), got (2, 3, 3, 6)");
  out = out_array;
  out.dtype = DType::f16;
  ExpectBoth("out: expected float32, got float16");
  out = out_array;
  lse = flat;
  ExpectBoth("lse: expected shape (2, 4, 3), got (6,)");
  lse = lse_array;
  lse.dtype = DType::f64;
  ExpectBoth("lse: expected float32, got float64");
}

TEST_F(AttentionErrors, OfMaskAndBias) {
  arrays = {.mask = &mask, .bias = &bias, .sinks = &sinks};
  EXPECT_EQ(Forward(), "no error");
  mask.dtype = DType::f32;
  ExpectBoth("mask: expected bool, got float32");
  mask = wrong;
  mask.dtype = DType::boolean;
  ExpectBoth("mask: expected a shape that broadcasts to (2, 4, 3, 5), got (2, 3, 3, 6)");
  const std::array<std::int64_t, 5> five = {1, 1, 1, 1, 1};
  mask.shape = mask.strides = five;
  ExpectBoth("mask: expected a shape that broadcasts to (2, 4, 3, 5), got (1, 1, 1, 1, 1)");
  mask = mask_array;
  bias = wrong;
  ExpectBoth("bias: expected a shape that broadcasts to (2, 4, 3, 5), got (2, 3, 3, 6)");
  bias = wrong_dtype;
  ExpectBoth("bias: expected float32, got float64");
  bias = bias_array;
  sinks = flat;
  ExpectBoth("sinks: expected shape (4,), got (6,)");
  sinks = wrong_dtype;
  ExpectBoth("sinks: expected float32, got float64");
}

TEST_F(AttentionErrors, OfLengths) {
  arrays = {.lengths_q = &lengths_q, .lengths_k = &lengths_k};
  EXPECT_EQ(Forward(), "no error");
  lengths_q_array.data()[1] = 4;
  ExpectBoth("lengths_q: expected lengths in [0, 3], got 4 at 1");
  lengths_q_array.data()[1] = 3;
  lengths_k_array.data()[0] = -1;
  ExpectBoth("lengths_k: expected lengths in [0, 5], got -1 at 0");
  lengths_k_array.data()[0] = 5;
  EXPECT_EQ(Forward(), "no error");
  lengths_k = sinks_array;
  ExpectBoth("lengths_k: expected shape (2,), got (4,)");
  lengths_k = lengths_k_array;
  lengths_k.dtype = DType::f64;
  ExpectBoth("lengths_k: expected int32 or int64, got float64");
}

TEST_F(AttentionErrors, OfOptions) {
  options.scale = std::numeric_limits<double>::infinity();
  ExpectBoth("scale: expected a finite number, or 0 for 1 / sqrt(dim), got inf");
  options = {.softcap = -1};
  ExpectBoth("softcap: expected a number from 1e-30 to 1e30, or 0 for none, got -1.000000");
  options = {.softcap = std::numeric_limits<double>::quiet_NaN()};
  ExpectBoth("softcap: expected a number from 1e-30 to 1e30, or 0 for none, got nan");
  options = {.window_left = -2};
  ExpectBoth("window_left: expected -1 (no bound) or more, got -2");
  options = {.window_right = -7};
  ExpectBoth("window_right: expected -1 (no bound) or more, got -7");
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
  ExpectBoth("score_names: expected a name for each of 1 score_args, got 0");
  arrays.score_names = std::span(names).first(1);
  ExpectBoth("score_args: expected none without a score, got 1");
  options.score = "s - slope(h) * Abs(i - j)";
  EXPECT_EQ(Forward(), "no error");
  options.score = "s - slope(h";
  EXPECT_NE(Forward().find("s - slope(h"), std::string::npos) << Forward();
}

TEST_F(AttentionErrors, OfGradients) {
  grad_out = wrong;
  EXPECT_EQ(Backward(),
            "attention_backward: grad_out: expected shape (2, 4, 3, 7), got (2, 3, 3, 6)");
  grad_out = grad_out_array;
  grad_lse.dtype = DType::f64;
  EXPECT_EQ(Backward(), "attention_backward: grad_lse: expected float32, got float64");
  with_grad_lse = false;
  Array<float> sums({4, 3, 5});
  Tensor grad_bias = sums;
  gradients.bias = &grad_bias;
  EXPECT_EQ(Backward(),
            "attention_backward: grad bias: expected null without its array, got a "
            "tensor");
  arrays.bias = &bias;
  EXPECT_EQ(Backward(), "no error");
  grad_bias.dtype = DType::f16;
  EXPECT_EQ(Backward(), "attention_backward: grad bias: expected float32, got float16");
  grad_bias = flat;
  EXPECT_EQ(Backward(), "attention_backward: grad bias: expected shape (4, 3, 5), got (6,)");
  gradients.bias = nullptr;
  gradients.k = &q;
  EXPECT_EQ(Backward(),
            "attention_backward: grad k: expected shape (2, 2, 5, 6), got (2, 4, 3, 6)");
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
  EXPECT_EQ(Backward(), "no error");
  wanted[1] = of_doc;
  EXPECT_EQ(Backward(),
            "attention_backward: grad score_args[1]: expected float16, bfloat16, float32 or "
            "float64, got int64");
  wanted = {flat, Tensor{}};
  EXPECT_EQ(Backward(), "attention_backward: grad score_args[0]: expected shape (4,), got (6,)");
  gradients.score_args = std::span(wanted).first(1);
  EXPECT_EQ(Backward(),
            "attention_backward: grad score_args: expected none, or one for each of 2 arrays, got "
            "1");
}

}  // namespace
}  // namespace logsum::testing
