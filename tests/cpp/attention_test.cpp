// The functions of attention.hpp with every feature and their combinations, on every CPU target:
// values, gradients and the tangents of both against the definition, any strides, and the same bits
// for all threads.
#include "logsum/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
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

// Every function, one after another.
template <class T>
void RunAll(AttentionCase<T>& run, int threads = 0) {
  run.Run(threads);
  run.RunBackward(threads);
  run.RunTangent(threads);
  run.RunBackwardTangent(threads);
}

template <class T>
void CheckAll(AttentionCase<T>& run) {
  RunAll(run);
  run.Check(kForward);
  run.CheckBackward(kBackward);
  run.CheckTangent(kForward);
  run.CheckBackwardTangent(kBackward);
}

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
    AttentionInput input = DrawInput(random);
    // By eighths, which every type holds.
    std::vector<double> slopes(static_cast<std::size_t>(input.heads)), slope_tangents = slopes;
    for (double& slope : slopes) slope = static_cast<double>(random() % 17) / 8 - 1;
    for (double& tangent : slope_tangents) tangent = static_cast<double>(random() % 17) / 8 - 1;
    auto slope = Array<T>::Of({input.heads}, slopes);
    auto slope_tangent = Array<T>::Of({input.heads}, slope_tangents);
    const bool has_score = random() % 3 == 0;
    if (has_score) SetBentScore(input, slopes, slope_tangents);
    AttentionCase<T> run(input, random() % 2 == 0 ? kRowsBeforeHeads : std::vector<int>{});
    if (has_score) {
      run.score_names = {"slope"};
      run.score_args = {slope};
      run.score_arg_tangents = {slope_tangent};
    }
    for (bool* const moves :
         {&run.moves.q, &run.moves.k, &run.moves.v, &run.moves.bias, &run.moves.sinks}) {
      *moves = random() % 4 != 0;
    }
    CheckAll(run);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionOnEveryTarget, CombinationsOfFeatures) {
  CheckCombinations<float>(random_, 24);
  CheckCombinations<double>(random_, 12);
  CheckCombinations<Half>(random_, 12);
  CheckCombinations<BFloat16>(random_, 12);
}

// All results of a call.
template <class T>
std::vector<std::vector<double>> ResultsOf(AttentionCase<T>& run, int threads) {
  RunAll(run, threads);
  const auto values = [](const auto& array) { return AttentionCase<T>::Values(array); };
  std::vector<std::vector<double>> results = {values(run.lse), values(run.lse_tangent)};
  for (const Array<T>* array :
       {&run.out, &run.grad_q, &run.grad_k, &run.grad_v, &run.grad_bias, &run.grad_sinks,
        &run.out_tangent, &run.grad_tangent.q, &run.grad_tangent.k, &run.grad_tangent.v,
        &run.grad_tangent.bias, &run.grad_tangent.sinks}) {
    results.push_back(values(*array));
  }
  return results;
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
      CheckAll(run);
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
    for (std::int64_t b = 0; b < input.batch; ++b) {
      run.direction.k.Set((b * input.keys + 199) * input.dim + 2, value);
      run.direction.v.Set((b * input.keys + 150) * input.value_dim, value);
      run.direction.q.Set((b * input.queries + 66) * input.dim + 3, value);
    }
    CheckAll(run);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionOnEveryTarget, NaNInPairsThatTakeNoPart) {
  CheckExcluded<float>(random_, kNaN);
  CheckExcluded<double>(random_, kNaN);
}

