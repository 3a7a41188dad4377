// The tangents of attention's gradients with score formulas: against the reference, and, arrays
// too, against differences of gradients.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "attention_backward_tangent_check.hpp"
#include "attention_case.hpp"

namespace logsum::testing {
namespace {

AttentionInput Input(std::int64_t queries, std::int64_t keys) {
  AttentionInput input;
  input.batch = 2;
  input.heads = 4;
  input.kv_heads = 2;
  input.queries = queries;
  input.keys = keys;
  input.dim = 5;
  input.value_dim = 3;
  return input;
}

template <class T>
class AttentionBackwardTangentScore : public ::testing::Test {};
using Types = ::testing::Types<float, double, Half, BFloat16>;
TYPED_TEST_SUITE(AttentionBackwardTangentScore, Types);

TYPED_TEST(AttentionBackwardTangentScore, AnArrayThatMoves) {
  for (const bool has_cap : {false, true}) {
    AttentionInput input = Input(70, 301);
    if (has_cap) input.options.softcap = 2;
    if (has_cap) Resize(input.bias, {1, 1, 70, 1});
    std::mt19937 random(5);
    FillNormal(random, input);
    const double slope = 0.75, slope_tangent = 1.25;
    const auto squared = [](double x) { return x * x; };
    input.options.score = "s + slope * Tanh(s)";
    input.score = [=](double s, const AttentionPair&) { return s + slope * std::tanh(s); };
    input.score_derivative = [=](double s, const AttentionPair&) {
      return 1 + slope / squared(std::cosh(s));
    };
    input.score_tangent = [=](double s, double moved, const AttentionPair&) {
      return moved + slope_tangent * std::tanh(s) + slope * moved / squared(std::cosh(s));
    };
    input.score_derivative_tangent = [=](double s, double moved, const AttentionPair&) {
      return (slope_tangent - 2 * slope * std::tanh(s) * moved) / squared(std::cosh(s));
    };
    AttentionCase<TypeParam> work(input);
    auto array = Array<TypeParam>::Of({}, {slope}), moves = Array<TypeParam>::Of({}, {1.25});
    work.score_names = {"slope"};
    work.score_args = {array};
    work.score_arg_tangents = {moves};
    CheckTangents(work);
  }
}

// What a formula leaves out is never seen, nor is its tangent.
TYPED_TEST(AttentionBackwardTangentScore, LeftOutKeysMayBeNaN) {
  AttentionInput input = Input(70, 301);
  std::mt19937 random(6);
  FillNormal(random, input);
  for (std::int64_t head = 0; head < 4; ++head) {
    for (std::int64_t j = 250; j < 301; ++j) {
      input.k[static_cast<std::size_t>((head * 301 + j) * 5 + j % 5)] = j % 2 == 0 ? kNaN : kInf;
    }
  }
  input.options.score = "Where(j < 250, s - Abs(i - j) / 64, -inf)";
  input.score = [](double s, const AttentionPair& at) {
    return at.key < 250 ? s - static_cast<double>(std::abs(at.query - at.key)) / 64 : -kInf;
  };
  AttentionCase<TypeParam> work(input);
  for (std::int64_t j = 260; j < 290; ++j) work.direction.k.Set(j * 5 + j % 5, kNaN);
  CheckTangents(work);
}

// Every kind of sum: in the formula's own arrays, whose gradients move along all arrays at once.
class Differences {
 public:
  Differences() : input_(Input(40, 150)) {
    input_.options.causal = AttentionOptions::Causal::bottom_right;
    input_.options.softcap = 3;
    input_.options.score = "s * t + x(i, j) * Tanh(s * y(b, i)) - z(j, h) * s + w(b, h, i, j)";
    input_.sinks.resize(4);
    Resize(input_.bias, {1, 4, 1, 150});
    std::mt19937 random(9);
    FillNormal(random, input_);
    std::normal_distribution<double> normal;
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
             {}, {40, 150}, {2, 40}, {150, 4}, {2, 4, 40, 150}}) {
      arrays_.emplace_back(shape).Fill([&] { return normal(random); });
      moves_.emplace_back(shape).Fill([&] { return normal(random); });
    }
  }

  void Check() {
    std::vector<Array<double>> tangents = moves_;
    AttentionCase<double> work = Case(0, arrays_);
    for (std::size_t k = 0; k < moves_.size(); ++k) {
      work.score_arg_tangents.push_back(moves_[k]);
      work.grad_score_arg_tangents.push_back(tangents[k]);
    }
    RunWithTangents(work);
    const std::vector<std::vector<double>> before = GradientsAt(-kStep), after = GradientsAt(kStep);
    std::vector<std::vector<double>> all;
    const BesideArguments<double>& given = work.grad_tangent;
    for (const auto* array : {&given.q, &given.k, &given.v, &given.bias, &given.sinks}) {
      all.push_back(work.Values(*array));
    }
    for (const Array<double>& tangent : tangents) all.push_back(work.Values(tangent));
    for (std::size_t n = 0; n < all.size(); ++n) {
      for (std::size_t i = 0; i < all[n].size(); ++i) {
        const double expected = (after[n][i] - before[n][i]) / (2 * kStep);
        ASSERT_NEAR(all[n][i], expected, 1e-5 * (1 + std::fabs(expected))) << n << " at " << i;
      }
    }
    std::vector<Array<double>> one = tangents;
    for (const int threads : {1, 3}) {
      work.RunBackwardTangent(threads);
      for (std::size_t k = 0; k < one.size(); ++k) EXPECT_TRUE(tangents[k] == one[k]) << k;
    }
  }

 private:
  // A third derivative times its square is what differences err by, beside their rounding over it.
  static constexpr double kStep = 1e-5;

  AttentionCase<double> Case(double step, std::vector<Array<double>>& arrays) {
    const AttentionCase<double> here(input_);
    const auto move = [step](std::vector<double>& values, const Array<double>& by) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] += step * by.Get(static_cast<std::int64_t>(i));
      }
    };
    AttentionInput moved = input_;
    move(moved.q, here.direction.q);
    move(moved.k, here.direction.k);
    move(moved.v, here.direction.v);
    move(moved.bias.values, here.direction.bias);
    move(moved.sinks, here.direction.sinks);
    AttentionCase<double> work(moved);
    work.score_names = {"t", "x", "y", "z", "w"};
    for (Array<double>& array : arrays) work.score_args.push_back(array);
    return work;
  }

  std::vector<std::vector<double>> GradientsAt(double step) {
    std::vector<Array<double>> arrays = arrays_, gradients = arrays_;
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      for (std::int64_t i = 0; i < arrays[k].Size(); ++i) {
        arrays[k].Set(i, arrays[k].Get(i) + step * moves_[k].Get(i));
      }
    }
    AttentionCase<double> work = Case(step, arrays);
    for (Array<double>& gradient : gradients) work.grad_score_args.push_back(gradient);
    work.Run();
    work.RunBackward();
    std::vector<std::vector<double>> all;
    for (const auto* array :
         {&work.grad_q, &work.grad_k, &work.grad_v, &work.grad_bias, &work.grad_sinks}) {
      all.push_back(work.Values(*array));
    }
    for (const Array<double>& gradient : gradients) all.push_back(work.Values(gradient));
    return all;
  }

  AttentionInput input_;
  std::vector<Array<double>> arrays_, moves_;
};

TEST(AttentionBackwardTangentDifferences, EveryKindOfArray) { Differences().Check(); }

}  // namespace
}  // namespace logsum::testing
