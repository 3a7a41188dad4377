#include <cstddef>
#include <vector>

#include "core/errors.hpp"
#include "scan/arguments.hpp"
#include "scan/kernels.hpp"
#include "scan/path.hpp"
#include "scan/run.hpp"

namespace logsum {
namespace {

using scan::Group;
using scan::LaneKernels;
using scan::SumJob;

// The sum in the linear domain, and in extended range for sequences that it cannot certify.
ScanReport RunSum(const SumJob& job, int threads) {
  const int lanes = scan::Kernels().lanes;
  const std::vector<Group> groups =
      scan::MakeGroups(scan::AllSequences(job.shape), job.shape.Lengths(), lanes);
  std::vector<unsigned> failed(groups.size());
  scan::ForEachGroup(
      job, groups, threads, &LaneKernels::sum_memory,
      [&](const LaneKernels& kernels, const Group& group, double* memory, std::int64_t index) {
        failed[static_cast<std::size_t>(index)] = kernels.sum(job, group, memory);
      });
  std::vector<std::int64_t> uncertain;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(groups[i].count); ++lane) {
      if ((failed[i] >> lane & 1u) != 0) uncertain.push_back(groups[i].sequence[lane]);
    }
  }
  scan::ForEachGroup(job, scan::MakeGroups(uncertain, job.shape.Lengths(), lanes), threads,
                     &LaneKernels::ranged_sum_memory,
                     [&](const LaneKernels& kernels, const Group& group, double* memory,
                         std::int64_t) { kernels.ranged_sum(job, group, memory); });
  return {.repaired = static_cast<std::int64_t>(uncertain.size())};
}

}  // namespace

ScanReport logZ(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                const Tensor* lengths, Tensor& logZ, Tensor* grad_Ms, Tensor* grad_v0,
                Tensor* grad_vT, ScanOptions options, Context context) {
  const scan::ScanShape shape("logZ", Ms, graph, lengths);
  const scan::Operand first = shape.Weights("v0", v0), last = shape.Weights("vT", vT);
  const scan::Operand sums = shape.Sequences("logZ", &logZ);
  const scan::Operand of_Ms = shape.LikeMs("grad_Ms", grad_Ms);
  const scan::Operand of_v0 = shape.States("grad_v0", grad_v0);
  const scan::Operand of_vT = shape.States("grad_vT", grad_vT);
  shape.CheckScore("logZ", &logZ);
  shape.CheckSame("grad_Ms", grad_Ms);
  shape.CheckSame("grad_v0", grad_v0);
  shape.CheckSame("grad_vT", grad_vT);
  CheckOutputs("logZ",
               {{"logZ", &logZ}, {"grad_Ms", grad_Ms}, {"grad_v0", grad_v0}, {"grad_vT", grad_vT}});
  scan::CheckCheckpoint("logZ", options.checkpoint);
  if (options.semiring == Semiring::max) {
    scan::RunPath({.shape = shape,
                   .v0 = first,
                   .vT = last,
                   .score = sums,
                   .states = {},
                   .arcs = {},
                   .grad_Ms = of_Ms,
                   .grad_v0 = of_v0,
                   .grad_vT = of_vT,
                   .checkpoint = options.checkpoint},
                  context.threads);
    return {};
  }
  return RunSum({.shape = shape,
                 .v0 = first,
                 .vT = last,
                 .logZ = sums,
                 .grad_Ms = of_Ms,
                 .grad_v0 = of_v0,
                 .grad_vT = of_vT,
                 .checkpoint = options.checkpoint},
                context.threads);
}

}  // namespace logsum
