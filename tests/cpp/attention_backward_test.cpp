// Gradients of attention against the reference: sizes, features, types, threads, special values.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <vector>

#include "attention/backward_kernels.hpp"
#include "attention/backward_plan.hpp"
#include "attention_case.hpp"
#include "attention_inputs.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

// Roundings of a unit (attention_reference.hpp): three products' chains, that of a stored lse, and
// exp's, each felt once.
constexpr double kRoundings = 40;

using Causal = AttentionOptions::Causal;

template <class T>
void Check(AttentionInput input, const std::vector<int>& order = {}) {
  AttentionCase<T> work(std::move(input), order);
  work.Run();
  work.RunBackward();
  work.CheckBackward(kRoundings);
}

// Around the sizes of tiles, blocks and groups.
TEST(AttentionBackward, QueriesAndKeys) {
  std::mt19937 random(1);
  for (const std::int64_t queries : {0, 1, 31, 32, 33, 255, 256, 257, 513}) {
    for (const std::int64_t keys : {0, 1, 63, 64, 65, 128, 257}) {
      AttentionInput input = MakeInput(queries, keys, 5, 3);
      FillNormal(random, input);
      Check<float>(input);
    }
  }
}

TEST(AttentionBackward, NoBatch) {
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
    for (std::int64_t at = 0; at < work.grad_bias.Size(); ++at) work.grad_bias.Set(at, 5);
    work.Run();
    work.RunBackward();
    work.CheckBackward(0);
  }
}

// Zero heads are a multiple of any: keys and values that no query sees have gradients of zero.
TEST(AttentionBackward, NoQueryHeads) {
  std::mt19937 random(16);
  AttentionInput input = MakeInput(3, 40, 6, 6);
  input.heads = 0;
  input.kv_heads = 2;
  Resize(input.bias, {1, 1, 1, 40});
  FillNormal(random, input);
  AttentionCase<float> work(input);
  const std::initializer_list<Array<float>*> written = {
      &work.grad_k,         &work.grad_v,         &work.grad_bias,
      &work.grad_tangent.k, &work.grad_tangent.v, &work.grad_tangent.bias};
  for (Array<float>* gradient : written) gradient->Fill([] { return 7.0; });
  work.Run();
  work.RunBackward();
  work.RunTangent();
  work.RunBackwardTangent();
  for (const Array<float>* gradient : written) {
    for (std::int64_t i = 0; i < gradient->Size(); ++i) EXPECT_EQ(gradient->Get(i), 0) << i;
  }
}

TEST(AttentionBackward, Dimensions) {
  std::mt19937 random(2);
  for (const std::int64_t dim : {0, 1, 7, 15, 16, 17, 31, 32, 33, 64, 65, 96, 130}) {
    for (const std::int64_t value_dim : {0, 1, 16, 17, 64, 80, 129}) {
      AttentionInput input = MakeInput(40, 131, dim, value_dim);
      FillNormal(random, input);
      Check<float>(input);
      Check<double>(input);
    }
  }
}

template <class T>
class AttentionBackwardTyped : public ::testing::Test {};
using Types = ::testing::Types<float, double, Half, BFloat16>;
TYPED_TEST_SUITE(AttentionBackwardTyped, Types);

TYPED_TEST(AttentionBackwardTyped, HeadsAndStrides) {
  std::mt19937 random(3);
  for (const std::int64_t kv_heads : {1, 2, 6}) {
    const AttentionInput input = DrawHeads(random, kv_heads);
    Check<TypeParam>(input);
    Check<TypeParam>(input, kRowsBeforeHeads);
  }
}

TYPED_TEST(AttentionBackwardTyped, EveryShapeOfBias) {
  std::mt19937 random(4);
  for (unsigned axes = 0; axes < 16; ++axes) {
    for (const std::int64_t queries : {40, 270}) {
      Check<TypeParam>(DrawBias(random, axes, queries));
    }
  }
}

// More heads than a chain of additions may be long.
TYPED_TEST(AttentionBackwardTyped, BiasOfManyHeads) {
  std::mt19937 random(5);
  AttentionInput input = MakeInput(40, 140, 4, 4);
  input.batch = 7;
  input.heads = input.kv_heads = 10;
  for (const std::array<std::int64_t, 4>& shape :
       {std::array<std::int64_t, 4>{1, 1, 40, 140}, {1, 10, 40, 140}, {7, 1, 40, 140}}) {
    Resize(input.bias, shape);
    FillNormal(random, input);
    Check<TypeParam>(input);
  }
}

TYPED_TEST(AttentionBackwardTyped, Features) {
  std::mt19937 random(6);
  for (int n = 0; n < 30; ++n) {
    const AttentionInput input = DrawFeatures(random);
    Check<TypeParam>(input, n % 2 == 0 ? std::vector<int>{} : kRowsBeforeHeads);
  }
}

TYPED_TEST(AttentionBackwardTyped, LongAndShort) {
  std::mt19937 random(7);
  for (const AttentionInput& input : DrawLongAndShort(random)) Check<TypeParam>(input);
}

