#include "attention_kernels.hpp"

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "attention/offsets-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {
namespace {

template <class Real>
Coverage Offsets(const Problem& problem, const TilePlace& place, Real* offsets, bool* written) {
  const TileOffsets result = OffsetsOf<Real>(problem, place, offsets);
  *written = result.written;
  return result.coverage;
}

Target MakeTarget() { return {hwy::TargetName(HWY_TARGET), {&Offsets<float>}, {&Offsets<double>}}; }

}  // namespace
}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum::attend {

HWY_EXPORT(MakeTarget);

const std::vector<Target>& Targets() {
  static const std::vector<Target> targets =
      testing::OfEachTarget([] { return HWY_DYNAMIC_DISPATCH(MakeTarget)(); });
  return targets;
}

}  // namespace logsum::attend
#endif
