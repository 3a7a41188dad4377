// Running a kernel over groups of sequences.
#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "scan/group.hpp"
#include "scan/kernels.hpp"

namespace logsum::scan {

// Memory for the tasks of a call: as many arrays as run at once. A fresh array for each task would
// cost a page fault every 4 KB.
class TaskPool {
 public:
  explicit TaskPool(std::int64_t size) : size_(static_cast<std::size_t>(size)) {}

  // Calls use(array).
  template <class Use>
  void With(const Use& use) {
    Buffer<double> buffer = Take();
    use(buffer.get());
    const std::scoped_lock lock(mutex_);
    free_.push_back(std::move(buffer));
  }

 private:
  Buffer<double> Take() {
    const std::scoped_lock lock(mutex_);
    if (free_.empty()) return Buffer<double>(size_);
    Buffer<double> buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }

  const std::size_t size_;
  std::mutex mutex_;
  std::vector<Buffer<double>> free_;
};

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
  TaskPool pool(size);
  ParallelFor(static_cast<std::int64_t>(groups.size()), threads, [&](std::int64_t index) {
    const Group& group = groups[static_cast<std::size_t>(index)];
    pool.With([&](double* array) { run(KernelsFor(group), group, array, index); });
  });
}

}  // namespace logsum::scan
