// Natural logarithms on SIMD words.
//
// x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and log(1 + f) = 2 atanh(s) with
// s = f / (2 + f), so that |s| < 0.172 and an odd minimax polynomial in s is short
// (tools/minimax.py). 2 s = f - s f, written so that f itself, which is exact, is the leading term
// and only corrections of the order f^2 are rounded (the arrangement is K. C. Ng's, fdlibm 1993).
//
// Bounds hold on every target, with and without fused multiply-add. A mode that reads subnormal
// numbers as zero (kernels run in such a mode) makes them zero here too; without it they are right.
// tests/cpp/log_test.cpp measures all.
#if defined(LOGSUM_CORE_LOG_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_LOG_INL_H_
#undef LOGSUM_CORE_LOG_INL_H_
#else
#define LOGSUM_CORE_LOG_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "core/two_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The exponent k of x = 2^k m, m in [sqrt(1/2), sqrt(2)), for positive normal x.
template <class D>
struct BinaryExponent {
  using DU = hn::RebindToUnsigned<D>;
  using T = hn::TFromD<D>;
  using TU = hn::TFromD<DU>;
  using C = ExpConstants<T>;

  static constexpr TU kOne = TU{C::kExponentBias} << C::kMantissaBits;
  static constexpr TU kFieldMask = ~((TU{1} << C::kMantissaBits) - 1);

  HWY_INLINE BinaryExponent(D /*d*/, hn::Vec<D> x) {
    const DU du;
    // Adding the distance from sqrt(1/2) to 1 makes the field step at sqrt(1/2), not at 1.
    const auto stepped = hn::Add(hn::BitCast(du, x), hn::Set(du, kOne - C::kSqrtHalfBits));
    unit = hn::Sub(hn::And(stepped, hn::Set(du, kFieldMask)), hn::Set(du, kOne));
    field = hn::ShiftRight<C::kMantissaBits>(stepped);
  }

  // k - shift as a number: 2^p + field, p the mantissa's width, is made by an or.
  HWY_INLINE hn::Vec<D> Number(D d, hn::Vec<D> shift) const {
    const auto sum = hn::Or(field, hn::Set(DU(), C::kIntegerBits));
    return hn::Sub(hn::BitCast(d, sum), hn::Add(hn::Set(d, kNumberOffset), shift));
  }
  static constexpr T kNumberOffset = C::kIntegerOne + C::kExponentBias;

  // k as an integer, in the unsigned lanes' two's complement.
  HWY_INLINE hn::Vec<DU> Integer() const {
    return hn::Sub(field, hn::Set(DU(), TU{C::kExponentBias}));
  }

  hn::Vec<DU> unit;   // k in units of the exponent field: subtracted from bits, it divides by 2^k
  hn::Vec<DU> field;  // k + bias
};

// q of log((1 + s) / (1 - s)) = 2 s + s^3 q(z), z = s^2.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogQuotient(D d, V z) {
  const auto& c = ExpConstants<hn::TFromD<D>>::kLog;
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(float)) {
    return hn::MulAdd(hn::MulAdd(hn::Set(d, c[2]), z, hn::Set(d, c[1])), z, hn::Set(d, c[0]));
  } else {
    const V z2 = hn::Mul(z, z);
    const V p01 = hn::MulAdd(hn::Set(d, c[1]), z, hn::Set(d, c[0]));
    const V p23 = hn::MulAdd(hn::Set(d, c[3]), z, hn::Set(d, c[2]));
    const V p45 = hn::MulAdd(hn::Set(d, c[5]), z, hn::Set(d, c[4]));
    const V p46 = hn::MulAdd(hn::Set(d, c[6]), z2, p45);
    return hn::MulAdd(hn::MulAdd(p46, z2, p23), z2, p01);
  }
}

// log(1 + f) + tail for f in [sqrt(1/2) - 1, sqrt(2) - 1] and a tail of the order of f's ulp, or
// that of a correction to a larger number which will be added.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogReduced(D d, V f, V tail) {
  using T = hn::TFromD<D>;
  const V s = hn::Div(f, hn::Add(f, hn::Set(d, T{2})));
  const V z = hn::Mul(s, s);
  const V half_square = hn::Mul(hn::Mul(f, hn::Set(d, T{0.5})), f);
  const V sum = hn::MulAdd(LogQuotient(d, z), z, half_square);
  return hn::Sub(f, hn::Sub(hn::NegMulAdd(s, sum, half_square), tail));
}

