// Running the phases of a plan: over tiles, or over tiles and segments with their partial results.
#pragma once
#include <cstdint>
#include <memory>

#include "core/parallel.hpp"
#include "logsumexp/kernels.hpp"
#include "logsumexp/plan.hpp"

namespace logsum::reduction {

// Calls body with the kernels for the dtype of an input.
template <class Body>
void WithKernels(DType dtype, const Body& body) {
  body(dtype == DType::f64 ? Kernels<double>() : Kernels<float>());
}

template <class Body>
void ForEachTile(const Plan& plan, int threads, const Body& body) {
  ParallelFor(plan.num_tiles, ThreadsFor(plan, threads), body);
}

// body(tile, segment), neighbouring tiles of one segment after one another.
template <class Body>
void ForEachSegment(const Plan& plan, int threads, const Body& body) {
  ParallelFor(plan.num_tiles * plan.num_segments, ThreadsFor(plan, threads),
              [&](std::int64_t task) { body(task % plan.num_tiles, task / plan.num_tiles); });
}

// The partial results of a plan with several segments; nothing for one.
class PartialStore {
 public:
  explicit PartialStore(Plan& plan) {
    if (plan.num_segments == 1 || plan.space.num_kept == 0) return;
    partials_ = std::make_unique_for_overwrite<Partial[]>(
        static_cast<std::size_t>(plan.num_segments * plan.space.num_kept));
    plan.partials = partials_.get();
  }

 private:
  std::unique_ptr<Partial[]> partials_;
};

}  // namespace logsum::reduction
