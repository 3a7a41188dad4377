// Tangents of attention's results against the reference: sizes, features, types, threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "attention_case.hpp"
#include "attention_inputs.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"
#include "core/target.hpp"
#include "each_target.hpp"

namespace logsum::testing {
namespace {

// Roundings of a unit (attention_tangent_reference.hpp): the chains of a score, of its tangent and
// of the sum over keys, that of a stored lse, and exp's, each felt once.
constexpr double kRoundings = 40;

template <class T>
void Check(AttentionInput input, Moves moves = {}, const std::vector<int>& order = {}) {
  AttentionCase<T> work(std::move(input), order);
  work.moves = moves;
  work.Run();
  work.RunTangent();
  work.CheckTangent(kRoundings);
}

// Around the sizes of chains, tiles and blocks.
TEST(AttentionTangent, QueriesAndKeys) {
  std::mt19937 random(1);
  for (const std::int64_t queries : {0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 513}) {
    for (const std::int64_t keys : {0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 600}) {
      AttentionInput input = MakeInput(queries, keys, 5, 3);
      FillNormal(random, input);
      Check<float>(input);
    }
  }
}

TEST(AttentionTangent, Dimensions) {
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

TEST(AttentionTangent, NoBatch) {
  std::mt19937 random(3);
  AttentionInput input = MakeInput(3, 4, 2, 2);
  input.batch = 0;
  input.heads = input.kv_heads = 2;
  FillNormal(random, input);
  Check<float>(input);
}

template <class T>
class AttentionTangentTyped : public ::testing::Test {};
using Types = ::testing::Types<float, double, Half, BFloat16>;
TYPED_TEST_SUITE(AttentionTangentTyped, Types);

TYPED_TEST(AttentionTangentTyped, HeadsAndStrides) {
  std::mt19937 random(4);
  for (const std::int64_t kv_heads : {1, 2, 6}) {
    const AttentionInput input = DrawHeads(random, kv_heads);
    Check<TypeParam>(input);
    Check<TypeParam>(input, {}, kRowsBeforeHeads);
  }
}

// Each set of arrays that move, and the results that are asked for.
TYPED_TEST(AttentionTangentTyped, EveryDirection) {
  std::mt19937 random(5);
  AttentionInput input = MakeInput(40, 140, 6, 7);
  input.heads = input.kv_heads = 2;
  Resize(input.bias, {1, 2, 40, 140});
  input.sinks.resize(2);
  input.options.softcap = 3;
  FillNormal(random, input);
  for (unsigned bits = 0; bits < 32; ++bits) {
    const auto bit = [&](unsigned at) { return (bits >> at & 1) != 0; };
    Check<TypeParam>(input, {bit(0), bit(1), bit(2), bit(3), bit(4)});
  }
}

TYPED_TEST(AttentionTangentTyped, EveryShapeOfBias) {
  std::mt19937 random(6);
  for (unsigned axes = 0; axes < 16; ++axes) {
    Check<TypeParam>(DrawBias(random, axes, 40));
  }
}

TYPED_TEST(AttentionTangentTyped, Features) {
  std::mt19937 random(7);
  for (int n = 0; n < 25; ++n) {
    const AttentionInput input = DrawFeatures(random);
    const auto draw_bit = [&] { return random() % 4 != 0; };
    const Moves moves{draw_bit(), draw_bit(), draw_bit(), draw_bit(), draw_bit()};
    Check<TypeParam>(input, moves, n % 2 == 0 ? std::vector<int>{} : kRowsBeforeHeads);
  }
}

TEST(AttentionTangent, SameBitsForEveryThreadCount) {
  std::mt19937 random(8);
  for (int n = 0; n < 6; ++n) {
    AttentionCase<float> work(DrawLong(random, n));
    work.Run();
    work.RunTangent(1);
    const auto out = AttentionCase<float>::Values(work.out_tangent);
    const auto lse = AttentionCase<float>::Values(work.lse_tangent);
    for (const int threads : {2, 3, 8}) {
      work.RunTangent(threads);
      EXPECT_EQ(AttentionCase<float>::Values(work.out_tangent), out);
      EXPECT_EQ(AttentionCase<float>::Values(work.lse_tangent), lse);
    }
  }
}

TEST(AttentionTangent, EveryTarget) {
  EnsureTarget();
  OfEachTarget([] {
    std::mt19937 random(9);
    const AttentionInput input = DrawWithin(random);
    Check<float>(input);
    Check<double>(input);
    Check<Half>(input);
    return 0;
  });
}

// A direction may be float where its arrays are halves.
TEST(AttentionTangent, DirectionsInFloat) {
  std::mt19937 random(18);
  AttentionInput input = MakeInput(40, 100, 6, 6);
  Resize(input.bias, {1, 1, 40, 100});
  input.sinks.resize(1);
  FillNormal(random, input);
  AttentionCase<Half> work(input);
  work.Run();
  work.RunTangent();
  const auto widen = [](const Array<Half>& array, const std::vector<std::int64_t>& shape) {
    return Array<float>::Of(shape, AttentionCase<Half>::Values(array));
  };
  auto q = widen(work.direction.q, {1, 1, 40, 6}), k = widen(work.direction.k, {1, 1, 100, 6});
  auto v = widen(work.direction.v, {1, 1, 100, 6}), sinks = widen(work.direction.sinks, {1});
  auto bias = widen(work.direction.bias, {1, 1, 40, 100});
  const Tensor views[] = {q, k, v, bias, sinks};
  const Tensor bias_view = work.bias, sinks_view = work.sinks;
  AttentionArrays arrays;
  arrays.bias = &bias_view;
  arrays.sinks = &sinks_view;
  Array<Half> out({1, 1, 40, 6});
  Array<float> lse({1, 1, 40});
  Tensor out_view = out, lse_view = lse;
  attention_tangent(work.q, work.k, work.v, arrays, work.out, work.lse,
                    {&views[0], &views[1], &views[2], &views[3], &views[4], {}}, &out_view,
                    &lse_view);
  EXPECT_EQ(out, work.out_tangent);
  EXPECT_EQ(lse, work.lse_tangent);
}

// Results are written where they are asked for, and lie as they are.
TEST(AttentionTangent, EitherResultAlone) {
  std::mt19937 random(17);
  AttentionInput input = MakeInput(40, 100, 6, 6);
  FillNormal(random, input);
  AttentionCase<float> work(input);
  work.Run();
  work.RunTangent();
  const Tensor q = work.direction.q, k = work.direction.k, v = work.direction.v;
  const AttentionTangents tangents{&q, &k, &v, nullptr, nullptr, {}};
  Array<float> only_out({1, 1, 40, 6}), only_lse({1, 1, 40});
  Tensor out_view = only_out, lse_view = only_lse;
  attention_tangent(work.q, work.k, work.v, {}, work.out, work.lse, tangents, &out_view, nullptr);
  attention_tangent(work.q, work.k, work.v, {}, work.out, work.lse, tangents, nullptr, &lse_view);
  EXPECT_EQ(only_out, work.out_tangent);
  EXPECT_EQ(only_lse, work.lse_tangent);
}

}  // namespace
}  // namespace logsum::testing
