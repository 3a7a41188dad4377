// Running a product in the Max semiring.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/dtype.hpp"
#include "core/parallel.hpp"
#include "matmul/kernels.hpp"
#include "matmul/run.hpp"
#include "matmul/write.hpp"

namespace logsum::matmul {
namespace {

// Row panels of a task: enough to use every right panel packed several times.
constexpr std::int64_t kPanels = 6;

double ReadValue(const Source& source, std::int64_t at) {
  return VisitFloating(source.dtype, [&](auto storage) {
    return static_cast<double>(ToFloat(static_cast<const decltype(storage)*>(source.data)[at]));
  });
}

// The first NaN of a line, or -1. The kernels skip NaN terms (an infinity beside a zero makes such,
// and that is a zero), so the operands' own are looked for.
std::int64_t FindNan(const Operand& operand, std::int64_t batch, std::int64_t line,
                     std::int64_t depth) {
  for (std::int64_t k = 0; k < depth; ++k) {
    const double x = ReadValue(operand.value, operand.value.At(batch, line, k));
    if (x != x) return k;
  }
  return -1;
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
  const std::int64_t tasks = (plan.rows + rows_of_task - 1) / rows_of_task;
  ParallelFor(plan.batch * tasks, threads, [&](std::int64_t task) {
    const std::int64_t begin = task % tasks * rows_of_task;
    kernels.maximum(plan, task / tasks, {begin, std::min(rows_of_task, plan.rows - begin)});
  });
}

}  // namespace

void RunMax(const Plan& plan, int threads) {
  plan.out.dtype == DType::f64 ? Run<double>(plan, threads) : Run<float>(plan, threads);
  ParallelFor(plan.batch, threads, [&](std::int64_t b) {
    for (std::int64_t j = 0; j < plan.columns; ++j) {
      const std::int64_t k = FindNan(plan.right, b, j, plan.depth);
      for (std::int64_t i = 0; k >= 0 && i < plan.rows; ++i) WriteNan(plan, {b, i, j}, k);
    }
    for (std::int64_t i = 0; i < plan.rows; ++i) {
      const std::int64_t k = FindNan(plan.left, b, i, plan.depth);
      for (std::int64_t j = 0; k >= 0 && j < plan.columns; ++j) {
        const std::int64_t other = FindNan(plan.right, b, j, plan.depth);
        WriteNan(plan, {b, i, j}, other >= 0 ? std::min(k, other) : k);
      }
    }
  });
}

}  // namespace logsum::matmul
