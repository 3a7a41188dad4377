#include "attention/plan.hpp"

#include <algorithm>

namespace logsum::attend {
namespace {

constexpr std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// A block of eight panels brings each key into memory for 256 queries, which costs about 1% of
// their products; two cost 4%. What a block keeps should leave room for keys and values in a
// second-level cache of 1 MB.
constexpr std::int64_t kMostPanels = 8, kFewestPanels = 4;
constexpr std::int64_t kBlockBytes = 512 << 10;

// Tasks that keep many threads busy when some of them take longer; and keys that a part has at
// least.
constexpr std::int64_t kWantedTasks = 32, kFewestKeys = 2048;

// Queries of a head up to which the time is that of reading keys and values.
constexpr std::int64_t kFewQueries = 4;

}  // namespace

ForwardPlan MakeForwardPlan(const Problem& problem) {
  ForwardPlan plan;
  const std::int64_t heads = problem.batch * problem.kv_heads;
  if (heads == 0 || problem.queries == 0) return plan;
  const std::int64_t bytes = problem.is_double ? 8 : 4;
  plan.head_panels = CeilDiv(problem.queries, kTileQueries);
  plan.panels = plan.head_panels * problem.group;

  const std::int64_t panel_bytes =
      kTileQueries * bytes * std::max<std::int64_t>(problem.dim + 2 * problem.value_dim, 1);
  std::int64_t most = std::clamp<std::int64_t>(kBlockBytes / panel_bytes, 1, kMostPanels);
  if (heads * CeilDiv(plan.panels, most) < kWantedTasks) most = std::min(most, kFewestPanels);
  plan.blocks = CeilDiv(plan.panels, most);
  plan.block_panels = CeilDiv(plan.panels, plan.blocks);
  plan.blocks = CeilDiv(plan.panels, plan.block_panels);

  const std::int64_t whole = heads * plan.blocks;
  if (whole < kWantedTasks) {
    plan.parts = std::clamp<std::int64_t>(problem.keys / kFewestKeys, 1, kWantedTasks / whole);
  }
  plan.part_keys = CeilDiv(CeilDiv(problem.keys, plan.parts), ForwardPlan::kBlockKeys) *
                   ForwardPlan::kBlockKeys;
  if (plan.part_keys > 0) plan.parts = std::max<std::int64_t>(CeilDiv(problem.keys, plan.part_keys), 1);
  plan.tasks = whole * plan.parts;

  const auto is_plain = [&](const View<4>& array, std::int64_t dim) {
    return array.dtype == (problem.is_double ? DType::f64 : DType::f32) &&
           (array.strides[3] == 1 || dim == 1);
  };
  plan.in_place = problem.queries <= kFewQueries && is_plain(problem.k, problem.dim) &&
                  is_plain(problem.v, problem.value_dim);
  return plan;
}

}  // namespace logsum::attend
