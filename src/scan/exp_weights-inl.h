// The exponentials of a frame's weights: most of the time that a scan takes.
#if defined(LOGSUM_SCAN_EXP_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#undef LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#else
#define LOGSUM_SCAN_EXP_WEIGHTS_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpNonPositive;

#if HWY_TARGET == HWY_AVX3
// e^x for x in [-708, 0] or NaN, with half the multiply-adds: x = (8 n + j) (ln 2 / 8) + r, where
// 2^(j/8) comes from a table that fits a vector. Relative error below 2^-39 (the polynomial 2^-39.9
// on |r| <= 0.04336, the reduction 2^-44), never below e^-708 (1 - 2^-39).
//
// Polynomial: exp_quotient("0.04336", 2, 53) of tools/minimax.py.
HWY_INLINE hn::Vec<hn::ScalableTag<double>> ExpByTable(hn::Vec<hn::ScalableTag<double>> x) {
  const hn::ScalableTag<double> d;
  const hn::RebindToSigned<decltype(d)> di;
  using C = ExpConstants<double>;
  HWY_ALIGN static constexpr double kPowers[8] = {
      0x1p0,
      0x1.172b83c7d517bp0,
      0x1.306fe0a31b715p0,
      0x1.4bfdad5362a27p0,
      0x1.6a09e667f3bcdp0,
      0x1.8ace5422aa0dbp0,
      0x1.ae89f995ad3adp0,
      0x1.d5818dcfba487p0,
  };
  const auto rounder = hn::Set(d, C::kRounder);
  const auto t = hn::MulAdd(x, hn::Set(d, 8 * C::kLog2E), rounder);
  const auto r = hn::NegMulAdd(hn::Sub(t, rounder), hn::Set(d, C::kLn2Hi / 8), x);
  const auto eighths = hn::BitCast(di, t);
  const auto j = hn::IndicesFromVec(d, hn::And(eighths, hn::Set(di, 7)));
  const auto fraction = hn::TableLookupLanes(hn::Load(d, kPowers), j);
  const auto unit = hn::ShiftLeft<C::kMantissaBits>(hn::ShiftRight<3>(eighths));
  const auto power = hn::BitCast(d, hn::Add(hn::BitCast(di, fraction), unit));
  const auto r2 = hn::Mul(r, r);
  const auto linear =
      hn::MulAdd(hn::Set(d, 0x1.555a3ad5e83cdp-5), r, hn::Set(d, 0x1.555555ac9de3cp-3));
  const auto cubic = hn::MulAdd(hn::Set(d, 0x1.11068b34f4a7ap-7), r2, linear);
  const auto minus1 = hn::MulAdd(hn::MulAdd(cubic, r, hn::Set(d, 0.5)), r2, r);
  return hn::MulAdd(minus1, power, power);
}
#endif

// e^x for the weights of a frame: to 1.1 ulp for float64, to 2^-39 for what float32 holds, of which
// a million are still within its rounding. x in [-708, 0] or NaN.
template <class Raw>
HWY_INLINE hn::Vec<hn::ScalableTag<double>> WeightExp(hn::Vec<hn::ScalableTag<double>> x) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (std::is_same_v<Raw, float>) return ExpByTable(x);
#endif
  return ExpNonPositive(hn::ScalableTag<double>(), x);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
