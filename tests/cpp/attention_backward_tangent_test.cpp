// The tangents of attention's gradients against the reference: sizes, features, types, what moves,
// threads, special values.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "array.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/backward_plan.hpp"
#include "attention_case.hpp"
#include "attention_problem.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

// Roundings of a unit (attention_reference.hpp): those of gradients, and once more of the tangents
// of scores, of lse and of out.
constexpr double kRoundings = 60;

using Causal = AttentionOptions::Causal;

template <class T>
void Check(const AttentionInput& input, const std::vector<int>& order = {},
           const Moves& moves = {}) {
  AttentionCase<T> work(input, order);
  work.moves = moves;
  work.Run();
  work.RunTangent();
  work.RunBackwardTangent();
  work.CheckBackwardTangent(kRoundings);
}

AttentionInput Sized(std::int64_t queries, std::int64_t keys, std::int64_t dim,
                     std::int64_t value_dim) {
  AttentionInput input;
  input.queries = queries;
  input.keys = keys;
  input.dim = dim;
  input.value_dim = value_dim;
  return input;
}

// With sinks, a cap and a bias.
AttentionInput Rich(std::mt19937& random) {
  AttentionInput input = Sized(70, 150, 10, 12);
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
      AttentionInput input = Sized(queries, keys, 5, 3);
      FillNormal(random, input);
      Check<float>(input);
    }
  }
}

// Enough keys for dq to be folded.
TEST(AttentionBackwardTangent, ManyKeys) {
  std::mt19937 random(16);
  AttentionInput input = Sized(40, 2100, 5, 3);
  FillNormal(random, input);
  Check<float>(input);
  Check<double>(input);
}

TEST(AttentionBackwardTangent, NoBatch) {
  for (const std::array<std::int64_t, 4>& shape :
       {std::array<std::int64_t, 4>{1, 2, 3, 4}, {1, 1, 1, 4}, {1, 2, 3, 1}, {1, 1, 1, 1}}) {
    std::mt19937 random(14);
    AttentionInput input = Sized(3, 4, 2, 2);
    input.batch = 0;
    input.heads = input.kv_heads = 2;
    input.sinks.resize(2);
    Resize(input.bias, shape);
    FillNormal(random, input);
    AttentionCase<float> work(input);
    for (std::int64_t at = 0; at < work.grad_bias.Size(); ++at) work.grad_tangent.bias.Set(at, 5);
    work.Run();
    work.RunTangent();
    work.RunBackwardTangent();
    work.CheckBackwardTangent(0);
  }
}

