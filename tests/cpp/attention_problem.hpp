// Inputs of given sizes, regions drawn at random, and the Problem that describes one.
#pragma once
#include <cstdint>
#include <random>
#include <sstream>
#include <string>

#include "attention/problem.hpp"
#include "attention_reference.hpp"

namespace logsum::testing {

// One head, without values yet.
inline AttentionInput MakeInput(std::int64_t queries, std::int64_t keys, std::int64_t dim,
                                std::int64_t value_dim) {
  AttentionInput input;
  input.queries = queries;
  input.keys = keys;
  input.dim = dim;
  input.value_dim = value_dim;
  return input;
}

// Draws causal, window and lengths; `queries`, `keys` and `batch` are given.
inline void DrawRegion(std::mt19937& random, AttentionInput& input) {
  using Causal = AttentionOptions::Causal;
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  constexpr Causal kKinds[] = {Causal::none, Causal::top_left, Causal::bottom_right};
  input.options.causal = kKinds[draw(0, 2)];
  if (draw(0, 1) == 1) input.options.window_left = draw(0, input.keys);
  if (draw(0, 1) == 1) input.options.window_right = draw(0, input.keys);
  for (std::int64_t b = 0, ragged = draw(0, 1); ragged == 1 && b < input.batch; ++b) {
    input.lengths_q.push_back(draw(0, input.queries));
    input.lengths_k.push_back(draw(0, input.keys));
  }
}

inline std::string Describe(const AttentionInput& input) {
  std::ostringstream text;
  text << "batch " << input.batch << " heads " << input.heads << "/" << input.kv_heads
       << " queries " << input.queries << " keys " << input.keys << " dim " << input.dim << "/"
       << input.value_dim << " causal " << static_cast<int>(input.options.causal) << " window "
       << input.options.window_left << ", " << input.options.window_right;
  if (input.options.softcap != 0) text << " softcap " << input.options.softcap;
  if (!input.sinks.empty()) text << " sinks";
  const auto add = [&](const char* name, const auto& numbers) {
    if (numbers.empty()) return;
    text << " " << name;
    for (const std::int64_t number : numbers) text << " " << number;
  };
  add("lengths_q", input.lengths_q);
  add("lengths_k", input.lengths_k);
  if (input.mask.IsThere()) add("mask", input.mask.shape);
  if (input.bias.IsThere()) add("bias", input.bias.shape);
  return text.str();
}

// Without arrays.
inline attend::Problem MakeProblem(const AttentionInput& input) {
  attend::Problem problem;
  problem.batch = input.batch;
  problem.heads = input.heads;
  problem.kv_heads = input.kv_heads;
  problem.group = input.heads / input.kv_heads;
  problem.queries = input.queries;
  problem.keys = input.keys;
  const auto count = static_cast<std::size_t>(input.batch);
  problem.lengths_q = input.lengths_q;
  problem.lengths_k = input.lengths_k;
  problem.lengths_q.resize(count, input.queries);
  problem.lengths_k.resize(count, input.keys);
  problem.causal = input.options.causal != AttentionOptions::Causal::none;
  problem.bottom_right = input.options.causal == AttentionOptions::Causal::bottom_right;
  problem.window_left = input.options.window_left;
  problem.window_right = input.options.window_right;
  return problem;
}

}  // namespace logsum::testing
