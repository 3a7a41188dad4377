// Attention of bfloat16, whose products of inputs are the CPU's own where it has them
// (attention/pairs-inl.h) and float32's elsewhere: forward and backward against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "attention_case.hpp"
#include "attention_inputs.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

// As those of float32: a bfloat16 product has the roundings of one.
constexpr double kForward = 8, kBackward = 40;

void Check(AttentionInput input, const std::vector<int>& order = {}) {
  AttentionCase<BFloat16> work(std::move(input), order);
  work.Run();
  work.Check(kForward);
  work.RunBackward();
  work.CheckBackward(kBackward);
}

// Odd ones end in half a pair; runs and chains end at 32, 64 and 128.
TEST(AttentionBf16, Dimensions) {
  std::mt19937 random(1);
  for (const std::int64_t dim : {0, 1, 2, 7, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129, 258}) {
    for (const std::int64_t value_dim : {0, 1, 2, 17, 64, 65, 129}) {
      AttentionInput input = MakeInput(40, 131, dim, value_dim);
      FillNormal(random, input);
      Check(input);
    }
  }
}

// Around the sizes of tiles, blocks and groups.
TEST(AttentionBf16, QueriesAndKeys) {
  std::mt19937 random(2);
  for (const std::int64_t queries : {0, 1, 5, 31, 32, 33, 255, 256, 257}) {
    for (const std::int64_t keys : {0, 1, 63, 64, 65, 128, 257}) {
      AttentionInput input = MakeInput(queries, keys, 5, 3);
      FillNormal(random, input);
      Check(input);
    }
  }
}

TEST(AttentionBf16, Strides) {
  std::mt19937 random(3);
  for (const std::int64_t dim : {18, 35}) {
    AttentionInput input = MakeInput(70, 150, dim, dim - 3);
    input.heads = 2;
    FillNormal(random, input);
    Check(input, {0, 1, 3, 2});
    Check(input, kRowsBeforeHeads);
  }
}

// Powers of two and others, of either sign.
TEST(AttentionBf16, Scales) {
  std::mt19937 random(4);
  for (const double scale : {0.125, 0.3, 1.0, 1.7, -0.7, -2.0, 1e-3}) {
    AttentionInput input = MakeInput(70, 150, 17, 12);
    input.options.scale = scale;
    FillNormal(random, input);
    Check(input);
  }
}

// Scores are in range where products of q and k are not.
TEST(AttentionBf16, ScalesFarFromOne) {
  std::mt19937 random(5);
  for (const int exponent : {-126, 126}) {
    AttentionInput input = MakeInput(40, 70, 16, 16);
    input.options.scale = std::ldexp(1.3, exponent);
    FillNormal(random, input);
    for (double& q : input.q) q = std::ldexp(q, exponent < 0 ? 70 : -66);
    for (double& k : input.k) k = std::ldexp(k, exponent < 0 ? 58 : -62);
    Check(input);
  }
}

// Rows that are normalised once more, from scores that must be those of the products.
TEST(AttentionBf16, LargeScores) {
  std::mt19937 random(6);
  AttentionInput input = MakeInput(70, 300, 24, 8);
  input.options.scale = 0.3;
  FillNormal(random, input, 3000);
  Check(input);
}

TEST(AttentionBf16, EveryTarget) {
  EnsureTarget();
  OfEachTarget([] {
    std::mt19937 random(7);
    const AttentionInput input = DrawWithin(random);
    Check(input);
    return 0;
  });
}

// What is excluded is never seen, also beside what takes part.
TEST(AttentionBf16, NothingLeaksFromExcludedPairs) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  std::mt19937 random(8);
  for (const std::int64_t dim : {6, 7}) {
    AttentionInput input = MakeInput(70, 200, dim, dim);
    Resize(input.mask, {1, 1, 70, 200});
    FillNormal(random, input);
    const auto at = [&](std::int64_t row, std::int64_t column) {
      return static_cast<std::size_t>(row * dim + column);
    };
    for (const std::int64_t j : {3, 130, 131}) {
      for (std::int64_t i = 0; i < 70; ++i) {
        input.mask.values[static_cast<std::size_t>(i * 200 + j)] = 0;
      }
      for (std::int64_t c = 0; c < dim; ++c) {
        input.k[at(j, c)] = kNan;
        input.v[at(j, c)] = c % 2 == 0 ? kNan : INFINITY;
      }
    }
    for (std::size_t j = 0; j < 200; ++j) input.mask.values[33 * 200 + j] = 0;
    input.q[at(33, 2)] = kNan;
    input.q[at(33, dim - 1)] = -INFINITY;
    Check(input);
  }
}

TEST(AttentionBf16, NanReachesWhatItTakesPartIn) {
  std::mt19937 random(9);
  AttentionInput input = MakeInput(70, 200, 7, 7);
  input.options.causal = AttentionOptions::Causal::top_left;
  FillNormal(random, input);
  input.q[40 * 7 + 6] = std::numeric_limits<double>::quiet_NaN();
  AttentionCase<BFloat16> work(input);
  work.Run();
  work.grad_out.Set(50 * 7 + 6, std::numeric_limits<double>::infinity());
  work.RunBackward();
  for (std::int64_t i = 0; i < 70; ++i) {
    EXPECT_EQ(std::isnan(work.out.Get(i * 7)), i == 40) << i;
    EXPECT_EQ(std::isfinite(work.grad_q.Get(i * 7 + 1)), i != 40 && i != 50) << i;
  }
  for (std::int64_t j = 0; j < 200; ++j) {
    EXPECT_EQ(std::isnan(work.grad_v.Get(j * 7 + 1)), j <= 40) << j;
    EXPECT_EQ(std::isfinite(work.grad_v.Get(j * 7 + 6)), j > 50) << j;
  }
}

TEST(AttentionBf16, SameBitsForEveryThreadCount) {
  std::mt19937 random(10);
  AttentionCase<BFloat16> work(DrawLong(random, 0));
  const auto results = [&](int threads) {
    work.Run(threads);
    work.RunBackward(threads);
    std::vector<double> all = AttentionCase<BFloat16>::Values(work.lse);
    for (const Array<BFloat16>* array : {&work.out, &work.grad_q, &work.grad_k, &work.grad_v}) {
      const std::vector<double> values = AttentionCase<BFloat16>::Values(*array);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const std::vector<double> one = results(1);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(results(threads), one);
}

}  // namespace
}  // namespace logsum::testing
