// The backward pass's derivative along a direction in double, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/backward_tangent_cpu_f64.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "attention/backward-inl.h"
#include "attention/backward_tangent-inl.h"
#include "attention/backward_write-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {
namespace {

const BackwardKernels<double>* TableOfTarget() {
  static constexpr BackwardKernels<double> table = {.bytes = TangentTile<double>::Bytes,
                                                    .prepare = PrepareTangentRows<double>,
                                                    .run = RunCell<double, TangentTile<double>>,
                                                    .gather = Gather<double>};
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
const BackwardKernels<double>& KernelsOfBackwardTangent() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfTarget)();
}

}  // namespace logsum::attend
#endif
