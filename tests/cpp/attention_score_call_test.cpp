// Attention with score formulas: against the reference, and against the options that say the same.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "attention_case.hpp"

namespace logsum::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Roundings of scores, of the formula, and of what is made of them.
constexpr double kMultiple = 24;

AttentionInput Input(std::int64_t queries = 70, std::int64_t keys = 301) {
  AttentionInput input;
  input.batch = 2;
  input.heads = 4;
  input.kv_heads = 2;
  input.queries = queries;
  input.keys = keys;
  input.dim = 20;
  input.value_dim = 12;
  std::mt19937 random(5);
  FillNormal(random, input);
  return input;
}

template <class T>
class AttentionScoreCall : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionScoreCall, Reals);

template <class T>
void CheckAll(AttentionCase<T>& attention) {
  attention.Run();
  attention.Check(kMultiple);
  attention.RunBackward();
  attention.CheckBackward(kMultiple);
  attention.RunTangent();
  attention.CheckTangent(kMultiple);
  attention.RunBackwardTangent();
  attention.CheckBackwardTangent(kMultiple);
}

// Whether an array is the sum of slope(pair) of_score over the pairs that read an element.
template <class T>
void CheckSum(AttentionCase<T>& attention, const Array<T>& gradient, const JudgedValues& of_score,
              const std::function<std::int64_t(const AttentionPair&)>& element_of,
              const std::function<double(const AttentionPair&)>& slope) {
  const AttentionInput& in = attention.input();
  std::vector<double> value(static_cast<std::size_t>(gradient.Size())), unit = value;
  std::size_t number = 0;
  for (std::int64_t b = 0; b < in.batch; ++b) {
    for (std::int64_t h = 0; h < in.heads; ++h) {
      for (std::int64_t i = 0; i < in.queries; ++i) {
        for (std::int64_t j = 0; j < in.keys; ++j, ++number) {
          const auto element = static_cast<std::size_t>(element_of({b, h, i, j}));
          const double by_element = slope({b, h, i, j});
          value[element] += by_element * of_score.value[number];
          unit[element] += std::abs(by_element) * of_score.unit[number];
        }
      }
    }
  }
  for (std::size_t k = 0; k < value.size(); ++k) {
    EXPECT_NEAR(gradient.Get(static_cast<std::int64_t>(k)), value[k],
                kMultiple * kRoundoff<T> * unit[k])
        << k;
  }
}

// The array's gradient is the sum of slope(pair) over the pairs that read an element; its tangent,
// if the slope does not move, is the same sum.
template <class T>
void CheckArray(AttentionCase<T>& attention, const Array<T>& gradient, const Array<T>& tangent,
                const std::function<std::int64_t(const AttentionPair&)>& element_of,
                const std::function<double(const AttentionPair&)>& slope) {
  AttentionReference& reference = attention.Reference();
  AttentionTangentReference moving = attention.TangentReference(reference, kMultiple);
  const std::vector<double> grad_out = attention.Values(attention.grad_out);
  const std::vector<double> grad_lse = attention.Values(attention.grad_lse);
  reference.Differentiate(grad_out, grad_lse);
  moving.Differentiate(grad_out, grad_lse);
  CheckSum(attention, gradient, reference.grad_score, element_of, slope);
  CheckSum(attention, tangent, moving.grad_score, element_of, slope);
}

