// Formula reductions in float, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reduce/reduce_cpu_f32.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "reduce/interpret-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {
namespace {

const KernelTable<float>* TableOfTarget() {
  static constexpr KernelTable<float> table = {.run = RunCell<float>,
                                               .instruction = RunInstruction<float>};
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
const KernelTable<float>& Kernels<float>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::reduce
#endif