std::vector<double> GradientsOf(AttentionCase<float>& work, int threads) {
  work.RunBackward(threads);
  std::vector<double> all;
  for (const Array<float>* array :
       {&work.grad_q, &work.grad_k, &work.grad_v, &work.grad_bias, &work.grad_sinks}) {
    const std::vector<double> values = AttentionCase<float>::Values(*array);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST(AttentionBackward, SameBitsForEveryThreadCount) {
  std::mt19937 random(8);
  for (int n = 0; n < 8; ++n) {
    AttentionCase<float> work(DrawLong(random, n));
    work.Run();
    const std::vector<double> one = GradientsOf(work, 1);
    for (const int threads : {2, 3, 8}) EXPECT_EQ(GradientsOf(work, threads), one);
  }
}

TEST(AttentionBackward, EveryTarget) {
  EnsureTarget();
  OfEachTarget([] {
    std::mt19937 random(9);
    const AttentionInput input = DrawWithin(random);
    Check<float>(input);
    Check<double>(input);
    return 0;
  });
}

// Sums of equal terms find what a chain of additions loses.
TEST(AttentionBackward, ConstantsOverLongContexts) {
  for (const auto& [queries, keys] : {std::array{5, 65536}, {65536, 5}}) {
    AttentionInput input = MakeInput(queries, keys, 3, 2);
    std::mt19937 random(10);
    FillNormal(random, input);
    for (auto* values : {&input.q, &input.k, &input.v}) {
      for (std::size_t i = 0; i < values->size(); ++i) (*values)[i] = 0.1 + 0.3 * (i % 7 == 99);
    }
    AttentionCase<float> work(input);
    for (std::int64_t i = 0; i < work.grad_out.Size(); ++i) work.grad_out.Set(i, 0.7);
    for (std::int64_t i = 0; i < work.grad_lse.Size(); ++i) work.grad_lse.Set(i, 0.3);
    work.Run();
    work.RunBackward();
    work.CheckBackward(12);
  }
}

// What a thread works in, for the longest context that the documentation states.
TEST(AttentionBackward, MemoryOfAThread) {
  for (const std::int64_t dim : {64, 128}) {
    const AttentionInput input = MakeInput(65536, 65536, dim, dim);
    attend::Problem problem = MakeProblem(input);
    problem.dim = problem.value_dim = dim;
    const attend::BackwardPlan plan = attend::MakeBackwardPlan(problem, {}, false, false);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      problem.q.dtype = dtype;
      EXPECT_LE(attend::KernelsOfBackward<float>().bytes(problem, plan, 0), 8'000'000) << dim;
    }
    EXPECT_EQ(plan.copies, 1) << dim;  // sums of dq, dk and dv need no other memory
  }
}

// What is excluded is never seen, be it in q, k, v or the gradient.
TEST(AttentionBackward, NothingLeaksFromExcludedPairs) {
  const double kNan = std::numeric_limits<double>::quiet_NaN();
  std::mt19937 random(11);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  Resize(input.mask, {1, 1, 70, 200});
  FillNormal(random, input);
  for (std::int64_t i = 0; i < 70; ++i) {
    for (const std::int64_t j : {3, 130, 131}) {
      input.mask.values[static_cast<std::size_t>(i * 200 + j)] = 0;
    }
  }
  for (const std::int64_t j : {3, 130, 131}) {
    for (std::int64_t c = 0; c < 6; ++c) {
      input.k[static_cast<std::size_t>(j * 6 + c)] = kNan;
      input.v[static_cast<std::size_t>(j * 6 + c)] = c % 2 == 0 ? kNan : INFINITY;
    }
  }
  Check<float>(input);
  Check<double>(input);
}

// A query that is not finite spoils its own row's gradient, and those of the keys it sees.
TEST(AttentionBackward, NanReachesWhatItTakesPartIn) {
  std::mt19937 random(12);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  input.options.causal = Causal::top_left;
  FillNormal(random, input);
  input.q[40 * 6] = std::numeric_limits<double>::quiet_NaN();
  AttentionCase<float> work(input);
  work.Run();
  work.RunBackward();
  for (std::int64_t i = 0; i < 70; ++i) {
    EXPECT_EQ(std::isnan(work.grad_q.Get(i * 6 + 1)), i == 40) << i;
  }
  for (std::int64_t j = 0; j < 200; ++j) {
    EXPECT_EQ(std::isnan(work.grad_k.Get(j * 6 + 1)), j <= 40) << j;
    EXPECT_EQ(std::isnan(work.grad_v.Get(j * 6 + 1)), j <= 40) << j;
  }
}

// The digits that a large lse has lost are those of the rows' normalisation.
TEST(AttentionBackward, LargeScores) {
  std::mt19937 random(15);
  AttentionInput input = MakeInput(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 1});
  FillNormal(random, input);
  for (std::size_t i = 0; i < 70; ++i) {
    constexpr double kOffsets[] = {0, -3e38, -1e9, 1e6, -5e3, 0, 2e4};
    input.bias.values[i] = kOffsets[i % 7];
  }
  AttentionCase<float> work(input);
  work.Run();
  work.RunBackward();
  for (std::int64_t i = 0; i < 70; ++i) {
    // Moving a whole row moves its lse and nothing else, if its p add up to one.
    double sum = 0;
    for (std::int64_t c = 0; c < 6; ++c)
      sum += work.grad_out.Get(i * 6 + c) * work.out.Get(i * 6 + c);
    EXPECT_NEAR(work.grad_bias.Get(i), work.grad_lse.Get(i), 1e-5 * (1 + std::fabs(sum))) << i;
  }
}

// +inf dominates and is shared equally.
TEST(AttentionBackward, InfiniteScores) {
  std::mt19937 random(13);
  AttentionInput input = MakeInput(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 300});
  input.sinks.resize(1);
  FillNormal(random, input);
  for (const std::size_t at : {5 * 300 + 7, 5 * 300 + 290, 5 * 300 + 100, 66 * 300 + 1}) {
    input.bias.values[at] = std::numeric_limits<double>::infinity();
  }
  Check<float>(input);
  input.sinks[0] = std::numeric_limits<double>::infinity();
  Check<double>(input);
}

}  // namespace
}  // namespace logsum::testing