TYPED_TEST(AttentionScoreCall, Alibi) {
  AttentionInput input = Input();
  const std::vector<double> slopes = {0.5, 0.25, 0.125, 0.0625};
  const auto distance = [](const AttentionPair& at) {
    return static_cast<double>(std::abs(at.query - at.key));
  };
  input.options.score = "s - slope(h) * Abs(i - j)";
  input.score = [=](double s, const AttentionPair& at) {
    return s - slopes[static_cast<std::size_t>(at.head)] * distance(at);
  };
  const std::vector<double> moves = {0.25, -1, 0, 0.5};
  input.score_tangent = [=](double, double s_tangent, const AttentionPair& at) {
    return s_tangent - moves[static_cast<std::size_t>(at.head)] * distance(at);
  };
  AttentionCase<TypeParam> attention(input);
  auto slope = Array<TypeParam>::Of({4}, slopes), direction = Array<TypeParam>::Of({4}, moves);
  Array<TypeParam> gradient({4}), tangent({4});
  attention.score_names = {"slope"};
  attention.score_args = {slope};
  attention.grad_score_args = {gradient};
  attention.score_arg_tangents = {direction};
  attention.grad_score_arg_tangents = {tangent};
  CheckAll(attention);
  CheckArray<TypeParam>(
      attention, gradient, tangent, [](const AttentionPair& at) { return at.head; },
      [=](const AttentionPair& at) { return -distance(at); });
}

TYPED_TEST(AttentionScoreCall, RelativeBiasOverHeadsIsABias) {
  AttentionInput input = Input();
  Resize(input.bias, {1, 1, 70, 301});
  std::mt19937 random(6);
  FillNormal(random, input);
  AttentionCase<TypeParam> biased(input);
  input.bias = {};
  input.options.score = "s + table(i, j)";
  AttentionCase<TypeParam> attention(input);
  auto table = Array<TypeParam>::Of({70, 301}, biased.input().bias.values);
  auto direction = Array<TypeParam>::Of({70, 301}, biased.Values(biased.direction.bias));
  Array<TypeParam> gradient({70, 301}), tangent({70, 301});
  attention.score_names = {"table"};
  attention.score_args = {table};
  attention.grad_score_args = {gradient};
  attention.score_arg_tangents = {direction};
  attention.grad_score_arg_tangents = {tangent};
  CheckAll(biased);
  attention.Run();
  attention.RunBackward();
  attention.RunTangent();
  attention.RunBackwardTangent();
  const auto expect_near = [](const auto& got, const auto& wanted) {
    for (std::int64_t k = 0; k < wanted.Size(); ++k) {
      const double size = 4 + std::abs(wanted.Get(k));
      ASSERT_NEAR(got.Get(k), wanted.Get(k), kMultiple * kRoundoff<TypeParam> * size) << k;
    }
  };
  expect_near(attention.out, biased.out);
  expect_near(attention.lse, biased.lse);
  expect_near(attention.grad_q, biased.grad_q);
  expect_near(attention.grad_k, biased.grad_k);
  expect_near(attention.grad_v, biased.grad_v);
  expect_near(gradient, biased.grad_bias);
  expect_near(attention.out_tangent, biased.out_tangent);
  expect_near(attention.lse_tangent, biased.lse_tangent);
  expect_near(attention.grad_tangent.q, biased.grad_tangent.q);
  expect_near(attention.grad_tangent.k, biased.grad_tangent.k);
  expect_near(attention.grad_tangent.v, biased.grad_tangent.v);
  expect_near(tangent, biased.grad_tangent.bias);
}

TYPED_TEST(AttentionScoreCall, SoftcapOfALearnedCap) {
  AttentionInput input = Input();
  const double cap = 1.5, cap_tangent = 0.75;
  const auto bent = [=](double s) { return std::tanh(s / cap); };
  const auto slope = [=](double s) { return 1 - bent(s) * bent(s); };
  const auto moved = [=](double s, double s_tangent) {  // s / cap
    return s_tangent / cap - s / cap * (cap_tangent / cap);
  };
  input.options.score = "cap * Tanh(s / cap)";
  input.score = [=](double s, const AttentionPair&) { return cap * bent(s); };
  input.score_derivative = [=](double s, const AttentionPair&) { return slope(s); };
  input.score_tangent = [=](double s, double s_tangent, const AttentionPair&) {
    return cap_tangent * bent(s) + cap * slope(s) * moved(s, s_tangent);
  };
  input.score_derivative_tangent = [=](double s, double s_tangent, const AttentionPair&) {
    return -2 * bent(s) * slope(s) * moved(s, s_tangent);
  };
  AttentionCase<TypeParam> attention(input);
  auto caps = Array<TypeParam>::Of({}, {cap}), direction = Array<TypeParam>::Of({}, {cap_tangent});
  attention.score_names = {"cap"};
  attention.score_args = {caps};
  attention.score_arg_tangents = {direction};
  CheckAll(attention);
}

