// The forward pass as it is cut: tiles, panels, blocks, parts of the keys and decoding, at their
// boundaries, on every CPU target.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/plan.hpp"
#include "attention_case.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

// Roundings, in the units of the reference: a chain of 32 additions has at most 32, random ones far
// fewer.
constexpr double kForward = 8;

class ForwardOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }

  std::mt19937 random_{5};
};

struct Sizes {
  std::int64_t queries, keys, dim, value_dim;
  std::int64_t group = 1;
};

AttentionInput Filled(std::mt19937& random, const Sizes& sizes, double sigma = 1) {
  AttentionInput input;
  input.heads = sizes.group;
  input.queries = sizes.queries;
  input.keys = sizes.keys;
  input.dim = sizes.dim;
  input.value_dim = sizes.value_dim;
  FillNormal(random, input, sigma);
  return input;
}

template <class T>
void Check(const AttentionInput& input, const std::vector<int>& order = {}) {
  AttentionCase<T> run(input, order);
  run.Run();
  run.Check(kForward);
}

TEST_P(ForwardOnEveryTarget, SizesAroundTiles) {
  for (const std::int64_t queries : {1, 5, 31, 32, 33, 63, 65}) {
    for (const std::int64_t keys : {1, 2, 127, 128, 129, 257}) {
      Check<float>(Filled(random_, {queries, keys, 5, 9}));
      Check<double>(Filled(random_, {queries, keys, 3, 4}));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(ForwardOnEveryTarget, SizesAroundBlocks) {
  for (const std::int64_t queries : {127, 129, 511, 513}) {
    Check<float>(Filled(random_, {queries, 70, 2, 3}));
  }
  // Around a fold's eight tiles, and what begins the next one.
  for (const std::int64_t keys : {1023, 1024, 1025, 1153}) {
    Check<float>(Filled(random_, {40, keys, 2, 3}));
  }
}

TEST_P(ForwardOnEveryTarget, DimensionsUpTo300) {
  for (std::int64_t dim = 1; dim <= 300; dim += dim < 70 ? 1 : 23) {
    Check<float>(Filled(random_, {9, 33, dim, 301 - dim}));
    Check<double>(Filled(random_, {3, 17, 301 - dim, dim}));
    if (HasFatalFailure()) return;
  }
}

TEST_P(ForwardOnEveryTarget, FewQueriesAgainstLongKeys) {
  for (const Sizes& sizes :
       {Sizes{1, 8192, 64, 128}, Sizes{4, 4999, 32, 16}, Sizes{2, 4100, 16, 48, 3},
        Sizes{1, 4097, 7, 5, 2}, Sizes{5, 6000, 16, 16}}) {
    for (const bool rows_first : {false, true}) {
      Check<float>(Filled(random_, sizes), rows_first ? kRowsBeforeHeads : std::vector<int>{});
      Check<double>(Filled(random_, sizes), rows_first ? kRowsBeforeHeads : std::vector<int>{});
      Check<Half>(Filled(random_, sizes), rows_first ? kRowsBeforeHeads : std::vector<int>{});
      Check<BFloat16>(Filled(random_, sizes), rows_first ? kRowsBeforeHeads : std::vector<int>{});
    }
  }
}

// Few queries of many heads, with whatever may be added to scores or exclude them, in each type
// that is read where it lies.
TEST_P(ForwardOnEveryTarget, FewQueriesWithOptions) {
  constexpr std::int64_t kKeys[] = {1, 40, 128, 511, 512, 513, 700, 1100};
  constexpr std::int64_t kDims[] = {16, 32, 48, 64, 80, 128};
  for (int trial = 0; trial < 25; ++trial) {
    const auto flip = [&] { return random_() % 2 == 0; };
    AttentionInput input;
    input.batch = flip() ? 1 : 2;
    input.kv_heads = flip() ? 1 : 2;
    input.heads = input.kv_heads * (flip() ? 1 : 1 + random_() % 19);
    input.queries = 1 + random_() % 4;
    input.keys = kKeys[random_() % std::size(kKeys)];
    input.dim = kDims[random_() % std::size(kDims)];
    input.value_dim = flip() ? input.dim : kDims[random_() % std::size(kDims)];
    if (flip()) DrawRegion(random_, input);
    if (flip()) Resize(input.mask, {1, flip() ? 1 : input.heads, input.queries, input.keys});
    if (flip()) Resize(input.bias, {input.batch, flip() ? 1 : input.heads, 1, input.keys});
    if (flip()) input.sinks.resize(static_cast<std::size_t>(input.heads));
    if (flip()) input.options.softcap = 2;
    if (flip()) {
      input.options.score = "s / 2 + 1";
      input.score = [](double score, const AttentionPair&) { return score / 2 + 1; };
    }
    FillNormal(random_, input);
    const std::vector<int> order = flip() ? kRowsBeforeHeads : std::vector<int>{};
    Check<float>(input, order);
    Check<double>(input, order);
    Check<Half>(input, order);
    Check<BFloat16>(input, order);
    if (HasFatalFailure()) return;
  }
}

// Scores that grow with the key move the reference again and again.
TEST_P(ForwardOnEveryTarget, MaximaThatKeepRising) {
  for (const std::int64_t queries : {2, 50}) {
    AttentionInput input = Filled(random_, {queries, 5000, 16, 16});
    Resize(input.bias, {1, 1, 1, 5000});
    for (std::size_t j = 0; j < 5000; ++j) input.bias.values[j] = 0.05 * static_cast<double>(j);
    Check<float>(input);
    std::reverse(input.bias.values.begin(), input.bias.values.end());
    Check<float>(input);
  }
}

// A value that is not finite reaches exactly the rows whose pairs with it take part, in each way
// that values are read: staged, in place, and along rows.
TEST_P(ForwardOnEveryTarget, ValuesThatAreNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Sizes& sizes :
       {Sizes{40, 300, 16, 5}, Sizes{40, 300, 16, 16}, Sizes{3, 5000, 16, 16}}) {
    AttentionInput input = Filled(random_, sizes);
    const auto at = [&](std::int64_t key, std::int64_t c) {
      return static_cast<std::size_t>(key * sizes.value_dim + c);
    };
    input.v[at(7, 2)] = std::nan("");
    input.v[at(200, 1)] = infinity;
    input.v[at(sizes.keys - 1, 0)] = -infinity;
    Check<float>(input);
    Resize(input.mask, {1, 1, sizes.queries, sizes.keys});
    std::fill(input.mask.values.begin(), input.mask.values.end(), 1.0);
    for (std::int64_t i = 0; i < sizes.queries; i += 2) {
      for (const std::int64_t key : {std::int64_t{7}, std::int64_t{200}, sizes.keys - 1}) {
        input.mask.values[static_cast<std::size_t>(i * sizes.keys + key)] = 0;
      }
    }
    Check<float>(input);
    Check<double>(input);
    Check<BFloat16>(input);
  }
}

// Means are finite though sums are not.
TEST_P(ForwardOnEveryTarget, ValuesNearTheLargestNumber) {
  for (const Sizes& sizes : {Sizes{35, 150, 4, 4}, Sizes{3, 5000, 16, 16}}) {
    AttentionInput input = Filled(random_, sizes);
    std::fill(input.v.begin(), input.v.end(), 3e38);
    Check<float>(input);
    std::fill(input.v.begin(), input.v.end(), -4e306);
    Check<double>(input);
  }
}

// A query whose scores are all NaN, in one part of the keys and in several.
TEST_P(ForwardOnEveryTarget, QueriesThatAreNaN) {
  for (const Sizes& sizes : {Sizes{35, 150, 4, 4}, Sizes{3, 5000, 16, 16}}) {
    AttentionInput input = Filled(random_, sizes);
    input.q[static_cast<std::size_t>(2 * sizes.dim)] = std::nan("");
    Check<float>(input);
  }
}

// What is cut depends on shapes only, and every pair is in one task.
TEST(ForwardPlan, CoversAllPanelsAndKeys) {
  for (const std::int64_t queries : {1, 32, 33, 5000}) {
    for (const std::int64_t keys : {0, 1, 2047, 4096, 65536, 100001}) {
      for (const std::int64_t group : {1, 3}) {
        attend::Problem problem;
        problem.batch = 1;
        problem.kv_heads = 2;
        problem.heads = 2 * group;
        problem.group = group;
        problem.queries = queries;
        problem.keys = keys;
        problem.dim = problem.value_dim = 64;
        const attend::ForwardPlan plan = attend::MakeForwardPlan(problem);
        EXPECT_GE(plan.blocks * plan.block_panels, plan.panels);
        EXPECT_LT((plan.blocks - 1) * plan.block_panels, plan.panels);
        EXPECT_GE(plan.parts * plan.part_keys, keys);
        EXPECT_LE((plan.parts - 1) * plan.part_keys, keys);
        EXPECT_EQ(plan.tasks, 2 * plan.blocks * plan.parts);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ForwardOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
