// The scans, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scan/scan_cpu.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "scan/covariance-inl.h"
#include "scan/kernels.hpp"
#include "scan/linear_gradient-inl.h"
#include "scan/linear_sum-inl.h"
#include "scan/max-inl.h"
#include "scan/ranged_gradient-inl.h"
#include "scan/ranged_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
std::int64_t SumMemory(const SumJob& job, const Group& group) {
  return job.HasGradient() ? LinearGradient<D>::Memory(job, group)
                           : LinearSum<D>::Memory(job.shape);
}

template <class D>
unsigned Sum(const SumJob& job, const Group& group, double* memory) {
  return job.HasGradient() ? LinearGradient<D>(job, group, memory).Run()
                           : LinearSum<D>(job, group, memory).Run();
}

template <class Sweep, class Job>
void RunSweep(const Job& job, const Group& group, double* memory) {
  Sweep(job, group, memory).Run();
}

template <int kLanes>
constexpr LaneKernels KernelsFor() {
  using D = hn::CappedTag<double, kLanes>;
  return {
      .sum_memory = SumMemory<D>,
      .sum = Sum<D>,
      .ranged_sum_memory = RangedGradient<D>::Memory,
      .ranged_sum = RunSweep<RangedGradient<D>, SumJob>,
      .scores_memory = RangedScores<D>::Memory,
      .scores = RunSweep<RangedScores<D>, ScoresJob>,
      .max_scores = RunSweep<MaxScores<D>, ScoresJob>,
      .path_memory = MaxPath<D>::Memory,
      .path = RunSweep<MaxPath<D>, PathJob>,
      .covariance_memory = Covariance<D>::Memory,
      .covariance = RunSweep<Covariance<D>, CovarianceJob>,
  };
}

const KernelTable* TableOfTarget() {
  // Beyond the target's lanes the tag is capped, and entries repeat the widest.
  static constexpr KernelTable table = {
      .lanes = kFullLanes,
      .by_lanes = {KernelsFor<1>(), KernelsFor<2>(), KernelsFor<std::min(4, kFullLanes)>(),
                   KernelsFor<std::min(8, kFullLanes)>()},
  };
  return &table;
}

}  // namespace
}  // namespace logsum::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::scan {

HWY_EXPORT(TableOfTarget);

const KernelTable& Kernels() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::scan
#endif
