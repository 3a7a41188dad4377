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
}

// The array's gradient is the sum of slope(pair) over the pairs that read an element.
template <class T>
void CheckArray(AttentionCase<T>& attention, const Array<T>& gradient,
                const std::function<std::int64_t(const AttentionPair&)>& element_of,
                const std::function<double(const AttentionPair&)>& slope) {
  AttentionReference& reference = attention.Reference();
  reference.Differentiate(attention.Values(attention.grad_out),
                          attention.Values(attention.grad_lse));
  const AttentionInput& in = attention.input();
  std::vector<double> value(static_cast<std::size_t>(gradient.Size())), unit = value;
  std::size_t number = 0;
  for (std::int64_t b = 0; b < in.batch; ++b) {
    for (std::int64_t h = 0; h < in.heads; ++h) {
      for (std::int64_t i = 0; i < in.queries; ++i) {
        for (std::int64_t j = 0; j < in.keys; ++j, ++number) {
          const auto element = static_cast<std::size_t>(element_of({b, h, i, j}));
          const double by_element = slope({b, h, i, j});
          value[element] += by_element * reference.grad_score.value[number];
          unit[element] += std::abs(by_element) * reference.grad_score.unit[number];
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
  AttentionCase<TypeParam> attention(input);
  auto slope = Array<TypeParam>::Of({4}, slopes);
  Array<TypeParam> gradient({4});
  attention.score_names = {"slope"};
  attention.score_args = {slope};
  attention.grad_score_args = {gradient};
  CheckAll(attention);
  CheckArray<TypeParam>(
      attention, gradient, [](const AttentionPair& at) { return at.head; },
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
  Array<TypeParam> gradient({70, 301});
  attention.score_names = {"table"};
  attention.score_args = {table};
  attention.grad_score_args = {gradient};
  for (AttentionCase<TypeParam>* const one : {&biased, &attention}) {
    one->Run();
    one->RunBackward();
  }
  biased.Check(kMultiple);
  biased.CheckBackward(kMultiple);
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
}

TYPED_TEST(AttentionScoreCall, SoftcapOfALearnedCap) {
  AttentionInput input = Input();
  const double cap = 1.5;
  input.options.score = "cap * Tanh(s / cap)";
  input.score = [=](double s, const AttentionPair&) { return cap * std::tanh(s / cap); };
  input.score_derivative = [=](double s, const AttentionPair&) {
    return 1 - std::tanh(s / cap) * std::tanh(s / cap);
  };
  AttentionCase<TypeParam> attention(input);
  auto caps = Array<TypeParam>::Of({}, {cap});
  attention.score_names = {"cap"};
  attention.score_args = {caps};
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
  CheckAll(attention);
  for (std::int64_t c = 0; c < 20; ++c) EXPECT_EQ(attention.grad_k.Get(260 * 20 + c), 0);
  for (std::int64_t c = 0; c < 12; ++c) EXPECT_EQ(attention.grad_v.Get(260 * 12 + c), 0);
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
}

TYPED_TEST(AttentionScoreCall, NoPairs) {
  for (const auto& [queries, keys] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 5}, {5, 0}, {0, 0}}) {
    AttentionInput input = Input(queries, keys);
    input.options.score = "s * slope(h) + x(i) - y(i, j)";
    AttentionCase<TypeParam> attention(input);
    auto slope = Array<TypeParam>::Of({4}, {1, 2, 3, 4}), gradient = slope;
    Array<TypeParam> x({queries}), y({queries, keys});
    attention.score_names = {"slope", "x", "y"};
    attention.score_args = {slope, x, y};
    attention.grad_score_args = {gradient, x, y};
    attention.Run();
    attention.RunBackward();
    for (std::int64_t h = 0; h < 4; ++h) EXPECT_EQ(gradient.Get(h), 0);
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
  std::vector<Array<TypeParam>> arrays, gradients;
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {}, {150, 700}, {2, 150}, {700, 4}, {2, 4, 150, 700}}) {
    arrays.emplace_back(shape).Fill([&] { return normal(random); });
    gradients.emplace_back(shape);
  }
  attention.score_names = {"t", "x", "y", "z", "w"};
  for (auto& array : arrays) attention.score_args.push_back(array);
  for (auto& gradient : gradients) attention.grad_score_args.push_back(gradient);
  std::vector<std::vector<double>> first;
  for (const int threads : {1, 2, 5}) {
    attention.Run(threads);
    attention.RunBackward(threads);
    std::vector<std::vector<double>> results = {
        attention.Values(attention.out), attention.Values(attention.lse),
        attention.Values(attention.grad_q), attention.Values(attention.grad_k)};
    for (const auto& gradient : gradients) results.push_back(attention.Values(gradient));
    if (threads == 1) {
      first = results;
    } else {
      EXPECT_EQ(results, first) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace logsum::testing
