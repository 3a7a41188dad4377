// A panel: up to kTileQueries queries of one head.
#pragma once
#include <algorithm>
#include <cstdint>

#include "attention/problem.hpp"
#include "attention/tile.hpp"

namespace logsum::attend {

struct PanelPlace {
  std::int64_t batch, head, query;
  int queries;
};

// Panel `panel` of those of the query heads, `head_panels` each, that share key head `kv` (of all
// batch entries).
inline PanelPlace PanelOf(const Problem& problem, std::int64_t head_panels, std::int64_t kv,
                          std::int64_t panel) {
  const std::int64_t query = panel % head_panels * kTileQueries;
  return {kv / problem.kv_heads, kv % problem.kv_heads * problem.group + panel / head_panels, query,
          static_cast<int>(std::min<std::int64_t>(kTileQueries, problem.queries - query))};
}

}  // namespace logsum::attend
