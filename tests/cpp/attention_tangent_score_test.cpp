// Tangents of attention with score formulas, whose arrays move too, against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "attention_case.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

// Those of attention_tangent_test.cpp, and as many of a formula and its derivative.
constexpr double kRoundings = 80;

AttentionInput Input(std::mt19937& random) {
  AttentionInput input;
  input.batch = 2;
  input.heads = 4;
  input.kv_heads = 2;
  input.queries = 70;
  input.keys = 150;
  input.dim = 20;
  input.value_dim = 12;
  input.options.softcap = 4;
  input.options.causal = AttentionOptions::Causal::bottom_right;
  input.sinks.resize(4);
  Resize(input.bias, {1, 1, 70, 150});
  FillNormal(random, input);
  return input;
}

// beta(h) s - slope(h) |i - j|, where the arrays move by what is given, or stay if that is empty.
template <class T>
void CheckSlopes(AttentionInput input, const std::vector<double>& moved_beta,
                 const std::vector<double>& moved_slope, Moves moves = {}) {
  const std::vector<double> beta = {0.5, 2, -1, 0}, slope = {0.25, 0.125, 0, 0.5};
  const auto of = [](const std::vector<double>& values, const AttentionPair& at) {
    return values.empty() ? 0 : values[static_cast<std::size_t>(at.head)];
  };
  const auto distance = [](const AttentionPair& at) {
    return static_cast<double>(std::abs(at.query - at.key));
  };
  input.options.score = "beta(h) * s - slope(h) * Abs(i - j)";
  input.score = [=](double s, const AttentionPair& at) {
    return of(beta, at) * s - of(slope, at) * distance(at);
  };
  input.score_derivative = [=](double, const AttentionPair& at) { return of(beta, at); };
  input.score_tangent = [=](double s, double moved, const AttentionPair& at) {
    return of(beta, at) * moved + of(moved_beta, at) * s - of(moved_slope, at) * distance(at);
  };
  AttentionCase<T> work(input);
  const auto array = [](const std::vector<double>& values) {
    return Array<T>::Of({std::ssize(values)}, values);
  };
  Array<T> beta_array = array(beta), slope_array = array(slope);
  Array<T> beta_tangent = array(moved_beta), slope_tangent = array(moved_slope);
  work.score_names = {"beta", "slope"};
  work.score_args = {beta_array, slope_array};
  work.moves = moves;
  if (!moved_beta.empty() || !moved_slope.empty()) {
    work.score_arg_tangents = {beta_tangent, slope_tangent};
    if (moved_beta.empty()) work.score_arg_tangents[0].data = nullptr;
    if (moved_slope.empty()) work.score_arg_tangents[1].data = nullptr;
  }
  work.Run();
  work.RunTangent();
  work.CheckTangent(kRoundings);
}

template <class T>
class AttentionTangentScore : public ::testing::Test {};
using Types = ::testing::Types<float, double, Half, BFloat16>;
TYPED_TEST_SUITE(AttentionTangentScore, Types);

TYPED_TEST(AttentionTangentScore, ArraysThatMoveOrStay) {
  std::mt19937 random(1);
  const AttentionInput input = Input(random);
  const std::vector<double> beta = {0.5, -1, 2, 0.25}, slope = {1, 0.5, -0.5, 0.125};
  CheckSlopes<TypeParam>(input, {}, {});
  CheckSlopes<TypeParam>(input, beta, {});
  CheckSlopes<TypeParam>(input, {}, slope);
  CheckSlopes<TypeParam>(input, beta, slope);
  const Moves nothing{false, false, false, false, false};
  CheckSlopes<TypeParam>(input, beta, slope, nothing);
  CheckSlopes<TypeParam>(input, {}, {}, nothing);
}

TEST(AttentionTangentScores, EveryTarget) {
  EnsureTarget();
  OfEachTarget([] {
    std::mt19937 random(2);
    const AttentionInput input = Input(random);
    CheckSlopes<float>(input, {1, 2, 3, 4}, {0.5, 0, -0.5, 1});
    CheckSlopes<double>(input, {1, 2, 3, 4}, {0.5, 0, -0.5, 1});
    return 0;
  });
}

// A pair that a formula excludes takes no part, though its derivative is infinite there.
TEST(AttentionTangentScores, ExcludedPairs) {
  std::mt19937 random(3);
  AttentionInput input = Input(random);
  std::vector<double> weights(150), moved(150);
  for (std::size_t j = 0; j < 150; ++j) {
    weights[j] = j % 3 == 0 ? 0 : 1 + static_cast<double>(j % 5);
    moved[j] = static_cast<double>(j % 7) - 3;
  }
  input.options.score = "s + Log(weight(j))";
  input.score = [=](double s, const AttentionPair& at) {
    return s + std::log(weights[static_cast<std::size_t>(at.key)]);
  };
  input.score_tangent = [=](double, double s_tangent, const AttentionPair& at) {
    const auto j = static_cast<std::size_t>(at.key);
    return s_tangent + moved[j] / weights[j];
  };
  AttentionCase<float> work(input);
  auto weight = Array<float>::Of({150}, weights), tangent = Array<float>::Of({150}, moved);
  work.score_names = {"weight"};
  work.score_args = {weight};
  work.score_arg_tangents = {tangent};
  work.Run();
  work.RunTangent();
  work.CheckTangent(kRoundings);
}

}  // namespace
}  // namespace logsum::testing
