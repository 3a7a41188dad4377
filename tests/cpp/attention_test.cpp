// The functions of attention.hpp with every feature and their combinations, on every CPU target:
// values and gradients against the definition, any strides, and the same bits for all threads.
#include "logsum/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "attention_case.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

class AttentionOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }

  std::mt19937 random_{11};
};

// Roundings, in the units of the reference: a chain of 32 additions has at most 32, random ones
// far fewer.
constexpr double kForward = 8, kBackward = 16;

// Sizes at and around those of tiles, and small ones.
std::int64_t DrawSize(std::mt19937& random) {
  constexpr std::int64_t kSizes[] = {1, 2, 7, 31, 32, 33, 64, 65, 100, 127, 128, 129, 130, 300};
  return kSizes[random() % std::size(kSizes)];
}

// One of the shapes that broadcast to (batch, head, query, key).
std::array<std::int64_t, 4> DrawShape(std::mt19937& random, const AttentionInput& input) {
  std::array<std::int64_t, 4> shape = {input.batch, input.heads, input.queries, input.keys};
  for (std::int64_t& size : shape) {
    if (random() % 2 == 0) size = 1;
  }
  return shape;
}

AttentionInput DrawInput(std::mt19937& random) {
  AttentionInput input;
  input.batch = 1 + random() % 2;
  input.kv_heads = 1 + random() % 2;
  input.heads = input.kv_heads * (1 + random() % 3);
  input.queries = DrawSize(random);
  input.keys = DrawSize(random);
  constexpr std::int64_t kDims[] = {1, 3, 8, 17, 40, 64};
  input.dim = kDims[random() % std::size(kDims)];
  input.value_dim = random() % 2 == 0 ? input.dim : kDims[random() % std::size(kDims)];
  if (random() % 2 == 0) DrawRegion(random, input);
  if (random() % 3 == 0) Resize(input.mask, DrawShape(random, input));
  if (random() % 3 == 0) Resize(input.bias, DrawShape(random, input));
  if (random() % 3 == 0) input.sinks.resize(static_cast<std::size_t>(input.heads));
  if (random() % 3 == 0) input.options.softcap = 2;
  if (random() % 3 == 0) input.options.scale = 0.3;
  FillNormal(random, input);
  return input;
}

template <class T>
void CheckCombinations(std::mt19937& random, int trials) {
  for (int trial = 0; trial < trials; ++trial) {
    const AttentionInput input = DrawInput(random);
    AttentionCase<T> run(input, random() % 2 == 0 ? kRowsBeforeHeads : std::vector<int>{});
    run.Run();
    run.Check(kForward);
    run.RunBackward();
    run.CheckBackward(kBackward);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionOnEveryTarget, CombinationsOfFeatures) {
  CheckCombinations<float>(random_, 40);
  CheckCombinations<double>(random_, 20);
  CheckCombinations<Half>(random_, 20);
  CheckCombinations<BFloat16>(random_, 20);
}

// All results of a call.
template <class T>
std::vector<std::vector<double>> ResultsOf(AttentionCase<T>& run, int threads) {
  run.Run(threads);
  run.RunBackward(threads);
  const auto values = [](const auto& array) { return AttentionCase<T>::Values(array); };
  return {values(run.out),    values(run.lse),       values(run.grad_q),    values(run.grad_k),
          values(run.grad_v), values(run.grad_bias), values(run.grad_sinks)};
}

TEST_P(AttentionOnEveryTarget, SameBitsForEveryThreadCount) {
  for (const std::array<std::int64_t, 2> sizes :
       {std::array<std::int64_t, 2>{700, 900}, std::array<std::int64_t, 2>{3, 5000}}) {
    AttentionInput input;
    input.heads = 2;
    input.queries = sizes[0];
    input.keys = sizes[1];
    input.dim = input.value_dim = 16;
    Resize(input.bias, {1, 1, input.queries, input.keys});
    input.sinks.resize(2);
    FillNormal(random_, input);
    AttentionCase<float> run(input);
    const auto expected = ResultsOf(run, 1);
    for (const int threads : {2, 3, 7}) {
      // Bits, so that NaN would be noticed and -0 is not 0.
      const auto got = ResultsOf(run, threads);
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], expected[i]) << i << " on " << threads;
      }
    }
  }
}

