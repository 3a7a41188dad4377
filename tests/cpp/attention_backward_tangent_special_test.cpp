// The tangents of attention's gradients beside NaN, infinities and scores that have lost digits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>

#include "array.hpp"
#include "attention_backward_tangent_check.hpp"
#include "attention_case.hpp"
#include "attention_problem.hpp"

namespace logsum::testing {
namespace {

using Causal = AttentionOptions::Causal;

// What is excluded is never seen, be it in keys, values, or what they move by.
TEST(AttentionBackwardTangentSpecial, NothingLeaksFromExcludedPairs) {
  std::mt19937 random(11);
  AttentionInput input = MakeInput(70, 200, 6, 6);
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
    CheckTangents(work);
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

// Nor is anything of a query beyond the last.
TEST(AttentionBackwardTangentSpecial, NothingLeaksFromExcludedQueries) {
  std::mt19937 random(19);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  input.lengths_q = {50};
  input.lengths_k = {180};
  input.sinks.resize(1);
  FillNormal(random, input);
  for (std::int64_t i = 50; i < 70; ++i) input.q[static_cast<std::size_t>(i * 6 + i % 6)] = kNaN;
  AttentionCase<float> work(input);
  for (std::int64_t i = 52; i < 70; ++i) work.grad_out.Set(i * 6 + i % 6, kInf);
  for (std::int64_t i = 55; i < 70; ++i) work.direction.q.Set(i * 6 + i % 6, kNaN);
  CheckTangents(work);
}

// A tangent that is not finite spoils its own row's tangents, and those of the keys it sees.
TEST(AttentionBackwardTangentSpecial, NanReachesWhatItTakesPartIn) {
  std::mt19937 random(12);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  input.options.causal = Causal::top_left;
  FillNormal(random, input);
  AttentionCase<float> work(input);
  work.direction.q.Set(40 * 6, kNaN);
  RunWithTangents(work);
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
TEST(AttentionBackwardTangentSpecial, InfiniteScores) {
  std::mt19937 random(13);
  AttentionInput input = MakeInput(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 300});
  input.sinks.resize(1);
  FillNormal(random, input);
  for (const std::size_t at : {5 * 300 + 7, 5 * 300 + 290, 5 * 300 + 100, 66 * 300 + 1}) {
    input.bias.values[at] = kInf;
  }
  CheckTangents<float>(input);
  input.sinks[0] = kInf;
  CheckTangents<double>(input);
}

// Whole rows that move leave gradients of biases of rows where they are, whatever digits their lse
// has lost.
TEST(AttentionBackwardTangentSpecial, LargeScores) {
  std::mt19937 random(15);
  AttentionInput input = MakeInput(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 1});
  FillNormal(random, input);
  for (std::size_t i = 0; i < 70; ++i) {
    constexpr double kOffsets[] = {0, -3e38, -1e9, 1e6, -5e3, 0, 2e4};
    input.bias.values[i] = kOffsets[i % 7];
  }
  AttentionCase<float> work(input);
  RunWithTangents(work);
  for (std::int64_t i = 0; i < 70; ++i) {
    double size = 0;
    for (std::int64_t c = 0; c < 6; ++c) size += std::fabs(work.grad_out.Get(i * 6 + c));
    EXPECT_NEAR(work.grad_tangent.bias.Get(i), 0, 1e-4 * size) << i;
  }
}

}  // namespace
}  // namespace logsum::testing
