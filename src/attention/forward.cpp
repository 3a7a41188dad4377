#include "attention/forward.hpp"

#include <cstddef>
#include <cstdint>

#include "attention/kernels.hpp"
#include "attention/plan.hpp"
#include "core/buffer.hpp"
#include "core/parallel.hpp"

namespace logsum::attend {
namespace {

template <class Real>
void Run(const Problem& problem, const Context& context) {
  const ForwardPlan plan = MakeForwardPlan(problem);
  const ForwardTable<Real>& kernels = ForwardKernels<Real>();
  const auto memory = static_cast<std::size_t>(kernels.memory(problem, plan));
  const std::int64_t panels = problem.batch * problem.kv_heads * plan.panels;
  Buffer<Real> partials;
  if (plan.parts > 1) {
    partials = Buffer<Real>(
        static_cast<std::size_t>(panels * plan.parts * PartialSize<Real>(problem.value_dim)));
  }
  ParallelFor(plan.tasks, context.threads, [&](std::int64_t number) {
    const TaskMemory<Real> own(memory);
    kernels.attend({problem, plan, number, own.get(), partials.get()});
  });
  if (plan.parts == 1) return;
  ParallelFor(panels, context.threads, [&](std::int64_t number) {
    const TaskMemory<Real> own(memory);
    kernels.merge({problem, plan, number, own.get(), partials.get()});
  });
}

}  // namespace

void RunForward(const Problem& problem, const Context& context) {
  problem.is_double ? Run<double>(problem, context) : Run<float>(problem, context);
}

}  // namespace logsum::attend