TEST(AttentionBackwardTangent, Dimensions) {
  std::mt19937 random(2);
  for (const std::int64_t dim : {0, 1, 15, 16, 17, 33, 64, 130}) {
    for (const std::int64_t value_dim : {0, 1, 16, 17, 80, 129}) {
      AttentionInput input = Sized(40, 131, dim, value_dim);
      FillNormal(random, input);
      Check<float>(input);
      Check<double>(input);
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
    AttentionInput input = Sized(70, 150, 18, 20);
    input.batch = 2;
    input.heads = 6;
    input.kv_heads = kv_heads;
    input.options.causal = Causal::bottom_right;
    FillNormal(random, input);
    Check<TypeParam>(input);
    Check<TypeParam>(input, kRowsBeforeHeads);
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, EveryShapeOfBias) {
  std::mt19937 random(4);
  for (unsigned axes = 0; axes < 16; ++axes) {
    for (const std::int64_t queries : {40, 270}) {
      AttentionInput input = Sized(queries, 140, 2, 2);
      input.batch = 2;
      input.heads = 2;
      const auto size = [&](unsigned axis, std::int64_t all) {
        return (axes >> axis & 1) != 0 ? all : 1;
      };
      Resize(input.bias, {size(0, 2), size(1, 2), size(2, queries), size(3, 140)});
      FillNormal(random, input);
      input.options.causal = axes % 3 == 0 ? Causal::top_left : Causal::none;
      Check<TypeParam>(input);
    }
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, EverySetOfMoves) {
  std::mt19937 random(5);
  const AttentionInput input = Rich(random);
  for (unsigned set = 0; set < 32; ++set) {
    const auto has = [&](unsigned array) { return (set >> array & 1) != 0; };
    Check<TypeParam>(input, {},
                     {.q = has(0), .k = has(1), .v = has(2), .bias = has(3), .sinks = has(4)});
  }
}

TYPED_TEST(AttentionBackwardTangentTyped, Features) {
  std::mt19937 random(6);
  for (int n = 0; n < 30; ++n) {
    AttentionInput input =
        Sized(1 + random() % 300, 1 + random() % 400, 1 + random() % 20, 1 + random() % 20);
    input.batch = 1 + random() % 2;
    input.kv_heads = 1 + random() % 2;
    input.heads = input.kv_heads * (1 + random() % 3);
    DrawRegion(random, input);
    if (random() % 2 == 0) input.options.softcap = 2;
    if (random() % 2 == 0) input.sinks.resize(static_cast<std::size_t>(input.heads));
    const auto draw = [&](BroadcastValues& array) {
      const auto size = [&](std::int64_t all) { return random() % 2 == 0 ? all : 1; };
      Resize(array, {size(input.batch), size(input.heads), size(input.queries), size(input.keys)});
    };
    if (random() % 2 == 0) draw(input.mask);
    if (random() % 2 == 0) draw(input.bias);
    FillNormal(random, input);
    if (random() % 2 == 0 && input.bias.IsThere()) {
      for (double& value : input.bias.values) {
        if (random() % 5 == 0) value = -kInf;
      }
    }
    const auto any = [&] { return random() % 4 != 0; };
    Check<TypeParam>(input, n % 2 == 0 ? std::vector<int>{} : kRowsBeforeHeads,
                     {.q = any(), .k = any(), .v = any(), .bias = any(), .sinks = any()});
  }
}

// Few queries against many keys, and the other way round: copies of sums (backward_plan.hpp).
TYPED_TEST(AttentionBackwardTangentTyped, LongAndShort) {
  std::mt19937 random(7);
  for (const auto& [queries, keys] : {std::array{3, 3000}, {270, 1000}, {3000, 3}, {1000, 270}}) {
    for (const bool has_bias : {false, true}) {
      AttentionInput input = Sized(queries, keys, 3, 5);
      if (has_bias) Resize(input.bias, {1, 1, queries > keys ? queries : 1, keys});
      input.sinks.resize(1);
      FillNormal(random, input);
      Check<TypeParam>(input);
    }
  }
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
    AttentionInput input = Sized(900, n % 2 == 0 ? 1100 : 300, 16, 16);
    input.heads = 4;
    input.kv_heads = 2;
    input.options.causal = n % 3 == 0 ? Causal::bottom_right : Causal::none;
    if (n % 4 == 1) input.options.window_left = 200;
    if (n < 4) Resize(input.bias, {1, n == 0 ? 4 : 1, n == 1 ? 1 : 900, n == 2 ? 1 : input.keys});
    input.sinks.resize(4);
    FillNormal(random, input);
    AttentionCase<float> work(input);
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
    AttentionInput input = Sized(300, 400, 33, 17);
    input.heads = 2;
    input.options.softcap = 3;
    Resize(input.bias, {1, 1, 300, 400});
    FillNormal(random, input);
    Check<float>(input);
    Check<double>(input);
    return 0;
  });
}

// What a thread works in, for the longest context that the documentation states.
TEST(AttentionBackwardTangent, MemoryOfAThread) {
  for (const std::int64_t dim : {64, 128}) {
    const AttentionInput input = Sized(65536, 65536, dim, dim);
    attend::Problem problem = MakeProblem(input);
    problem.dim = problem.value_dim = dim;
    const attend::BackwardPlan plan = attend::MakeBackwardPlan(problem, {}, false, false);
    EXPECT_LE(attend::KernelsOfBackwardTangent<float>().bytes(problem, plan, 0), 8'000'000) << dim;
  }
}

// Each tangent of a gradient alone has the bits that it has among all.
TEST(AttentionBackwardTangent, OneAtATime) {
  std::mt19937 random(17);
  AttentionCase<float> work(Rich(random));
  work.Run();
  work.RunTangent();
  work.RunBackwardTangent();
  BesideArguments<float> alone = work.grad_tangent;
  const auto run = [&](auto set) {
    Tensor moves_q = work.direction.q, moves_k = work.direction.k, moves_v = work.direction.v;
    Tensor moves_bias = work.direction.bias, moves_sinks = work.direction.sinks;
    Tensor bias = work.bias, sinks = work.sinks;
    const Tensor grad_lse = work.grad_lse;
    AttentionArrays arrays;
    arrays.bias = &bias;
    arrays.sinks = &sinks;
    AttentionTangents moves;
    moves.q = &moves_q;
    moves.k = &moves_k;
    moves.v = &moves_v;
    moves.bias = &moves_bias;
    moves.sinks = &moves_sinks;
    AttentionGradients wanted;
    set(wanted);
    attention_backward_tangent(work.grad_out, &grad_lse, work.q, work.k, work.v, arrays, work.out,
                               work.lse, moves, work.out_tangent, work.lse_tangent, wanted,
                               work.input().options);
  };
  const auto check = [&](Array<float> BesideArguments<float>::* array,
                         Tensor* AttentionGradients::* gradient) {
    (alone.*array).Fill([] { return 7; });
    Tensor to = alone.*array;
    run([&](AttentionGradients& wanted) { wanted.*gradient = &to; });
    EXPECT_TRUE(alone.*array == work.grad_tangent.*array);
  };
  check(&BesideArguments<float>::q, &AttentionGradients::q);
  check(&BesideArguments<float>::k, &AttentionGradients::k);
  check(&BesideArguments<float>::v, &AttentionGradients::v);
  check(&BesideArguments<float>::bias, &AttentionGradients::bias);
  check(&BesideArguments<float>::sinks, &AttentionGradients::sinks);
}

// What is excluded is never seen, be it in q, k, v, the gradient or a tangent.
TEST(AttentionBackwardTangent, NothingLeaksFromExcludedPairs) {
  std::mt19937 random(11);
  AttentionInput input = Sized(70, 200, 6, 6);
  Resize(input.mask, {1, 1, 70, 200});
  Resize(input.bias, {1, 1, 70, 200});
  input.options.softcap = 3;
  FillNormal(random, input);
  const auto check = [&]<class T>(T) {
    AttentionCase<T> work(input);
    for (std::int64_t i = 0; i < 70; ++i) {
      for (const std::int64_t j : {3, 130, 131}) work.direction.bias.Set(i * 200 + j, kInf);
    }
    for (std::int64_t c = 0; c < 6; ++c) {
      work.direction.k.Set(3 * 6 + c, kNaN);
      work.direction.v.Set(130 * 6 + c, c % 2 == 0 ? kNaN : kInf);
    }
    work.Run();
    work.RunTangent();
    work.RunBackwardTangent();
    work.CheckBackwardTangent(kRoundings);
  };
  for (std::int64_t i = 0; i < 70; ++i) {
    for (const std::int64_t j : {3, 130, 131}) {
      input.mask.values[static_cast<std::size_t>(i * 200 + j)] = 0;
    }
  }
  check(float{});
  check(double{});
  for (const std::int64_t j : {3, 131}) {
    for (std::int64_t c = 0; c < 6; ++c) {
      input.k[static_cast<std::size_t>(j * 6 + c)] = kNaN;
      input.v[static_cast<std::size_t>(j * 6 + c)] = c % 2 == 0 ? kNaN : kInf;
    }
  }
  check(float{});
  check(double{});
}

// A tangent that is not finite spoils its own row's tangents, and those of the keys it sees.
TEST(AttentionBackwardTangent, NanReachesWhatItTakesPartIn) {
  std::mt19937 random(12);
  AttentionInput input = Sized(70, 200, 6, 6);
  input.options.causal = Causal::top_left;
  FillNormal(random, input);
  AttentionCase<float> work(input);
  work.direction.q.Set(40 * 6, kNaN);
  work.Run();
  work.RunTangent();
  work.RunBackwardTangent();
  const BesideArguments<float>& given = work.grad_tangent;
  for (std::int64_t i = 0; i < 70; ++i) {
    EXPECT_EQ(std::isnan(given.q.Get(i * 6 + 1)), i == 40) << i;
  }
  for (std::int64_t j = 0; j < 200; ++j) {
    EXPECT_EQ(std::isnan(given.k.Get(j * 6 + 1)), j <= 40) << j;
    EXPECT_EQ(std::isnan(given.v.Get(j * 6 + 1)), j <= 40) << j;
  }
}

// +inf dominates and is shared equally.
TEST(AttentionBackwardTangent, InfiniteScores) {
  std::mt19937 random(13);
  AttentionInput input = Sized(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 300});
  input.sinks.resize(1);
  FillNormal(random, input);
  for (const std::size_t at : {5 * 300 + 7, 5 * 300 + 290, 5 * 300 + 100, 66 * 300 + 1}) {
    input.bias.values[at] = kInf;
  }
  Check<float>(input);
  input.sinks[0] = kInf;
  Check<double>(input);
}

// Whole rows that move leave gradients of biases of rows where they are, whatever digits their lse
// has lost.
TEST(AttentionBackwardTangent, LargeScores) {
  std::mt19937 random(15);
  AttentionInput input = Sized(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 1});
  FillNormal(random, input);
  for (std::size_t i = 0; i < 70; ++i) {
    constexpr double kOffsets[] = {0, -3e38, -1e9, 1e6, -5e3, 0, 2e4};
    input.bias.values[i] = kOffsets[i % 7];
  }
  AttentionCase<float> work(input);
  work.Run();
  work.RunTangent();
  work.RunBackwardTangent();
  for (std::int64_t i = 0; i < 70; ++i) {
    double size = 0;
    for (std::int64_t c = 0; c < 6; ++c) size += std::fabs(work.grad_out.Get(i * 6 + c));
    EXPECT_NEAR(work.grad_tangent.bias.Get(i), 0, 1e-4 * size) << i;
  }
}

}  // namespace
}  // namespace logsum::testing
