// Inputs with values that the tests of all passes of attention share.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "attention_case.hpp"
#include "attention_problem.hpp"

namespace logsum::testing {

// Six query heads of two batch entries over 1, 2 or 6 key heads.
inline AttentionInput DrawHeads(std::mt19937& random, std::int64_t kv_heads) {
  AttentionInput input = MakeInput(70, 150, 18, 20);
  input.batch = 2;
  input.heads = 6;
  input.kv_heads = kv_heads;
  input.options.causal = AttentionOptions::Causal::bottom_right;
  FillNormal(random, input);
  return input;
}

// A bias that repeats along the axes whose bit in `axes`, one of 16, is not set.
inline AttentionInput DrawBias(std::mt19937& random, unsigned axes, std::int64_t queries) {
  using Causal = AttentionOptions::Causal;
  AttentionInput input = MakeInput(queries, 140, 2, 2);
  input.batch = 2;
  input.heads = 2;
  const auto size = [&](unsigned axis, std::int64_t all) {
    return (axes >> axis & 1) != 0 ? all : 1;
  };
  Resize(input.bias, {size(0, 2), size(1, 2), size(2, queries), size(3, 140)});
  FillNormal(random, input);
  input.options.causal = axes % 3 == 0 ? Causal::top_left : Causal::none;
  return input;
}

// Any features together, at any sizes.
inline AttentionInput DrawFeatures(std::mt19937& random) {
  AttentionInput input =
      MakeInput(1 + random() % 300, 1 + random() % 400, 1 + random() % 20, 1 + random() % 20);
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
      if (random() % 5 == 0) value = -std::numeric_limits<double>::infinity();
    }
  }
  return input;
}

// A bias, a cap, a diagonal and sinks, at sizes that end within a tile: for each CPU target.
inline AttentionInput DrawWithin(std::mt19937& random) {
  constexpr std::int64_t kQueries = 70, kKeys = 270;
  AttentionInput input = MakeInput(kQueries, kKeys, 33, 17);
  input.heads = 2;
  input.options.softcap = 3;
  input.options.causal = AttentionOptions::Causal::top_left;
  input.sinks.resize(2);
  Resize(input.bias, {1, 1, kQueries, kKeys});
  FillNormal(random, input);
  return input;
}

// Few queries against many keys, and the other way round, with and without a bias: what a backward
// pass sums in copies (backward_plan.hpp).
inline std::vector<AttentionInput> DrawLongAndShort(std::mt19937& random) {
  std::vector<AttentionInput> inputs;
  for (const auto& [queries, keys] : {std::array{3, 3000}, {270, 1000}, {3000, 3}, {1000, 270}}) {
    for (const bool has_bias : {false, true}) {
      AttentionInput input = MakeInput(queries, keys, 3, 5);
      if (has_bias) Resize(input.bias, {1, 1, queries > keys ? queries : 1, keys});
      input.sinks.resize(1);
      FillNormal(random, input);
      inputs.push_back(input);
    }
  }
  return inputs;
}

// Groups of heads, and in turns diagonals, a window and the shapes of a bias, all of it long enough
// for several tasks: three groups of queries, and five, three or two of keys (backward_plan.cpp).
inline AttentionInput DrawLong(std::mt19937& random, int n) {
  using Causal = AttentionOptions::Causal;
  const std::int64_t keys = n % 4 == 0 ? 1100 : n % 2 == 0 ? 700 : 300;
  AttentionInput input = MakeInput(600, keys, 16, 16);
  input.heads = 4;
  input.kv_heads = 2;
  input.options.causal = n % 3 == 0 ? Causal::bottom_right : Causal::none;
  if (n % 4 == 1) input.options.window_left = 200;
  if (n < 4) Resize(input.bias, {1, n == 0 ? 4 : 1, n == 1 ? 1 : 600, n == 2 ? 1 : keys});
  input.sinks.resize(4);
  FillNormal(random, input);
  return input;
}

}  // namespace logsum::testing
