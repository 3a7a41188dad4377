// The tangents of attention's gradients against the reference: sizes, features, types, what moves,
// threads, special values.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "array.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/backward_plan.hpp"
#include "attention_backward_tangent_check.hpp"
#include "attention_case.hpp"
#include "attention_inputs.hpp"
#include "attention_problem.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

using Causal = AttentionOptions::Causal;

// With sinks, a cap and a bias.
AttentionInput Rich(std::mt19937& random) {
  AttentionInput input = MakeInput(70, 150, 10, 12);
  input.heads = 2;
  input.options.softcap = 2;
  input.sinks.resize(2);
  Resize(input.bias, {1, 2, 70, 150});
  FillNormal(random, input);
  return input;
}

// Around the sizes of tiles, blocks and groups.
TEST(AttentionBackwardTangent, QueriesAndKeys) {
  std::mt19937 random(1);
  for (const std::int64_t queries : {0, 1, 31, 32, 33, 255, 256, 257, 513}) {
    for (const std::int64_t keys : {0, 1, 63, 64, 65, 128, 257}) {
      AttentionInput input = MakeInput(queries, keys, 5, 3);
      FillNormal(random, input);
      CheckTangents<float>(input);
    }
  }
}

// Enough keys for dq to be folded.
TEST(AttentionBackwardTangent, ManyKeys) {
  std::mt19937 random(16);
  AttentionInput input = MakeInput(40, 2100, 5, 3);
  FillNormal(random, input);
  CheckTangents<float>(input);
  CheckTangents<double>(input);
}

TEST(AttentionBackwardTangent, NoBatch) {
  for (const std::array<std::int64_t, 4>& shape :
       {std::array<std::int64_t, 4>{1, 2, 3, 4}, {1, 1, 1, 4}, {1, 2, 3, 1}, {1, 1, 1, 1}}) {
    std::mt19937 random(14);
    AttentionInput input = MakeInput(3, 4, 2, 2);
    input.batch = 0;
    input.heads = input.kv_heads = 2;
    input.sinks.resize(2);
    Resize(input.bias, shape);
    FillNormal(random, input);
    AttentionCase<float> work(input);
    for (std::int64_t at = 0; at < work.grad_bias.Size(); ++at) work.grad_tangent.bias.Set(at, 5);
    CheckTangents(work, 0);
  }
}

TEST(AttentionBackwardTangent, Dimensions) {
  std::mt19937 random(2);
  for (const std::int64_t dim : {0, 1, 15, 16, 17, 33, 64, 130}) {
    for (const std::int64_t value_dim : {0, 1, 16, 17, 80, 129}) {
      AttentionInput input = MakeInput(40, 131, dim, value_dim);
      FillNormal(random, input);
      CheckTangents<float>(input);
      CheckTangents<double>(input);
    }
  }
}

template <class T>
class AttentionBackwardTangentTyped : public ::testing::Test {};
using Types = ::testing::Types<float, double, Half, BFloat16>;
TYPED_TEST_SUITE(AttentionBackwardTangentTyped, Types);

