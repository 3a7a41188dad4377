// Best paths, for viterbi and for logZ in the Max semiring.
#pragma once
#include "scan/kernels.hpp"
#include "scan/run.hpp"

namespace logsum::scan {

inline void RunPath(const PathJob& job, int threads) {
  ForEachGroup(job, MakeGroups(AllSequences(job.shape), job.shape.Lengths(), Kernels().lanes),
               threads, &LaneKernels::path_memory,
               [&](const LaneKernels& kernels, const Group& group, double* memory, std::int64_t) {
                 kernels.path(job, group, memory);
               });
}

}  // namespace logsum::scan
