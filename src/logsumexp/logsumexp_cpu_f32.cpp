// The array reductions in float, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "logsumexp/logsumexp_cpu_f32.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "logsumexp/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {
namespace {

const KernelTable* TableOfTarget() { return Table<float>(); }

}  // namespace
}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::reduction {

HWY_EXPORT(TableOfTarget);

template <>
const KernelTable& Kernels<float>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::reduction
#endif
