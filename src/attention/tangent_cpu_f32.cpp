// Forward mode of attention in float, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/tangent_cpu_f32.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "attention/tangent-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {
namespace {

const TangentKernels<float>* TableOfTarget() {
  static constexpr TangentKernels<float> table = {.bytes = TangentBytes<float>,
                                                  .run = RunTangentBlock<float>};
  return &table;
}

}  // namespace
}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::attend {

HWY_EXPORT(TableOfTarget);

template <>
const TangentKernels<float>& KernelsOfTangent<float>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::attend
#endif
