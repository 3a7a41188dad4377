// The slices that the fast kernels refuse: a maximum of +inf, or one so large that its exponent is
// not exact any more (people write zero as -1e38).
//
// One slice at a time, in double, by the direct shift with the maximum; slow, and right on any
// input. log and exp are the standard library's.
#if defined(LOGSUM_LOGSUMEXP_CAREFUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_CAREFUL_INL_H_
#undef LOGSUM_LOGSUMEXP_CAREFUL_INL_H_
#else
#define LOGSUM_LOGSUMEXP_CAREFUL_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/compensated.hpp"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

inline constexpr std::int64_t kCarefulBlock = 1024;
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// visit(x) for the elements of one kept index in a segment; `scratch` holds kCarefulBlock.
template <class Real, class Visit>
void ForEachTerm(const BlockAccess<Real>& input, std::int64_t kept, Segment segment,
                 const Visit& visit) {
  for (std::int64_t k = segment.begin; k < segment.end; k += kCarefulBlock) {
    const std::int64_t depth = std::min(kCarefulBlock, segment.end - k);
    const Real* const x = input.Read(kept, k, depth, 1, Real(0)).data;
    for (std::int64_t i = 0; i < depth; ++i) visit(static_cast<double>(x[i]));
  }
}

// e^(x - max), with the difference of equal infinities zero.
inline double ShiftedExp(double x, double max) {
  if (x == -kInfinity) return 0.0;
  return x == max ? 1.0 : std::exp(x - max);
}

template <class Real>
Partial CarefulReduce(const BlockAccess<Real>& input, std::int64_t kept, Segment segment) {
  double max = -kInfinity;
  bool has_nan = false;
  ForEachTerm(input, kept, segment, [&](double x) {
    has_nan |= std::isnan(x);
    max = std::max(max, x);
  });
  if (has_nan) return {std::numeric_limits<double>::quiet_NaN(), 0};
  if (max == -kInfinity) return {max, 0};
  CompensatedSum sum;
  bool max_kept_apart = false;
  ForEachTerm(input, kept, segment, [&](double x) {
    if (x == max && !max_kept_apart) {
      max_kept_apart = true;
      return;
    }
    sum.Add(max == kInfinity && x != max ? 0.0 : ShiftedExp(x, max));
  });
  return {max, sum.Value()};
}

// The probability of x in its slice. From the slice's own sum, not from a stored lse: near 1e38
// that has no digit left to tell two equal terms from one.
inline double CarefulProbability(double x, const Partial& slice) {
  if (x == -kInfinity) return 0.0;
  if (std::isnan(slice.max)) return slice.max;
  if (slice.max == kInfinity && x != slice.max) return 0.0;
  return ShiftedExp(x, slice.max) / (1.0 + slice.rest);
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
