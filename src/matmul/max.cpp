// Running a product in the Max semiring.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/dtype.hpp"
#include "core/parallel.hpp"
#include "matmul/kernels.hpp"
#include "matmul/run.hpp"
#include "matmul/write.hpp"

namespace logsum::matmul {
namespace {

// Row panels of a task: enough to use every right panel packed several times.
constexpr std::int64_t kPanels = 6;

// The first NaN of a line, or -1. The kernels skip NaN terms (an infinity beside a zero makes such,
// and that is a zero), so the operands' own are looked for.
std::int64_t FindNan(const Source& source, std::int64_t batch, std::int64_t line,
                     std::int64_t depth) {
  return VisitFloating(source.dtype, [&](auto storage) -> std::int64_t {
    const auto* const data = static_cast<const decltype(storage)*>(source.data) +
                             source.batch(batch) + source.outer(line);
    for (std::int64_t k = 0; k < depth; ++k) {
      const auto x = ToFloat(data[source.inner(k)]);
      if (x != x) return k;
    }
    return -1;
  });
}

// The first NaN of every line of an operand, lines of one batch entry side by side.
std::vector<std::int64_t> FindNans(const Plan& plan, const Operand& operand, std::int64_t lines,
                                   int threads) {
  constexpr std::int64_t kLinesOfTask = 64;
  const std::int64_t count = plan.batch * lines;
  std::vector<std::int64_t> found(static_cast<std::size_t>(count));
  ParallelFor(CeilDiv(count, kLinesOfTask), threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(count, (task + 1) * kLinesOfTask);
    for (std::int64_t i = task * kLinesOfTask; i < end; ++i) {
      found[static_cast<std::size_t>(i)] = FindNan(operand.value, i / lines, i % lines, plan.depth);
    }
  });
  return found;
}

void WriteNan(const Plan& plan, const Entry& entry, std::int64_t k) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Store(plan.out, entry, kNan);
  if (plan.bound.Exists()) Store(plan.bound, entry, kNan);
  if (!plan.argmax.Exists()) return;
  auto& argmax = static_cast<std::int64_t*>(plan.argmax.data)[At(plan.argmax, entry)];
  argmax = k;
}

template <class Real>
void Run(const Plan& plan, int threads) {
  const KernelTable<Real>& kernels = Kernels<Real>();
  const std::int64_t rows_of_task = kPanels * kernels.left_lines;
  const std::int64_t tasks = CeilDiv(plan.rows, rows_of_task);
  ParallelFor(plan.batch * tasks, threads, [&](std::int64_t task) {
    const std::int64_t begin = task % tasks * rows_of_task;
    kernels.maximum(plan, task / tasks, {begin, std::min(rows_of_task, plan.rows - begin)});
  });
}

}  // namespace

void RunMax(const Plan& plan, int threads) {
  plan.out.dtype == DType::f64 ? Run<double>(plan, threads) : Run<float>(plan, threads);
  const auto left = FindNans(plan, plan.left, plan.rows, threads);
  const auto right = FindNans(plan, plan.right, plan.columns, threads);
  const auto is_number = [](std::int64_t k) { return k < 0; };
  if (std::all_of(left.begin(), left.end(), is_number) &&
      std::all_of(right.begin(), right.end(), is_number)) {
    return;
  }
  ParallelFor(plan.batch * plan.rows, threads, [&](std::int64_t task) {
    const std::int64_t b = task / plan.rows, k = left[static_cast<std::size_t>(task)];
    for (std::int64_t j = 0; j < plan.columns; ++j) {
      const std::int64_t other = right[static_cast<std::size_t>(b * plan.columns + j)];
      if (k < 0 && other < 0) continue;
      WriteNan(plan, {b, task % plan.rows, j},
               k < 0 || other < 0 ? std::max(k, other) : std::min(k, other));
    }
  });
}

}  // namespace logsum::matmul
