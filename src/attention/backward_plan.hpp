// How the pairs of a backward pass are cut into cells, and cells into rounds; by shapes alone.
//
// A cell is a group of queries against a group of keys of one key head (with all its query heads).
// The axis with more groups is the main one: a task is one of its groups, and meets the groups of
// the other axis one a round, so that the cells of a round share no group and gradients of both
// axes are summed in one pass, in a fixed order, without atomics. Where the other axis has fewer
// groups than there are tasks, tasks fall into shelves with a copy of its sums each (`copies`),
// added up at the end.
#pragma once
#include <cstdint>

#include "attention/backward.hpp"
#include "attention/problem.hpp"

namespace logsum::attend {

// Groups of an axis: as many additions as a gradient's sum over cells may have (docs/numerics.md).
inline constexpr std::int64_t kMostGroups = 32;

struct Extent {
  std::int64_t begin = 0, end = 0;
  std::int64_t Size() const { return end - begin; }
};

// An axis cut into groups; the last may be shorter.
struct Groups {
  std::int64_t size = 0, group = 1;
  std::int64_t Count() const { return (size + group - 1) / group; }
  Extent At(std::int64_t number) const;
};

// What the gradient of the bias is summed from.
enum class BiasSums : std::uint8_t { none, pairs, keys, queries };

struct BackwardPlan {
  Groups queries, keys;
  bool by_keys = true;      // keys are the main axis
  std::int64_t rounds = 0;  // 0: nothing to do
  std::int64_t copies = 1;  // of the other axis' sums
  bool antidiagonal = false;

  BiasSums bias = BiasSums::none;
  // Whether a task runs all batch entries, or all heads, one after another, because a gradient of
  // pairs is summed over them.
  bool all_batches = false, all_heads = false;
  // Heads whose pairs are summed apart, then added to the gradient; 0: added to it one by one.
  std::int64_t pair_interval = 0;
  std::int64_t bundles = 0;  // runs of (batch, key head) that a task does so
  std::int64_t band = 1;     // bundles whose sums are in memory at a time

  std::int64_t MainCount() const { return by_keys ? keys.Count() : queries.Count(); }

  // The other axis' group that group `main` meets in a round: none if it is beyond the last. A
  // diagonal of a causal mask leaves a round of antidiagonals half of its cells, whichever it is;
  // a window leaves few rounds of diagonals, and these all cells.
  std::int64_t OtherOf(std::int64_t main, std::int64_t round) const {
    const std::int64_t at = main % rounds;
    return (antidiagonal ? round + rounds - at : round + at) % rounds;
  }
  std::int64_t CopyOf(std::int64_t main) const { return main / rounds; }
};

// pulls_score: a score formula is differentiated; shares_pairs: one of its arrays sums pairs of
// several heads.
BackwardPlan MakeBackwardPlan(const Problem& problem, const Gradients& gradients, bool pulls_score,
                              bool shares_pairs);

}  // namespace logsum::attend
