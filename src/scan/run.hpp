// Running a kernel over groups of sequences.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/buffer_pool.hpp"
#include "core/parallel.hpp"
#include "scan/group.hpp"
#include "scan/kernels.hpp"

namespace logsum::scan {

inline const LaneKernels& KernelsFor(const Group& group) {
  return Kernels().by_lanes[static_cast<std::size_t>(std::countr_zero(unsigned(group.lanes)))];
}

inline std::vector<std::int64_t> AllSequences(const ScanShape& shape) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(shape.N()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

// Calls run(kernels, group, memory, index) for every group, with kernels.*memory(job, group)
// doubles.
template <class Job, class Run>
void ForEachGroup(const Job& job, const std::vector<Group>& groups, int threads,
                  std::int64_t (*LaneKernels::*memory)(const Job&, const Group&), const Run& run) {
  std::int64_t size = 0;
  for (const Group& group : groups) {
    size = std::max(size, (KernelsFor(group).*memory)(job, group));
  }
  BufferPool<double> pool;
  ParallelFor(static_cast<std::int64_t>(groups.size()), threads, [&](std::int64_t index) {
    const Group& group = groups[static_cast<std::size_t>(index)];
    const BufferPool<double>::Lease memory_of_task(pool, static_cast<std::size_t>(size));
    run(KernelsFor(group), group, memory_of_task.get(), index);
  });
}

}  // namespace logsum::scan
