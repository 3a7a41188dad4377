// Tangents of attention's results where digits are easily lost, and where something is not finite.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>

#include "attention_case.hpp"
#include "attention_problem.hpp"

namespace logsum::testing {
namespace {

// As in attention_tangent_test.cpp.
constexpr double kRoundings = 40;

using Causal = AttentionOptions::Causal;

template <class T>
void Check(AttentionInput input) {
  AttentionCase<T> work(std::move(input));
  work.Run();
  work.RunTangent();
  work.CheckTangent(kRoundings);
}

// Sums of equal terms find what a chain of additions loses.
TEST(AttentionTangentSpecial, ConstantsOverLongContexts) {
  AttentionInput input = MakeInput(5, 65536, 3, 2);
  std::mt19937 random(10);
  FillNormal(random, input);
  for (auto* values : {&input.q, &input.k, &input.v}) {
    for (double& value : *values) value = 0.1;
  }
  AttentionCase<float> work(input);
  work.direction.q.Fill([] { return 0.7; });
  work.direction.k.Fill([] { return -0.3; });
  work.direction.v.Fill([] { return 0.9; });
  work.Run();
  work.RunTangent();
  for (std::int64_t at = 0; at < work.out_tangent.Size(); ++at) {
    EXPECT_NEAR(work.out_tangent.Get(at), 0.9, 8 * 0x1p-24) << at;
  }
  work.CheckTangent(6);
}

// What the tangents of a row's scores have in common moves its lse and nothing else.
TEST(AttentionTangentSpecial, CommonMotionCancels) {
  std::mt19937 random(11);
  AttentionInput input = MakeInput(70, 500, 4, 4);
  Resize(input.bias, {1, 1, 70, 500});
  FillNormal(random, input);
  AttentionCase<float> work(input);
  work.moves = {.q = false, .k = false, .v = false, .bias = true, .sinks = false};
  work.direction.bias.Fill([] { return 12345.0; });
  work.Run();
  work.RunTangent();
  for (std::int64_t i = 0; i < 70; ++i) EXPECT_EQ(work.lse_tangent.Get(i), 12345.0) << i;
  for (std::int64_t at = 0; at < 70 * 4; ++at) EXPECT_EQ(work.out_tangent.Get(at), 0.0) << at;
}

// Pairs that hardly count say nothing about the others, though they are a row's first.
TEST(AttentionTangentSpecial, AnUnlikelyTileThatMovesFar) {
  std::mt19937 random(19);
  AttentionInput input = MakeInput(3, 200, 4, 4);
  Resize(input.bias, {1, 1, 1, 200});
  FillNormal(random, input);
  for (std::size_t j = 0; j < 64; ++j) input.bias.values[j] -= 25;
  AttentionCase<float> work(input);
  for (std::int64_t j = 0; j < 64; ++j) work.direction.bias.Set(j, 1e6);
  work.Run();
  work.RunTangent();
  work.CheckTangent(kRoundings);
}

// What all values have in common cancels, and costs no digits.
TEST(AttentionTangentSpecial, ValuesFarFromZero) {
  std::mt19937 random(20);
  for (const std::int64_t keys : {1, 40, 64, 65, 600}) {
    for (const bool has_masks : {false, true}) {
      AttentionInput input = MakeInput(140, keys, 6, 7);
      input.batch = 2;
      input.heads = 4;
      input.kv_heads = 2;
      if (has_masks) input.options.causal = Causal::bottom_right;
      FillNormal(random, input);
      for (double& x : input.v) x = std::round(x * 256) / 256;
      AttentionCase<float> near(input);
      for (std::size_t at = 0; at < input.v.size(); ++at) {
        input.v[at] += at % 7 < 3 ? 0x1p14 : -0x1p13;  // exactly
      }
      AttentionCase<float> far(input);
      near.Run();
      near.RunTangent();
      far.direction = near.direction;
      far.Run();
      far.RunTangent();
      near.CheckTangent(kRoundings);
      EXPECT_EQ(far.lse_tangent, near.lse_tangent);
      near.out_tangent = far.out_tangent;
      near.CheckTangent(kRoundings);
    }
  }
}

// A sink is a key whose value is zero, so the others' do not cancel.
TEST(AttentionTangentSpecial, ValuesFarFromZeroBesideSinks) {
  std::mt19937 random(21);
  AttentionInput input = MakeInput(70, 300, 6, 7);
  input.sinks.resize(1);
  FillNormal(random, input);
  for (double& x : input.v) x += 1000;
  for (const bool moves_sinks_alone : {false, true}) {
    Moves moves;
    if (moves_sinks_alone) moves = {.q = false, .k = false, .v = false, .bias = false};
    AttentionCase<float> work(input);
    work.moves = moves;
    work.Run();
    work.RunTangent();
    work.CheckTangent(kRoundings);
    AttentionCase<Half> half(input);
    half.moves = moves;
    half.Run();
    half.RunTangent();
    half.CheckTangent(kRoundings);
  }
}

// What is excluded is never seen, be it in an array or in what it moves by.
TEST(AttentionTangentSpecial, NothingLeaksFromExcludedPairs) {
  std::mt19937 random(12);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  Resize(input.mask, {1, 1, 70, 200});
  Resize(input.bias, {1, 1, 70, 200});
  FillNormal(random, input);
  constexpr std::int64_t kHidden[] = {3, 130, 131, 199};
  for (std::int64_t i = 0; i < 70; ++i) {
    for (const std::int64_t j : kHidden) {
      input.mask.values[static_cast<std::size_t>(i * 200 + j)] = 0;
    }
  }
  const auto check = [&](auto type, bool hides_values) {
    AttentionCase<decltype(type)> work(input);  // the reference goes by this
    const auto spoil = [&](std::int64_t at) { return at % 2 == 0 ? kNaN : kInf; };
    for (const std::int64_t j : kHidden) {
      for (std::int64_t at = j * 6; at < j * 6 + 6; ++at) {
        if (hides_values) {
          work.k.Set(at, spoil(at));
          work.v.Set(at, spoil(at + 1));
        }
        work.direction.k.Set(at, spoil(at));
        work.direction.v.Set(at, spoil(at + 1));
      }
      for (std::int64_t i = 0; i < 70; ++i) work.direction.bias.Set(i * 200 + j, spoil(i));
    }
    work.Run();
    work.RunTangent();
    work.CheckTangent(kRoundings);
  };
  for (const bool hides_values : {false, true}) {
    check(float{}, hides_values);
    check(double{}, hides_values);
    check(BFloat16{}, hides_values);
  }
}

// Rows that no pair or no length reaches stay as they are, whatever moves.
TEST(AttentionTangentSpecial, RowsWithoutKeys) {
  std::mt19937 random(13);
  AttentionInput input = MakeInput(100, 80, 5, 5);
  input.batch = 2;
  input.lengths_q = {50, 100};
  input.lengths_k = {80, 0};
  input.options.causal = Causal::bottom_right;
  FillNormal(random, input);
  Check<float>(input);
  input.sinks.resize(1);
  FillNormal(random, input);
  Check<float>(input);
  Check<Half>(input);
}

// What is not finite and takes part spoils its row's tangent and no other's.
TEST(AttentionTangentSpecial, NanReachesWhatItTakesPartIn) {
  std::mt19937 random(14);
  AttentionInput input = MakeInput(70, 200, 6, 6);
  input.options.causal = Causal::top_left;
  FillNormal(random, input);
  for (const bool is_query : {false, true}) {
    AttentionCase<float> work(input);
    (is_query ? work.direction.q : work.direction.k).Set(40 * 6, kNaN);
    work.Run();
    work.RunTangent();
    for (std::int64_t i = 0; i < 70; ++i) {
      const bool is_spoilt = is_query ? i == 40 : i >= 40;
      EXPECT_EQ(std::isnan(work.out_tangent.Get(i * 6 + 1)), is_spoilt) << i;
      EXPECT_EQ(std::isnan(work.lse_tangent.Get(i)), is_spoilt) << i;
    }
  }
  AttentionCase<float> work(input);
  work.direction.v.Set(40 * 6 + 2, kInf);
  work.Run();
  work.RunTangent();
  for (std::int64_t at = 0; at < 70 * 6; ++at) {
    EXPECT_EQ(work.out_tangent.Get(at) == kInf, at / 6 >= 40 && at % 6 == 2) << at;
  }
}

// The digits that a large lse has lost are those of the rows' normalisation.
TEST(AttentionTangentSpecial, LargeScores) {
  std::mt19937 random(15);
  AttentionInput input = MakeInput(70, 300, 6, 6);
  Resize(input.bias, {1, 1, 70, 1});
  FillNormal(random, input);
  for (std::size_t i = 0; i < 70; ++i) {
    constexpr double kOffsets[] = {0, -3e38, -1e9, 1e6, -5e3, 0, 2e4};
    input.bias.values[i] = kOffsets[i % 7];
  }
  AttentionCase<float> work(input);
  work.moves = {.q = false, .k = false, .v = false, .bias = true, .sinks = false};
  work.direction.bias.Fill([] { return 1.0; });
  work.Run();
  work.RunTangent();
  for (std::int64_t i = 0; i < 70; ++i) EXPECT_EQ(work.lse_tangent.Get(i), 1.0) << i;
  for (std::int64_t at = 0; at < 70 * 6; ++at) EXPECT_EQ(work.out_tangent.Get(at), 0.0) << at;
}

// +inf dominates and is shared equally.
TEST(AttentionTangentSpecial, InfiniteScores) {
  std::mt19937 random(16);
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
