#include "attention/tangent.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "attention/score.hpp"
#include "attention/score_tangent.hpp"
#include "attention/tangent_kernels.hpp"
#include "attention/tile.hpp"
#include "core/buffer.hpp"
#include "core/dtype.hpp"
#include "core/parallel.hpp"

namespace logsum::attend {
namespace {

constexpr std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

TangentPlan MakeTangentPlan(const Problem& problem, const ResultTangents& results) {
  // What all panels of a block keep, queries as columns and sums of rows, is in the second-level
  // cache beside a tile of keys and values.
  constexpr std::int64_t kMostPanels = 16, kBlockBytes = 512 << 10;
  // Tasks that keep many threads busy when some of them take longer; fewer panels would wait for
  // keys to be staged.
  constexpr std::int64_t kWantedTasks = 32, kFewestPanels = 4;
  TangentPlan plan;
  const std::int64_t heads = problem.batch * problem.kv_heads;
  if (problem.batch * problem.heads == 0 || problem.queries == 0) return plan;
  plan.head_panels = CeilDiv(problem.queries, std::int64_t{kTileQueries});
  plan.panels = plan.head_panels * problem.group;
  const std::int64_t bytes = problem.is_double ? 8 : 4;
  const std::int64_t panel_bytes =
      kTileQueries * bytes * std::max<std::int64_t>(2 * problem.dim + 3 * problem.value_dim, 1);
  std::int64_t most = std::clamp<std::int64_t>(kBlockBytes / panel_bytes, 1, kMostPanels);
  if (heads * CeilDiv(plan.panels, most) < kWantedTasks) most = std::min(most, kFewestPanels);
  plan.blocks = CeilDiv(plan.panels, most);
  plan.block_panels = CeilDiv(plan.panels, plan.blocks);
  plan.blocks = CeilDiv(plan.panels, plan.block_panels);
  plan.tasks = heads * plan.blocks;
  plan.sums_out = results.out && SizeOf(problem.out.dtype) == 2;
  return plan;
}

template <class Real>
void Run(const Problem& problem, const Tangents& tangents, const ResultTangents& results,
         Context context) {
  const TangentPlan plan = MakeTangentPlan(problem, results);
  const TangentKernels<Real>& kernels = KernelsOfTangent<Real>();
  std::optional<ScoreTangent> score;
  std::int64_t score_elements = 0;
  if (problem.score != nullptr) {
    score_elements = problem.score->ScratchElements();
    if (tangents.q || tangents.k || MovesFormula(tangents)) {
      score.emplace(problem, tangents.score_args);
      score_elements = std::max(score_elements, score->ScratchElements());
    }
  }
  const auto bytes = static_cast<std::size_t>(kernels.bytes(problem, plan, score_elements));
  ParallelFor(plan.tasks, context.threads, [&](std::int64_t number) {
    const TaskMemory<std::byte> memory(bytes);
    kernels.run({problem, tangents, results, plan, score ? &*score : nullptr, score_elements,
                 number, memory.get()});
  });
}

}  // namespace

void RunTangent(const Problem& problem, const Tangents& tangents, const ResultTangents& results,
                Context context) {
  if (!results.out && !results.lse) return;
  if (problem.is_double) {
    Run<double>(problem, tangents, results, context);
  } else {
    Run<float>(problem, tangents, results, context);
  }
}

}  // namespace logsum::attend
