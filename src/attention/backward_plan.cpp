#include "attention/backward_plan.hpp"

#include <algorithm>

#include "attention/tile.hpp"

namespace logsum::attend {
namespace {

// Tasks of a round that are enough for any machine's cores.
constexpr std::int64_t kTasks = 32;
// Rows of a group: fewer stage operands too often, more need more memory. A group of kFewestRows
// takes a tenth longer for each row than one of kEnoughRows, so only an axis that is cut into few
// groups has such.
constexpr std::int64_t kFewestRows = 256, kEnoughRows = 512, kMostRows = 2048;
constexpr std::int64_t kFewGroups = 8;

constexpr std::int64_t Ratio(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Groups Cut(std::int64_t size, std::int64_t bundles) {
  const std::int64_t small = std::min(Ratio(size, kFewestRows), kFewGroups);
  const std::int64_t most =
      std::clamp<std::int64_t>(std::max(small, Ratio(size, kEnoughRows)), 1, kMostGroups);
  const std::int64_t least = std::min(most, Ratio(size, kMostRows));
  const std::int64_t count = std::clamp(Ratio(kTasks, std::max<std::int64_t>(bundles, 1)),
                                        std::max<std::int64_t>(least, 1), most);
  const std::int64_t group = Ratio(Ratio(size, count), kTileKeys) * kTileKeys;
  return {size, std::max<std::int64_t>(group, 1)};
}

BiasSums KindOf(const View<4>& bias) {
  if (!bias) return BiasSums::none;
  if (bias.strides[3] == 0) return bias.strides[2] == 0 ? BiasSums::keys : BiasSums::queries;
  return bias.strides[2] == 0 ? BiasSums::keys : BiasSums::pairs;
}

}  // namespace

Extent Groups::At(std::int64_t number) const {
  return {number * group, std::min(size, (number + 1) * group)};
}

BackwardPlan MakeBackwardPlan(const Problem& problem, const Gradients& gradients, bool pulls_score,
                              bool shares_pairs) {
  BackwardPlan plan;
  plan.bias = KindOf(gradients.bias);
  const bool pairs = plan.bias == BiasSums::pairs;
  plan.all_batches = shares_pairs || (pairs && gradients.bias.strides[0] == 0);
  plan.all_heads = shares_pairs || (pairs && gradients.bias.strides[1] == 0);
  plan.bundles = (plan.all_batches ? 1 : problem.batch) * (plan.all_heads ? 1 : problem.kv_heads);
  if (pairs) {
    const DType real = problem.is_double ? DType::f64 : DType::f32;
    const std::int64_t summed = (gradients.bias.strides[0] == 0 ? problem.batch : 1) *
                                (gradients.bias.strides[1] == 0 ? problem.heads : 1);
    const bool is_real = gradients.bias.dtype == real;
    if (summed > (is_real ? kMostGroups : 1)) plan.pair_interval = is_real ? kMostGroups : summed;
  }
  if (problem.batch == 0 || problem.kv_heads == 0) plan.bundles = 0;
  plan.queries = Cut(problem.queries, plan.bundles);
  plan.keys = Cut(problem.keys, plan.bundles);

  const std::int64_t query_groups = plan.queries.Count(), key_groups = plan.keys.Count();
  plan.by_keys = key_groups >= query_groups;
  const std::int64_t most = std::max(query_groups, key_groups);
  const std::int64_t fewest = std::min(query_groups, key_groups);
  // What is summed by the other axis beside dq, dk and dv has one copy.
  const bool alone = pulls_score || plan.bias == BiasSums::keys || plan.bias == BiasSums::queries;
  plan.rounds = fewest == 0 || plan.bundles == 0 || problem.heads == 0 ? 0 : alone ? most : fewest;
  plan.copies = plan.rounds == 0 ? 1 : Ratio(most, plan.rounds);
  plan.antidiagonal = problem.causal && problem.window_left < 0;
  plan.band = std::clamp<std::int64_t>(Ratio(2 * kTasks, std::max<std::int64_t>(most, 1)), 1,
                                       std::max<std::int64_t>(plan.bundles, 1));
  return plan;
}

}  // namespace logsum::attend
