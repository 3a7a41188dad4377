// The tangents that attention's are compared with, themselves against central differences.
#include "attention_tangent_reference.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "array.hpp"
#include "attention_case.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"

namespace logsum::testing {
namespace {

constexpr double kStep = 1e-4;
// Beside the tangents' own size: a difference's third derivative times kStep^2, and its rounding
// over kStep.
constexpr double kTolerance = 1e-5;

std::vector<double> Draw(std::mt19937& random, std::size_t count) {
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

// What moves, now and then.
AttentionDirection DrawDirection(std::mt19937& random, const AttentionInput& input) {
  const auto draw = [&](const std::vector<double>& array) {
    return Draw(random, random() % 4 == 0 ? 0 : array.size());
  };
  return {draw(input.q), draw(input.k), draw(input.v), draw(input.bias.values), draw(input.sinks)};
}

AttentionInput Moved(AttentionInput input, const AttentionDirection& direction, double step) {
  const auto move = [step](std::vector<double>& array, const std::vector<double>& by) {
    for (std::size_t i = 0; i < by.size(); ++i) array[i] += step * by[i];
  };
  move(input.q, direction.q);
  move(input.k, direction.k);
  move(input.v, direction.v);
  move(input.bias.values, direction.bias);
  move(input.sinks, direction.sinks);
  return input;
}

void CheckTangent(const char* name, const JudgedValues& before, const JudgedValues& after,
                  const JudgedValues& tangent) {
  ASSERT_EQ(tangent.value.size(), after.value.size()) << name;
  for (std::size_t i = 0; i < tangent.value.size(); ++i) {
    const double expected = after.value[i] == before.value[i]  // where both are -inf, too
                                ? 0
                                : (after.value[i] - before.value[i]) / (2 * kStep);
    ASSERT_NEAR(tangent.value[i], expected, kTolerance * (1 + tangent.unit[i])) << name << i;
    // An error is judged by no less than the value's own rounding.
    ASSERT_LE(std::fabs(tangent.value[i]), tangent.unit[i] * (1 + 1e-9)) << name << i;
  }
}

AttentionInput DrawInput(std::mt19937& random) {
  const auto at_most = [&](int size) { return static_cast<std::int64_t>(1 + random() % size); };
  AttentionInput input;
  input.batch = at_most(2);
  input.kv_heads = at_most(2);
  input.heads = input.kv_heads * at_most(3);
  input.queries = at_most(6);
  input.keys = at_most(9);
  input.dim = at_most(4);
  input.value_dim = at_most(4);
  if (random() % 2 == 0) DrawRegion(random, input);
  const auto draw_shape = [&](BroadcastValues& array) {
    const auto size = [&](std::int64_t all) { return random() % 2 == 0 ? all : 1; };
    Resize(array, {size(input.batch), size(input.heads), size(input.queries), size(input.keys)});
  };
  if (random() % 3 == 0) draw_shape(input.mask);
  if (random() % 2 == 0) draw_shape(input.bias);
  if (random() % 2 == 0) input.sinks.resize(static_cast<std::size_t>(input.heads));
  if (random() % 2 == 0) input.options.softcap = 1.5;
  if (random() % 3 == 0) input.options.scale = 0.7;
  FillNormal(random, input);
  return input;
}

TEST(AttentionTangentReference, CentralDifferences) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    AttentionInput input = DrawInput(random);
    const AttentionDirection direction = DrawDirection(random, input);
    for (double& value : input.bias.values) {
      if (random() % 5 == 0) value = -kInf;
    }
    const bool has_score = random() % 2 == 0;
    const auto heads = static_cast<std::size_t>(input.heads);
    const std::vector<double> slopes = Draw(random, heads), slope_tangents = Draw(random, heads);
    const auto at = [&](double step) {
      AttentionInput moved = Moved(input, direction, step);
      std::vector<double> moved_slopes = slopes;
      for (std::size_t h = 0; h < heads; ++h) moved_slopes[h] += step * slope_tangents[h];
      if (has_score) SetBentScore(moved, moved_slopes, slope_tangents);
      return AttentionReference(moved);
    };
    AttentionReference here = at(0), before = at(-kStep), after = at(kStep);
    AttentionTangentReference tangent(here, direction);
    SCOPED_TRACE(Describe(input));
    CheckTangent("out", before.out, after.out, tangent.out);
    CheckTangent("lse", before.lse, after.lse, tangent.lse);
    const auto grad_out = Draw(random, here.out.value.size());
    const auto grad_lse = Draw(random, random() % 4 == 0 ? 0 : here.lse.value.size());
    before.Differentiate(grad_out, grad_lse);
    after.Differentiate(grad_out, grad_lse);
    tangent.Differentiate(grad_out, grad_lse);
    CheckTangent("grad q", before.grad_q, after.grad_q, tangent.grad_q);
    CheckTangent("grad k", before.grad_k, after.grad_k, tangent.grad_k);
    CheckTangent("grad v", before.grad_v, after.grad_v, tangent.grad_v);
    CheckTangent("grad bias", before.grad_bias, after.grad_bias, tangent.grad_bias);
    CheckTangent("grad sinks", before.grad_sinks, after.grad_sinks, tangent.grad_sinks);
    CheckTangent("grad score", before.grad_score, after.grad_score, tangent.grad_score);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

// Bias moves only where it is finite: a difference of infinities says nothing.
TEST(AttentionTangentReference, InfiniteScoresShare) {
  std::mt19937 random(4);
  AttentionInput input;
  input.queries = 2;
  input.keys = 7;
  input.dim = input.value_dim = 3;
  Resize(input.bias, {1, 1, 2, 7});
  FillNormal(random, input);
  for (const std::size_t at : {2, 5}) input.bias.values[at] = kInf;
  const AttentionReference here(input);
  AttentionDirection direction;
  direction.bias.assign(14, 0.0);
  direction.bias[2] = 3;
  direction.bias[3] = 8;  // not one of those that share
  const AttentionTangentReference tangent(here, direction);
  EXPECT_EQ(tangent.lse.value[0], 1.5);
  EXPECT_NEAR(tangent.out.value[0], 0.75 * (input.v[2 * 3] - input.v[5 * 3]), 1e-12);
}

}  // namespace
}  // namespace logsum::testing