// k ln 2 + log(1 + f) + error for integral k: ln 2's low part joins the small terms, so that only
// they, their sum with f and the result are rounded. kNear: |k| <= 2^9 (float32), 2^11 (float64).
template <bool kNear, class D, class V = hn::Vec<D>>
HWY_INLINE V LogFromParts(D d, V k, V f, V error) {
  using C = ExpConstants<hn::TFromD<D>>;
#if HWY_NATIVE_FMA
  const V r = LogReduced(d, f, hn::MulAdd(k, hn::Set(d, C::kLn2Lo), error));
  return hn::MulAdd(k, hn::Set(d, C::kLn2Hi), r);
#else
  if constexpr (kNear) {
    const V r = LogReduced(d, f, hn::MulAdd(k, hn::Set(d, C::kLn2ShortLo), error));
    return hn::MulAdd(k, hn::Set(d, C::kLn2ShortHi), r);
  } else if constexpr (sizeof(hn::TFromD<D>) == sizeof(float)) {
    return ReduceByLn2InDouble(d, LogReduced(d, f, error), hn::Neg(k));
  } else {
    const V tail = hn::MulAdd(k, hn::Set(d, C::kLn2Tail), error);
    const V r = LogReduced(d, f, hn::MulAdd(k, hn::Set(d, C::kLn2Middle), tail));
    return hn::MulAdd(k, hn::Set(d, C::kLn2Head), r);
  }
#endif
}

// `result`, but x itself for +inf and NaN, -inf for zero of either sign, and NaN for x < 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V WithLogSpecials(D d, V x, V result) {
  using Limits = std::numeric_limits<hn::TFromD<D>>;
  const V infinity = hn::Set(d, Limits::infinity());
  const V nan = hn::Set(d, Limits::quiet_NaN());
  const V zero = hn::Zero(d);
  const V not_positive = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity), nan);
  result = hn::IfThenElse(hn::Lt(x, infinity), result, x);
  return hn::IfThenElse(hn::Gt(x, zero), result, not_positive);
}

// k ln 2 + log(1 + f) for |k| <= 2^24 (2^26), and in `rest` what rounding took from it: together
// they are right to 2^-24 (2^-53) absolutely, that is, to the rounding of log(1 + f).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogFromPartsWithRest(D d, V k, V f, V& rest) {
  using C = ExpConstants<hn::TFromD<D>>;
#if HWY_NATIVE_FMA
  const V r = LogReduced(d, f, hn::Mul(k, hn::Set(d, C::kLn2Lo)));
  const V result = hn::MulAdd(k, hn::Set(d, C::kLn2Hi), r);
  // Exact: a multiple of 2^-24 (2^-53) or of the result's ulp, and below 1.
  rest = hn::Add(hn::MulSub(k, hn::Set(d, C::kLn2Hi), result), r);
  return result;
#else
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(float)) {
    const V r = LogReduced(d, f, hn::Zero(d));
    const V result = ReduceByLn2InDouble(d, r, hn::Neg(k));
    rest = hn::Sub(r, ReduceByLn2InDouble(d, result, k));
    return result;
  } else {
    const V tail = hn::Mul(k, hn::Set(d, C::kLn2Tail));
    const V r = LogReduced(d, f, hn::MulAdd(k, hn::Set(d, C::kLn2Middle), tail));
    const V head = hn::Mul(k, hn::Set(d, C::kLn2Head));  // exact
    const V result = hn::Add(head, r);
    rest = hn::Add(hn::Sub(head, result), r);
    return result;
  }
#endif
}

// log(x 2^n), n taken as 0 unless kScaled, as join(k, f) makes it of its parts.
template <bool kScaled, class D, class Join, class V = hn::Vec<D>>
HWY_INLINE V LogTimesPower(D d, V x, V n, const Join& join) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  const hn::RebindToUnsigned<D> du;
  // Subnormal numbers become normal by a factor of 2^p.
  const auto small = hn::Lt(x, hn::Set(d, std::numeric_limits<T>::min()));
  const V normal = hn::IfThenElse(small, hn::Mul(x, hn::Set(d, C::kIntegerOne)), x);
  const BinaryExponent<D> exponent(d, normal);
  V k = exponent.Number(d, hn::IfThenElseZero(small, hn::Set(d, T{C::kMantissaBits})));
  if constexpr (kScaled) k = hn::Add(k, n);
  const V mantissa = hn::BitCast(d, hn::Sub(hn::BitCast(du, normal), exponent.unit));
  const V f = hn::Sub(mantissa, hn::Set(d, T{1}));
  return WithLogSpecials(d, x, join(k, f));
}

