#include "attention/tangent.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "attention/score.hpp"
#include "attention/score_tangent.hpp"
#include "attention/tangent_kernels.hpp"
#include "core/buffer.hpp"
#include "core/dtype.hpp"
#include "core/parallel.hpp"

namespace logsum::attend {
namespace {

TangentPlan MakeTangentPlan(const Problem& problem, const ResultTangents& results) {
  TangentPlan plan;
  static_cast<PanelBlocks&>(plan) =
      CutPanels(problem, 2 * problem.dim + 3 * problem.value_dim, true);
  plan.tasks = problem.batch * problem.kv_heads * plan.blocks;
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
