// The exponentials of a frame's weights: most of the time that a scan takes.
#if defined(LOGSUM_SCAN_EXP_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#undef LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#else
#define LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#endif

#include <type_traits>

#include "core/exp-inl.h"
#include "core/exp_table-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// e^x for the weights of a frame: to 1.1 ulp for float64, to 2^-44 for what float32 holds, of which
// a million together are still within its rounding. x in [-708, 0] or NaN.
template <class Raw>
HWY_INLINE hn::Vec<hn::ScalableTag<double>> WeightExp(hn::Vec<hn::ScalableTag<double>> x) {
  const hn::ScalableTag<double> d;
#if HWY_TARGET == HWY_AVX3
  if constexpr (std::is_same_v<Raw, float>) return logsum::HWY_NAMESPACE::ShortExpByTable(d, x);
#endif
  return logsum::HWY_NAMESPACE::ExpNonPositive(d, x);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
