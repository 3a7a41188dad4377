// x^y on SIMD words.
//
// x^y = e^(y log x), with the logarithm in more digits than the result has, since its error is
// multiplied by y: float32 in double, float64 as a sum of two doubles.
//
// Bounds hold on every target; tests/cpp/reduce_engine_functions_test.cpp measures all.
#if defined(LOGSUM_CORE_POWER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_POWER_INL_H_
#undef LOGSUM_CORE_POWER_INL_H_
#else
#define LOGSUM_CORE_POWER_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "core/two_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What a b, rounded to `product`, has lost; exactly, unless it underflows. Without FMA by halves of
// 26 bits (Dekker 1971), which takes |a|, |b| < 2^990.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ProductError(D d, V a, V b, V product) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulSub(a, b, product);
#else
  const V splitter = hn::Set(d, 134217729.0);
  const V a_scaled = hn::Mul(a, splitter), b_scaled = hn::Mul(b, splitter);
  const V a_high = hn::Sub(a_scaled, hn::Sub(a_scaled, a)), a_low = hn::Sub(a, a_high);
  const V b_high = hn::Sub(b_scaled, hn::Sub(b_scaled, b)), b_low = hn::Sub(b, b_high);
  V error = hn::Sub(hn::Mul(a_high, b_high), product);
  error = hn::Add(error, hn::Mul(a_high, b_low));
  error = hn::Add(error, hn::Mul(a_low, b_high));
  return hn::Add(error, hn::Mul(a_low, b_low));
#endif
}

// log x + low for finite x > 0, absolute error about 2^-60: s = f / (2 + f) is divided twice, the
// terms from s^3 on are rounded once.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogTwice(D d, V x, V& low) {
  using C = ExpConstants<double>;
  const hn::RebindToUnsigned<D> du;
  const V two = hn::Set(d, 2.0);
  const BinaryExponent<D> exponent(d, x);
  const V k = exponent.Number(d, hn::Zero(d));
  const V mantissa = hn::BitCast(d, hn::Sub(hn::BitCast(du, x), exponent.unit));
  const V f = hn::Sub(mantissa, hn::Set(d, 1.0));
  const V below = hn::Add(two, f);
  const V below_low = hn::Add(hn::Sub(two, below), f);
  const V s = hn::Div(f, below);
  const V product = hn::Mul(s, below);
  const V rest = hn::Sub(hn::Sub(f, product), ProductError(d, s, below, product));
  const V s_low = hn::Div(hn::NegMulAdd(s, below_low, rest), below);
  const V z = hn::Mul(s, s);
  const V cubic = hn::Mul(hn::Mul(s, z), LogQuotient(d, z));
  const V tail = hn::MulAdd(two, s_low, hn::MulAdd(k, hn::Set(d, C::kLn2ShortLo), cubic));
  V error;
  const V sum = TwoSum(hn::Mul(k, hn::Set(d, C::kLn2ShortHi)), hn::Mul(two, s), error);
  return TwoSum(sum, hn::Add(error, tail), low);
}

// x^y for finite x > 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfPositive(D d, V x, V y) {
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(double)) {
    V low;
    const V log = LogTwice(d, x, low);
    // Beyond, the power is 0 or infinite whatever its last digits are.
    const V factor = AtMost(d, hn::Set(d, 0x1p70), AtLeast(d, hn::Set(d, -0x1p70), y));
    const V exponent = hn::Mul(factor, log);
    const V rest = hn::MulAdd(factor, low, ProductError(d, factor, log, exponent));
    const V power = Exp(d, exponent);
    const auto has_digits = hn::Lt(hn::Abs(exponent), hn::Set(d, 800.0));
    // As in exp-inl.h: a product of its own would be flushed to zero beside a small power.
    const V corrected = ScaleExp(d, hn::IfThenElseZero(has_digits, rest), power);
    // Infinity times a correction would be NaN.
    return hn::IfThenElse(
        has_digits, hn::IfThenElse(hn::Gt(power, hn::Set(d, 0x1p1023)), power, corrected), power);
  } else if constexpr (hn::MaxLanes(d) * sizeof(double) <= HWY_MAX_BYTES) {
    const hn::Rebind<double, D> dd;
    const auto log = Log(dd, hn::PromoteTo(dd, x));
    return hn::DemoteTo(d, Exp(dd, hn::Mul(hn::PromoteTo(dd, y), log)));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, PowerOfPositive(half, hn::UpperHalf(half, x), hn::UpperHalf(half, y)),
                       PowerOfPositive(half, hn::LowerHalf(half, x), hn::LowerHalf(half, y)));
  }
}

// x^y as std::pow. float32: at most 1 ulp. float64: at most 2 + |y log x| / 32 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Power(D d, V x, V y) {
  using T = hn::TFromD<D>;
  using Limits = std::numeric_limits<T>;
  const V zero = hn::Zero(d), one = hn::Set(d, T{1});
  const V infinity = hn::Set(d, Limits::infinity()), nan = hn::Set(d, Limits::quiet_NaN());
  const V size = hn::Abs(x);
  const auto is_zero = hn::Eq(size, zero), is_infinite = hn::Eq(size, infinity);
  const auto is_special = hn::Or(is_zero, is_infinite);
  V power = PowerOfPositive(d, hn::IfThenElse(is_special, one, size), y);
  // 0^y and inf^-y are 0 for y > 0, and infinite for y < 0.
  const auto vanishes =
      hn::Eq(hn::IfThenElse(is_zero, one, zero), hn::IfThenElse(hn::Gt(y, zero), one, zero));
  power = hn::IfThenElse(is_special, hn::IfThenZeroElse(vanishes, infinity), power);
  const V half = hn::Mul(y, hn::Set(d, T{0.5}));
  const auto is_integer = hn::Eq(hn::Round(y), y);
  const auto is_even = hn::Eq(hn::Round(half), half);
  const V sign = hn::IfThenElseZero(hn::AndNot(is_even, is_integer), hn::And(x, hn::SignBit(d)));
  power = hn::Xor(power, sign);
  const auto is_negative = hn::And(hn::Lt(x, zero), hn::Gt(x, hn::Neg(infinity)));
  power = hn::IfThenElse(hn::AndNot(is_integer, is_negative), nan, power);
  const auto has_nan = hn::Not(hn::And(hn::Eq(x, x), hn::Eq(y, y)));
  power = hn::IfThenElse(has_nan, nan, power);
  // (-1)^(+-inf) is 1 too.
  const auto is_unit = hn::And(hn::Eq(size, one), hn::Eq(hn::Abs(y), infinity));
  const auto is_one = hn::Or(hn::Or(hn::Eq(x, one), hn::Eq(y, zero)), is_unit);
  return hn::IfThenElse(is_one, one, power);
}

// x^n for an integer n. |n| <= 8: by squares, at most 1.5 |n| ulp. Else as Power, exact n up to
// 2^24 (2^53).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOf(D d, V x, std::int64_t n) {
  using T = hn::TFromD<D>;
  if (n > 8 || n < -8) return Power(d, x, hn::Set(d, static_cast<T>(n)));
  V square = n < 0 ? hn::Div(hn::Set(d, T{1}), x) : x;
  V power = hn::Set(d, T{1});
  for (std::int64_t left = n < 0 ? -n : n; left > 0; left >>= 1) {
    if (left % 2 != 0) power = hn::Mul(power, square);
    square = hn::Mul(square, square);
  }
  return power;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