TYPED_TEST(AttentionBackwardTangentTyped, HeadsAndStrides) {
  std::mt19937 random(3);
  for (const std::int64_t kv_heads : {1, 2, 6}) {
    const AttentionInput input = DrawHeads(random, kv_heads);
    CheckTangents<TypeParam>(input);
    CheckTangents<TypeParam>(input, kRowsBeforeHeads);
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, EveryShapeOfBias) {
  std::mt19937 random(4);
  for (unsigned axes = 0; axes < 16; ++axes) {
    for (const std::int64_t queries : {40, 270}) {
      CheckTangents<TypeParam>(DrawBias(random, axes, queries));
    }
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, EverySetOfMoves) {
  std::mt19937 random(5);
  const AttentionInput input = Rich(random);
  for (unsigned set = 0; set < 32; ++set) {
    const auto has = [&](unsigned array) { return (set >> array & 1) != 0; };
    CheckTangents<TypeParam>(
        input, {}, {.q = has(0), .k = has(1), .v = has(2), .bias = has(3), .sinks = has(4)});
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, Features) {
  std::mt19937 random(6);
  for (int n = 0; n < 30; ++n) {
    const AttentionInput input = DrawFeatures(random);
    const auto any = [&] { return random() % 4 != 0; };
    CheckTangents<TypeParam>(input, n % 2 == 0 ? std::vector<int>{} : kRowsBeforeHeads,
                             {.q = any(), .k = any(), .v = any(), .bias = any(), .sinks = any()});
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, LongAndShort) {
  std::mt19937 random(7);
  for (const AttentionInput& input : DrawLongAndShort(random)) CheckTangents<TypeParam>(input);
}

template <class T>
std::vector<double> TangentsOf(AttentionCase<T>& work, int threads) {
  work.RunBackwardTangent(threads);
  std::vector<double> all;
  const BesideArguments<T>& given = work.grad_tangent;
  for (const Array<T>* array : {&given.q, &given.k, &given.v, &given.bias, &given.sinks}) {
    const std::vector<double> values = AttentionCase<T>::Values(*array);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST(AttentionBackwardTangent, SameBitsForEveryThreadCount) {
  std::mt19937 random(8);
  for (int n = 0; n < 8; ++n) {
    AttentionCase<float> work(DrawLong(random, n));
    work.Run();
    work.RunTangent();
    const std::vector<double> one = TangentsOf(work, 1);
    for (const int threads : {2, 3, 8}) EXPECT_EQ(TangentsOf(work, threads), one);
  }
}

TEST(AttentionBackwardTangent, EveryTarget) {
  EnsureTarget();
  OfEachTarget([] {
    std::mt19937 random(9);
    const AttentionInput input = DrawWithin(random);
    CheckTangents<float>(input);
    CheckTangents<double>(input);
    return 0;
  });
}

// Sums of equal terms find what a chain of additions loses: where only a sink moves, p does.
TEST(AttentionBackwardTangent, ConstantsOverLongContexts) {
  for (const auto& [queries, keys] : {std::array{5, 65536}, {65536, 5}}) {
    AttentionInput input = MakeInput(queries, keys, 3, 2);
    std::mt19937 random(10);
    input.sinks.resize(1);
    FillNormal(random, input);
    for (auto* values : {&input.q, &input.k, &input.v}) {
      for (double& value : *values) value = 0.1;
    }
    input.sinks[0] = std::log(keys);
    AttentionCase<float> work(input);
    work.moves = {.q = false, .k = false, .v = false};
    for (std::int64_t i = 0; i < work.grad_out.Size(); ++i) work.grad_out.Set(i, 0.7);
    for (std::int64_t i = 0; i < work.grad_lse.Size(); ++i) work.grad_lse.Set(i, 0.3);
    CheckTangents(work, 12);
  }
}

// What a thread works in, for the longest context that the documentation states.
TEST(AttentionBackwardTangent, MemoryOfAThread) {
  for (const std::int64_t dim : {64, 128}) {
    const AttentionInput input = MakeInput(65536, 65536, dim, dim);
    attend::Problem problem = MakeProblem(input);
    problem.dim = problem.value_dim = dim;
    const attend::BackwardPlan plan = attend::MakeBackwardPlan(problem, {}, false, false);
    EXPECT_LE(attend::KernelsOfBackwardTangent<float>().bytes(problem, plan, 0), 8'000'000) << dim;
  }
}

struct BesideTensors {
  Tensor q, k, v, bias, sinks;

  template <class T>
  explicit BesideTensors(BesideArguments<T>& of)
      : q(of.q), k(of.k), v(of.v), bias(of.bias), sinks(of.sinks) {}
};

// Along `moves`, where `wanted` says.
template <class T, class U>
void RunTo(AttentionCase<T>& work, BesideArguments<U>& moves, AttentionGradients wanted) {
  const BesideTensors along(moves);
  Tensor bias = work.bias, sinks = work.sinks;
  const Tensor grad_lse = work.grad_lse;
  AttentionArrays arrays;
  arrays.bias = &bias;
  arrays.sinks = &sinks;
  attention_backward_tangent(work.grad_out, &grad_lse, work.q, work.k, work.v, arrays, work.out,
                             work.lse, {&along.q, &along.k, &along.v, &along.bias, &along.sinks},
                             work.out_tangent, work.lse_tangent, wanted, work.input().options);
}

// Each tangent of a gradient alone has the bits that it has among all.
TEST(AttentionBackwardTangent, OneAtATime) {
  std::mt19937 random(17);
  AttentionCase<float> work(Rich(random));
  RunWithTangents(work);
  const BesideArguments<float>& given = work.grad_tangent;
  BesideArguments<float> alone = work.direction;  // of those shapes
  BesideTensors to(alone);
  RunTo(work, work.direction, {.q = &to.q});
  RunTo(work, work.direction, {.k = &to.k});
  RunTo(work, work.direction, {.v = &to.v});
  RunTo(work, work.direction, {.bias = &to.bias});
  RunTo(work, work.direction, {.sinks = &to.sinks});
  EXPECT_TRUE(alone.q == given.q);
  EXPECT_TRUE(alone.k == given.k);
  EXPECT_TRUE(alone.v == given.v);
  EXPECT_TRUE(alone.bias == given.bias);
  EXPECT_TRUE(alone.sinks == given.sinks);
}

// Directions, and where tangents of gradients go, may be of the arithmetic's type.
TEST(AttentionBackwardTangent, HalfBesideFloat) {
  std::mt19937 random(18);
  AttentionCase<Half> work(Rich(random));
  RunWithTangents(work);
  const auto widened = [](const Array<Half>& array, std::vector<std::int64_t> shape) {
    return Array<float>::Of(std::move(shape), AttentionCase<Half>::Values(array));
  };
  const std::vector<std::int64_t> q = {1, 2, 70, 10}, k = {1, 1, 150, 10}, v = {1, 1, 150, 12},
                                  bias = {1, 2, 70, 150}, sinks = {2};
  const BesideArguments<Half>&along = work.direction, &given = work.grad_tangent;
  BesideArguments<float> moves{widened(along.q, q), widened(along.k, k), widened(along.v, v),
                               widened(along.bias, bias), widened(along.sinks, sinks)};
  BesideArguments<float> to = moves;
  BesideTensors of(to);
  RunTo(work, moves, {&of.q, &of.k, &of.v, &of.bias, &of.sinks});
  const auto check = [&](const Array<float>& wide, const Array<Half>& narrow) {
    for (std::int64_t i = 0; i < narrow.Size(); ++i) {
      ASSERT_EQ(ToFloat(FromDouble<Half>(wide.Get(i))), narrow.Get(i)) << i;
    }
  };
  check(to.q, given.q);
  check(to.k, given.k);
  check(to.v, given.v);
  check(to.bias, given.bias);
  check(to.sinks, given.sinks);
}

}  // namespace
}  // namespace logsum::testing
