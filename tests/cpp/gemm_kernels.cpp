#include "gemm_kernels.hpp"

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gemm/max_plus-inl.h"
#include "gemm/multiply-inl.h"
#include "gemm/multiply_extended-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {
namespace {

template <class T>
Kernels<T> MakeKernels() {
  return {kRows<T>,
          kVectors,
          static_cast<int>(hn::Lanes(hn::ScalableTag<T>())),
          kTileStride<T>,
          &Multiply<T>,
          &MultiplyExtended<T>,
          &MultiplyExtendedAt<T>,
          &MaxPlus<T>,
          &MaxPlus<T>};
}

Target MakeTarget() {
  return {hwy::TargetName(HWY_TARGET), MakeKernels<float>(), MakeKernels<double>()};
}

}  // namespace
}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum::gemm {

HWY_EXPORT(MakeTarget);

const std::vector<Target>& Targets() {
  static const std::vector<Target> targets =
      testing::OfEachTarget([] { return HWY_DYNAMIC_DISPATCH(MakeTarget)(); });
  return targets;
}

}  // namespace logsum::gemm
#endif