// log(x). At most 1 ulp for every x > 0. log(+-0) = -inf, log(+inf) = +inf, NaN for NaN, x < 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log(D d, V x) {
  return LogTimesPower<false>(d, x, hn::Zero(d), [&](V k, V f) HWY_ATTR {
    return LogFromParts<true>(d, k, f, hn::Zero(d));
  });
}

// log(x 2^n) = log(x) + n ln 2 for integral n, as one logarithm. At most 1 ulp for |n| <= 2^24
// (float32) or 2^30 (float64). Special values of x as in Log, whatever finite n is.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogScaled(D d, V x, V n) {
  return LogTimesPower<true>(
      d, x, n, [&](V k, V f) HWY_ATTR { return LogFromParts<false>(d, k, f, hn::Zero(d)); });
}

// log(x 2^n) for a sum of exponentials, as join(k, f) makes it of its parts: x is zero, a normal
// number up to the largest finite one, or NaN.
template <class D, class Join, class V = hn::Vec<D>>
HWY_INLINE V LogOfSum(D d, V x, V n, const Join& join) {
  using T = hn::TFromD<D>;
  const hn::RebindToUnsigned<D> du;
  const BinaryExponent<D> exponent(d, x);
  const V k = hn::Add(exponent.Number(d, hn::Zero(d)), n);
  const V mantissa = hn::BitCast(d, hn::Sub(hn::BitCast(du, x), exponent.unit));
  const V result = join(k, hn::Sub(mantissa, hn::Set(d, T{1})));
  // 0 - inf is -inf, NaN stays.
  const V special = hn::Sub(x, hn::Set(d, std::numeric_limits<T>::infinity()));
  return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), result, special);
}

// LogScaled for such sums, a third of the work less.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogScaledOfSum(D d, V x, V n) {
  return LogOfSum(d, x, n,
                  [&](V k, V f) HWY_ATTR { return LogFromParts<false>(d, k, f, hn::Zero(d)); });
}

// The same, and in `rest` what rounding took from it, so that result + rest is right to 2^-24
// (2^-53) absolutely, for |n| <= 2^24 (2^26). Where x is zero or NaN the rest is 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogScaledOfSum(D d, V x, V n, V& rest) {
  const V result =
      LogOfSum(d, x, n, [&](V k, V f) HWY_ATTR { return LogFromPartsWithRest(d, k, f, rest); });
  rest = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), rest);
  return result;
}

// log(1 + x). At most 1 ulp for every x > -1; x itself, -0 included, where |x| < 2^-25 (2^-54).
// log1p(-1) = -inf, log1p(+inf) = +inf, NaN for NaN and x < -1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1p(D d, V x) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  using Exponent = BinaryExponent<D>;
  const hn::RebindToUnsigned<D> du;
  const V one = hn::Set(d, T{1});
  // The rounding of 1 + x can only move it to a neighbouring k, never harm f: that is
  // 2^-k x + (2^-k - 1), both exact while 2^-k matters, and for k = 0 it is x itself.
  const V sum = hn::Add(one, x);
  const Exponent exponent(d, sum);
  const V scaled = hn::BitCast(d, hn::Sub(hn::BitCast(du, x), exponent.unit));
  const auto inverse_bits = hn::Sub(hn::Set(du, Exponent::kOne), exponent.unit);
  const V inverse =
      hn::IfThenElseZero(hn::Lt(x, hn::Set(d, C::kOneIsLost)), hn::BitCast(d, inverse_bits));
  const V shift = hn::Sub(inverse, one);
  V error;  // what that addition rounds off
  const V f = TwoSum(scaled, shift, error);
  const V k = exponent.Number(d, hn::Zero(d));
  const V result = LogFromParts<true>(d, k, f, error);
  return hn::CopySign(WithLogSpecials(d, sum, result), x);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
