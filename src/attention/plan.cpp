#include "attention/plan.hpp"

#include <algorithm>

namespace logsum::attend {
namespace {

constexpr std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Keys and values come from memory once for each block of queries, so a block is as large as a
// second-level cache of 1 MB lets it be: what all its panels keep, beside a tile of keys and
// values.
constexpr std::int64_t kMostPanels = 16, kFewestPanels = 4;
constexpr std::int64_t kBlockBytes = 576 << 10;

// Tasks that keep many threads busy when some of them take longer; and keys that a part has at
// least.
constexpr std::int64_t kWantedTasks = 32, kFewestKeys = 2048;

// Queries of a head up to which the time is that of reading keys and values.
constexpr std::int64_t kFewQueries = 4;
// Components of a dot product in four sums of four lanes at least, with chains of 32 additions.
constexpr std::int64_t kLongestDot = 512;

}  // namespace

PanelBlocks CutPanels(const Problem& problem, std::int64_t elements, bool spread) {
  PanelBlocks cut;
  const std::int64_t heads = problem.batch * problem.kv_heads;
  if (problem.batch * problem.heads == 0 || problem.queries == 0) return cut;
  cut.head_panels = CeilDiv(problem.queries, kTileQueries);
  cut.panels = cut.head_panels * problem.group;
  const std::int64_t panel_bytes =
      kTileQueries * (problem.is_double ? 8 : 4) * std::max<std::int64_t>(elements, 1);
  std::int64_t most = std::clamp<std::int64_t>(kBlockBytes / panel_bytes, 1, kMostPanels);
  if (spread && heads * CeilDiv(cut.panels, most) < kWantedTasks) {
    most = std::min(most, kFewestPanels);
  }
  cut.blocks = CeilDiv(cut.panels, most);
  cut.block_panels = CeilDiv(cut.panels, cut.blocks);
  cut.blocks = CeilDiv(cut.panels, cut.block_panels);
  return cut;
}

ForwardPlan MakeForwardPlan(const Problem& problem) {
  ForwardPlan plan;
  const std::int64_t bytes = problem.is_double ? 8 : 4;
  const auto is_plain = [&](const View<4>& array, std::int64_t dim) {
    return array.strides[3] == 1 && dim % (64 / bytes) == 0;
  };
  plan.in_place = problem.queries <= kFewQueries && problem.dim <= kLongestDot &&
                  is_plain(problem.k, problem.dim) && is_plain(problem.v, problem.value_dim);
  static_cast<PanelBlocks&>(plan) =
      CutPanels(problem, problem.dim + problem.value_dim, !plan.in_place);
  if (plan.blocks == 0) return plan;

  const std::int64_t whole = problem.batch * problem.kv_heads * plan.blocks;
  if (whole < kWantedTasks) {
    plan.parts = std::clamp<std::int64_t>(problem.keys / kFewestKeys, 1, kWantedTasks / whole);
  }
  plan.part_keys = CeilDiv(CeilDiv(problem.keys, plan.parts), std::int64_t{kTileKeys}) * kTileKeys;
  if (plan.part_keys > 0)
    plan.parts = std::max<std::int64_t>(CeilDiv(problem.keys, plan.part_keys), 1);
  plan.tasks = whole * plan.parts;
  return plan;
}

}  // namespace logsum::attend
