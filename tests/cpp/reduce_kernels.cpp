#include "reduce_kernels.hpp"

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reduce_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "reduce/fold-inl.h"
#include "reduce/vectors-inl.h"
#include "reduce/weighted-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {
namespace {

template <class Real>
FoldKernels<Real> MakeKernels() {
  return {static_cast<int>(kLanes<Real>),
          &PushTile<Real>,
          &PushWeighted<Real>,
          &PackVectors<Real>,
          &DotTile<Real>,
          &SqDistTile<Real>};
}

FoldTarget MakeTarget() {
  return {hwy::TargetName(HWY_TARGET), MakeKernels<float>(), MakeKernels<double>()};
}

}  // namespace
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum::reduce {

HWY_EXPORT(MakeTarget);

const std::vector<FoldTarget>& FoldTargets() {
  static const std::vector<FoldTarget> targets =
      testing::OfEachTarget([] { return HWY_DYNAMIC_DISPATCH(MakeTarget)(); });
  return targets;
}

}  // namespace logsum::reduce
#endif