// Keys, values, biases, what they move by, and a row's query and gradients, where no pair takes
// part.
template <class T>
void CheckUnseen(std::mt19937& random, double value) {
  for (const int kind : {0, 1, 2, 3, 4}) {
    AttentionInput input;
    input.batch = 2;
    input.queries = 70;
    input.keys = 200;
    input.dim = input.value_dim = 20;
    Resize(input.bias, {1, 1, 70, 200});
    if (kind == 0) {
      input.options.causal = AttentionOptions::Causal::top_left;
    } else if (kind == 1) {
      input.options.window_left = input.options.window_right = 9;
    } else if (kind == 2) {
      input.lengths_q = {70, 33};
      input.lengths_k = {100, 64};
    } else if (kind == 3) {
      Resize(input.mask, {1, 1, 1, 200});
    }
    FillNormal(random, input);
    const auto spoil = [value](auto& array, std::int64_t begin, std::int64_t count) {
      for (std::int64_t i = begin; i < begin + count; ++i) array.Set(i, value);
    };
    for (const std::size_t key : {150, 151, 199}) {
      if (kind == 3) input.mask.values[key] = 0;
      for (std::size_t i = 0; i < 70; ++i) {
        input.bias.values[i * 200 + key] = kind == 4 ? -kInf : value;
      }
    }
    AttentionCase<T> run(input);
    for (const std::int64_t key : {150, 151, 199}) {
      for (std::int64_t row = key; row < 400; row += 200) {
        for (Array<T>* const array : {&run.k, &run.v, &run.direction.k, &run.direction.v}) {
          spoil(*array, row * 20, 20);
        }
      }
      for (std::int64_t i = 0; i < 70; ++i) spoil(run.direction.bias, i * 200 + key, 1);
    }
    if (kind == 2) {
      for (Array<T>* const array : {&run.q, &run.grad_out, &run.direction.q}) {
        spoil(*array, (70 + 66) * 20, 20);
      }
      spoil(run.grad_lse, 70 + 66, 1);
    }
    CheckAll(run);
    for (const Array<T>* const array : {&run.out_tangent, &run.grad_q, &run.grad_tangent.q}) {
      for (std::int64_t i = 0; i < array->Size(); ++i) ASSERT_TRUE(std::isfinite(array->Get(i)));
    }
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionOnEveryTarget, NothingOfExcludedPairsIsSeen) {
  for (const double value : {kNaN, kInf, -kInf}) {
    CheckUnseen<float>(random_, value);
    CheckUnseen<double>(random_, value);
  }
  CheckUnseen<Half>(random_, kNaN);
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
  CheckAll(run);
}

// Directions and gradients in float32 beside half types say the same.
TEST_P(AttentionOnEveryTarget, WiderDirectionsAndGradients) {
  AttentionInput input;
  input.heads = 2;
  input.queries = 40;
  input.keys = 150;
  input.dim = input.value_dim = 24;
  input.options.causal = AttentionOptions::Causal::bottom_right;
  FillNormal(random_, input);
  AttentionCase<BFloat16> run(input);
  RunAll(run);
  const auto widen = [](const Array<BFloat16>& array, std::int64_t rows) {
    return Array<float>::Of({1, array.Size() / rows / 24, rows, 24},
                            AttentionCase<BFloat16>::Values(array));
  };
  Array<float> q = widen(run.direction.q, 40), k = widen(run.direction.k, 150);
  Array<float> v = widen(run.direction.v, 150);
  Tensor tangent_q = q, tangent_k = k, tangent_v = v;
  const AttentionTangents tangents{.q = &tangent_q, .k = &tangent_k, .v = &tangent_v};
  Array<BFloat16> out(run.out);
  Array<float> lse(run.lse);
  Tensor out_tangent = out, lse_tangent = lse;
  attention_tangent(run.q, run.k, run.v, {}, run.out, run.lse, tangents, &out_tangent, &lse_tangent,
                    input.options);
  EXPECT_EQ(out, run.out_tangent);
  EXPECT_EQ(lse, run.lse_tangent);
  Array<float> of_q(q), of_k(k), of_v(v);
  Tensor grad_q = of_q, grad_k = of_k, grad_v = of_v, grad_lse = run.grad_lse;
  AttentionGradients wanted{.q = &grad_q, .k = &grad_k, .v = &grad_v};
  attention_backward_tangent(run.grad_out, &grad_lse, run.q, run.k, run.v, {}, run.out, run.lse,
                             tangents, out_tangent, lse_tangent, wanted, input.options);
  const auto expect_rounded = [](const Array<float>& wide, const Array<BFloat16>& narrow) {
    for (std::int64_t i = 0; i < wide.Size(); ++i) {
      ASSERT_EQ(ToFloat(FromDouble<BFloat16>(wide.Get(i))), narrow.Get(i)) << i;
    }
  };
  expect_rounded(of_q, run.grad_tangent.q);
  expect_rounded(of_k, run.grad_tangent.k);
  expect_rounded(of_v, run.grad_tangent.v);
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
