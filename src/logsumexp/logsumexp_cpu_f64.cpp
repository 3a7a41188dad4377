// The array reductions in double, and weighted sums of every type, compiled once for each CPU
// target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "logsumexp/logsumexp_cpu_f64.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "logsumexp/kernels-inl.h"
#include "logsumexp/weighted-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {
namespace {

const KernelTable* TableOfTarget() { return Table<double>(); }

const WeightedKernelTable* WeightedTableOfTarget() {
  static constexpr WeightedKernelTable table = {.reduce = WeightedReduceTask,
                                                .backward = WeightedBackwardTask};
  return &table;
}

}  // namespace
}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::reduction {

HWY_EXPORT(TableOfTarget);
HWY_EXPORT(WeightedTableOfTarget);

template <>
const KernelTable& Kernels<double>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

const WeightedKernelTable& WeightedKernels() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(WeightedTableOfTarget)();
}

}  // namespace logsum::reduction
#endif
