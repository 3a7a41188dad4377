// The forward kernels, compiled once for each real type and CPU target and chosen at run time
// (attention_cpu_f32.cpp, attention_cpu_f64.cpp).
#pragma once
#include <cstdint>

#include "attention/plan.hpp"
#include "attention/problem.hpp"

namespace logsum::attend {

template <class Real>
struct ForwardTask {
  const Problem& problem;
  const ForwardPlan& plan;
  std::int64_t number;  // of plan.tasks
  Real* memory;         // ForwardTable::memory elements, aligned to 128 bytes
  Real* partials;       // PartialSize elements for each panel of all heads and part; null: one part
};

template <class Real>
struct ForwardTable {
  // Attends; writes results, or partial ones where there are parts.
  void (*attend)(const ForwardTask<Real>&);
  // Merges the parts of panel `number`, of batch x kv_heads x plan.panels, and writes results.
  void (*merge)(const ForwardTask<Real>&);
  // Elements of memory that either takes.
  std::int64_t (*memory)(const Problem&, const ForwardPlan&);
};

template <class Real>
const ForwardTable<Real>& ForwardKernels();

}  // namespace logsum::attend