// Documents, a sliding window and lengths.
TYPED_TEST(AttentionScoreCall, MasksByFormula) {
  AttentionInput input = Input(200, 200);
  input.lengths_q = {200, 150};
  input.lengths_k = {200, 160};
  input.options.score = "Where((doc(b, i) == doc(b, j)) * (Abs(i - j) < 40), s, -inf)";
  std::vector<double> documents(400);
  for (std::size_t k = 0; k < 400; ++k) documents[k] = static_cast<double>(k / 70);
  input.score = [=](double s, const AttentionPair& at) {
    const auto document = [&](std::int64_t row) {
      return documents[static_cast<std::size_t>(at.batch * 200 + row)];
    };
    const bool takes_part = document(at.query) == document(at.key);
    return takes_part && std::abs(at.query - at.key) < 40 ? s : -kInfinity;
  };
  AttentionCase<TypeParam> attention(input);
  auto doc = Array<std::int64_t>::Of({2, 200}, documents);
  attention.score_names = {"doc"};
  attention.score_args = {doc};
  CheckAll(attention);
}

// What a formula leaves out is never seen, forward or backward.
TYPED_TEST(AttentionScoreCall, LeftOutKeysMayBeNaN) {
  AttentionInput input = Input();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto spoil = [&](std::vector<double>& values, std::int64_t width) {
    for (std::int64_t head = 0; head < 4; ++head) {
      for (std::int64_t j = 250; j < 301; ++j) {
        const double value = j % 2 == 0 ? nan : kInfinity;
        values[static_cast<std::size_t>((head * 301 + j) * width + j % width)] = value;
      }
    }
  };
  spoil(input.k, input.dim);
  spoil(input.v, input.value_dim);
  input.options.score = "Where(j < 250, s - Abs(i - j) / 64, -inf)";
  input.score = [](double s, const AttentionPair& at) {
    return at.key < 250 ? s - static_cast<double>(std::abs(at.query - at.key)) / 64 : -kInfinity;
  };
  AttentionCase<TypeParam> attention(input);
  attention.direction.k.Set(255 * 20 + 3, nan);
  attention.direction.v.Set(256 * 12 + 4, kInfinity);
  CheckAll(attention);
  for (std::int64_t c = 0; c < 20; ++c) {
    EXPECT_EQ(attention.grad_k.Get(260 * 20 + c), 0);
    EXPECT_EQ(attention.grad_tangent.k.Get(255 * 20 + c), 0);
  }
  for (std::int64_t c = 0; c < 12; ++c) {
    EXPECT_EQ(attention.grad_v.Get(260 * 12 + c), 0);
    EXPECT_EQ(attention.grad_tangent.v.Get(256 * 12 + c), 0);
  }
}

// -inf excludes a pair, whatever is added to it: of a formula that is known to before products are
// formed, and of one that is not.
TYPED_TEST(AttentionScoreCall, LeftOutPairsMayHaveAnyBias) {
  for (const char* const formula : {"Where(j >= 130, s, -inf)", "s + Log(j >= 130)"}) {
    AttentionInput input = Input();
    Resize(input.bias, {1, 4, 70, 301});
    std::mt19937 random(8);
    FillNormal(random, input);
    for (std::size_t k = 0; k < input.bias.values.size(); ++k) {
      if (k % 301 < 130 && k % 7 != 0) {
        input.bias.values[k] = k % 3 == 0 ? kInfinity : std::numeric_limits<double>::quiet_NaN();
      }
    }
    input.options.score = formula;
    input.score = [](double s, const AttentionPair& at) { return at.key < 130 ? -kInfinity : s; };
    AttentionCase<TypeParam> attention(input);
    CheckAll(attention);
  }
}

