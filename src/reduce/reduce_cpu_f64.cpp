// Formula reductions in double, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reduce/reduce_cpu_f64.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "reduce/interpret-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {
namespace {

const KernelTable<double>* TableOfTarget() {
  static constexpr KernelTable<double> table = {.run = RunCell<double>,
                                                .instruction = RunInstruction<double>};
  return &table;
}

}  // namespace
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::reduce {

HWY_EXPORT(TableOfTarget);

template <>
const KernelTable<double>& Kernels<double>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::reduce
#endif