TEST_P(AttentionOnEveryTarget, NoKeysNoQueriesNoComponents) {
  for (const std::array<std::int64_t, 6>& sizes :
       std::vector<std::array<std::int64_t, 6>>{{2, 2, 0, 5, 4, 3},
                                                {2, 2, 5, 0, 4, 3},
                                                {2, 2, 5, 6, 0, 3},
                                                {2, 2, 5, 6, 4, 0},
                                                {0, 2, 5, 6, 4, 3},
                                                {2, 0, 5, 6, 4, 3}}) {
    AttentionInput input;
    input.batch = sizes[0];
    input.heads = input.kv_heads = sizes[1];
    input.queries = sizes[2];
    input.keys = sizes[3];
    input.dim = sizes[4];
    input.value_dim = sizes[5];
    for (const bool has_sinks : {false, true}) {
      if (has_sinks) input.sinks.resize(static_cast<std::size_t>(input.heads));
      FillNormal(random_, input);
      AttentionCase<float> run(input);
      run.Run();
      run.Check(kForward);
      run.RunBackward();
      run.CheckBackward(kBackward);
    }
  }
}

// What is excluded is NaN or infinite, by each kind of exclusion.
template <class T>
void CheckExcluded(std::mt19937& random, double value) {
  for (const int kind : {0, 1, 2, 3, 4}) {
    AttentionInput input;
    input.batch = 2;
    input.queries = 70;
    input.keys = 200;
    input.dim = 20;
    input.value_dim = 24;
    if (kind == 0) {
      input.options.causal = AttentionOptions::Causal::top_left;
    } else if (kind == 1) {
      input.options.window_left = input.options.window_right = 9;
    } else if (kind == 2) {
      input.lengths_q = {70, 33};
      input.lengths_k = {100, 64};
    } else if (kind == 3) {
      Resize(input.mask, {2, 1, 1, 200});
    } else {
      Resize(input.bias, {1, 1, 70, 200});
    }
    FillNormal(random, input);
    for (double& bias : input.bias.values) {
      if (random() % 3 == 0) bias = -kInf;
    }
    for (std::int64_t b = 0; b < input.batch; ++b) {
      // Keys that some queries do not see; those that do get the definition's NaN or infinity.
      for (const std::int64_t key : {37, 150, 199}) {
        const std::int64_t row = b * input.keys + key;
        input.k[static_cast<std::size_t>(row * input.dim + 3)] = value;
        input.v[static_cast<std::size_t>(row * input.value_dim + 5)] = value;
      }
      const std::int64_t query = b * input.queries + 66;
      input.q[static_cast<std::size_t>(query * input.dim)] = value;
    }
    AttentionCase<T> run(input);
    run.Run();
    run.Check(kForward);
    run.RunBackward();
    run.CheckBackward(kBackward);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionOnEveryTarget, NaNInPairsThatTakeNoPart) {
  CheckExcluded<float>(random_, kNaN);
  CheckExcluded<double>(random_, kNaN);
}

TEST_P(AttentionOnEveryTarget, ConstantInputsDoNotDrift) {
  constexpr std::int64_t kKeys = 65536;
  // Equal terms may round one way throughout: half of a chain of 32, and of a fold of 8 chains.
  constexpr double kOfEqual = 16 + 4;
  AttentionInput input;
  input.queries = 2;
  input.keys = kKeys;
  input.dim = input.value_dim = 4;
  FillNormal(random_, input);
  std::fill(input.q.begin(), input.q.end(), 0.7);
  std::fill(input.k.begin(), input.k.end(), 0.3);
  std::fill(input.v.begin(), input.v.end(), 0.1);
  AttentionCase<float> run(input);
  run.Run();
  const double s = 4 * run.q.Get(0) * run.k.Get(0) / 2;
  for (std::int64_t i = 0; i < run.lse.Size(); ++i) {
    EXPECT_NEAR(run.lse.Get(i), s + std::log(static_cast<double>(kKeys)),
                6 * HalfUlp<float>(s + 11));
  }
  for (std::int64_t i = 0; i < run.out.Size(); ++i) {
    EXPECT_NEAR(run.out.Get(i), run.v.Get(0), kOfEqual * kRoundoff<float> * run.v.Get(0)) << i;
  }
}

TEST_P(AttentionOnEveryTarget, InfinitiesDominateAndShare) {
  AttentionInput input;
  input.queries = 40;
  input.keys = 150;
  input.dim = input.value_dim = 8;
  Resize(input.bias, {1, 1, 40, 150});
  FillNormal(random_, input);
  for (std::int64_t i = 0; i < 40; ++i) {
    // No, one or several +inf in a row; and a row of only -inf.
    for (std::int64_t n = 0; n < i % 4; ++n) {
      input.bias.values[static_cast<std::size_t>(i * 150 + (i * 31 + n * 57) % 150)] = kInf;
    }
  }
  std::fill_n(input.bias.values.begin() + 8 * 150, 150, -kInf);
  AttentionCase<float> run(input);
  run.Run();
  run.Check(kForward);
  run.RunBackward();
  run.CheckBackward(kBackward);
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