// A row whose every score the formula makes -inf is a row without keys.
TYPED_TEST(AttentionScoreCall, NothingTakesPart) {
  AttentionInput input = Input();
  input.options.score = "Where(i == 3, -inf, s)";
  input.score = [](double s, const AttentionPair& at) { return at.query == 3 ? -kInfinity : s; };
  AttentionCase<TypeParam> attention(input);
  CheckAll(attention);
  EXPECT_EQ(attention.lse.Get(3), -kInfinity);
  EXPECT_EQ(attention.out.Get(3 * 12), 0);
  EXPECT_EQ(attention.grad_q.Get(3 * 20), 0);
  EXPECT_EQ(attention.out_tangent.Get(3 * 12), 0);
  EXPECT_EQ(attention.grad_tangent.q.Get(3 * 20), 0);
}

TYPED_TEST(AttentionScoreCall, NoPairs) {
  for (const auto& [queries, keys] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 5}, {5, 0}, {0, 0}}) {
    AttentionInput input = Input(queries, keys);
    input.options.score = "s * slope(h) + x(i) - y(i, j)";
    AttentionCase<TypeParam> attention(input);
    auto slope = Array<TypeParam>::Of({4}, {1, 2, 3, 4}), gradient = slope, tangent = slope;
    Array<TypeParam> x({queries}), y({queries, keys});
    attention.score_names = {"slope", "x", "y"};
    attention.score_args = {slope, x, y};
    attention.grad_score_args = {gradient, x, y};
    attention.score_arg_tangents = attention.score_args;
    attention.grad_score_arg_tangents = {tangent, x, y};
    CheckAll(attention);
    for (std::int64_t h = 0; h < 4; ++h) {
      EXPECT_EQ(gradient.Get(h), 0);
      EXPECT_EQ(tangent.Get(h), 0);
    }
  }
}

// Every kind of sum, with the same bits for every number of threads.
TYPED_TEST(AttentionScoreCall, ThreadsChangeNothing) {
  AttentionInput input = Input(150, 700);
  input.options.causal = AttentionOptions::Causal::bottom_right;
  input.options.score = "s * t + x(i, j) * Tanh(y(b, i)) - z(j, h) + w(b, h, i, j)";
  AttentionCase<TypeParam> attention(input);
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  std::vector<Array<TypeParam>> arrays, directions, gradients, tangents;
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {}, {150, 700}, {2, 150}, {700, 4}, {2, 4, 150, 700}}) {
    arrays.emplace_back(shape).Fill([&] { return normal(random); });
    directions.emplace_back(shape).Fill([&] { return normal(random); });
    gradients.emplace_back(shape);
    tangents.emplace_back(shape);
  }
  attention.score_names = {"t", "x", "y", "z", "w"};
  for (auto& array : arrays) attention.score_args.push_back(array);
  for (auto& array : directions) attention.score_arg_tangents.push_back(array);
  for (auto& gradient : gradients) attention.grad_score_args.push_back(gradient);
  for (auto& gradient : tangents) attention.grad_score_arg_tangents.push_back(gradient);
  std::vector<std::vector<double>> first;
  for (const int threads : {1, 2, 5}) {
    attention.Run(threads);
    attention.RunBackward(threads);
    attention.RunTangent(threads);
    attention.RunBackwardTangent(threads);
    std::vector<std::vector<double>> results = {attention.Values(attention.out),
                                                attention.Values(attention.lse),
                                                attention.Values(attention.grad_q),
                                                attention.Values(attention.grad_k),
                                                attention.Values(attention.out_tangent),
                                                attention.Values(attention.lse_tangent),
                                                attention.Values(attention.grad_tangent.q),
                                                attention.Values(attention.grad_tangent.k)};
    for (const auto* all : {&gradients, &tangents}) {
      for (const auto& gradient : *all) results.push_back(attention.Values(gradient));
    }
    if (threads == 1) {
      first = results;
    } else {
      EXPECT_EQ(results, first) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace logsum::testing
