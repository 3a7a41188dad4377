// e^x on SIMD words, and its split into a fraction near 1 and a power of two.
//
// Everything rests on x = n ln 2 + r with integral n = round(x log2 e): e^x = e^r 2^n, |r| about
// ln(2)/2, and e^r = 1 + r + r^2/2 + r^3 q(r) with a minimax q (tools/minimax.py). n is taken from
// the low mantissa bits of x log2(e) + 1.5 2^p (p = 23 or 52), which are at the same time the
// exponent field of 2^n once shifted, so rounding, conversion and scaling cost one multiply-add
// and one shift (Cody and Waite 1980 for the reduction; the magic number is folklore).
//
// Bounds hold on every target, with and without fused multiply-add, flush-to-zero on or off; "ulp"
// is the distance of the neighbours of the exact result. tests/cpp/exp_test.cpp measures all.
#if defined(LOGSUM_CORE_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_EXP_INL_H_
#undef LOGSUM_CORE_EXP_INL_H_
#else
#define LOGSUM_CORE_EXP_INL_H_
#endif

#include <hwy/highway.h>

#include "core/exp_constants.hpp"
#include "core/exp_table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// max(low, x) and min(high, x) that keep a NaN in x. x86 returns its second operand where the
// operands are unordered; other instruction sets do not, and pay a comparison.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtLeast(D /*d*/, V low, V x) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Max(low, x);
#else
  return hn::IfThenElse(hn::Lt(x, low), low, x);
#endif
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtMost(D /*d*/, V high, V x) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Min(high, x);
#else
  return hn::IfThenElse(hn::Gt(x, high), high, x);
#endif
}

// x - n ln 2 in double, for float32 on targets without FMA: 2^22 times the error of ln 2 in double
// is 2^-32, so the only error that matters is the final rounding.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ReduceByLn2InDouble(D d, V x, V n) {
  if constexpr (hn::MaxLanes(d) * sizeof(double) <= HWY_MAX_BYTES) {
    const hn::Rebind<double, D> dd;
    const auto product = hn::Mul(hn::PromoteTo(dd, n), hn::Set(dd, ExpConstants<double>::kLn2Hi));
    return hn::DemoteTo(d, hn::Sub(hn::PromoteTo(dd, x), product));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, ReduceByLn2InDouble(half, hn::UpperHalf(half, x), hn::UpperHalf(half, n)),
                       ReduceByLn2InDouble(half, hn::LowerHalf(half, x), hn::LowerHalf(half, n)));
  }
}

// r = x - n ln 2 for integral n with |r| <= 0.5.
//
// Domain |n| < 2^22 (float32), |n| < 2^30 (float64). Error: half an ulp of r (one rounding) plus
// |n| 2^-53 (float32) or |n| 2^-84 (float64).
//
// With FMA, x - n Hi is exact: Hi and every |x| >= 1/2 are multiples of 2^-24 (2^-53) and the
// difference is below 1/2; for |x| < 1/2, n = 0 or the difference is a multiple of x's own ulp.
// Without, float64 takes three parts, of which the first two products and differences are exact.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ReduceByLn2(D d, V x, V n) {
  using C = ExpConstants<hn::TFromD<D>>;
#if HWY_NATIVE_FMA
  const V exact = hn::NegMulAdd(n, hn::Set(d, C::kLn2Hi), x);
  return hn::NegMulAdd(n, hn::Set(d, C::kLn2Lo), exact);
#else
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(float)) {
    return ReduceByLn2InDouble(d, x, n);
  } else {
    const V first = hn::Sub(x, hn::Mul(n, hn::Set(d, C::kLn2Head)));
    const V second = hn::Sub(first, hn::Mul(n, hn::Set(d, C::kLn2Middle)));
    return hn::Sub(second, hn::Mul(n, hn::Set(d, C::kLn2Tail)));
  }
#endif
}

// The same for |n| <= 2^9 (float32) or 2^11 (float64), which saves work where there is no FMA: n
// times the short head is exact, and n times the rest is small enough for its rounding not to
// matter (2^-36, 2^-87).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ReduceByLn2Near(D d, V x, V n) {
#if HWY_NATIVE_FMA
  return ReduceByLn2(d, x, n);
#else
  using C = ExpConstants<hn::TFromD<D>>;
  const V exact = hn::Sub(x, hn::Mul(n, hn::Set(d, C::kLn2ShortHi)));
  return hn::Sub(exact, hn::Mul(n, hn::Set(d, C::kLn2ShortLo)));
#endif
}

template <class D>
struct Reduced {
  hn::Vec<D> r;
  hn::Vec<hn::RebindToSigned<D>> n;
};

// n = round(x log2 e) and r = x - n ln 2 by one rounding, |r| <= 0.3467, for |x| <= 2^24. float32
// goes through double, where n is exact far beyond the 2^24 that a float32 can hold.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Reduced<D> ReduceWide(D d, V x) {
  using C = ExpConstants<double>;
  const hn::RebindToSigned<D> di;
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(double)) {
    const V rounder = hn::Set(d, C::kRounder);
    const V t = hn::MulAdd(x, hn::Set(d, C::kLog2E), rounder);
    const auto n = hn::Sub(hn::BitCast(di, t), hn::BitCast(di, rounder));
    return {ReduceByLn2(d, x, hn::Sub(t, rounder)), n};
  } else if constexpr (hn::MaxLanes(d) * sizeof(double) <= HWY_MAX_BYTES) {
    const hn::Rebind<double, D> dd;
    const auto wide = hn::PromoteTo(dd, x);
    const auto n = hn::Round(hn::Mul(wide, hn::Set(dd, C::kLog2E)));
    const auto r = hn::NegMulAdd(n, hn::Set(dd, C::kLn2Hi), wide);
    return {hn::DemoteTo(d, r), hn::DemoteTo(di, n)};
  } else {
    const hn::Half<D> half;
    const auto low = ReduceWide(half, hn::LowerHalf(half, x));
    const auto high = ReduceWide(half, hn::UpperHalf(half, x));
    return {hn::Combine(d, high.r, low.r), hn::Combine(di, high.n, low.n)};
  }
}

// q of e^r = 1 + r + r^2/2 + r^3 q(r), by pairs of terms: half the depth of Horner's rule.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpCubicQuotient(D d, V r, V r2) {
  const auto& c = ExpConstants<hn::TFromD<D>>::kExp;
  const V p01 = hn::MulAdd(hn::Set(d, c[1]), r, hn::Set(d, c[0]));
  const V p23 = hn::MulAdd(hn::Set(d, c[3]), r, hn::Set(d, c[2]));
  const V p03 = hn::MulAdd(p23, r2, p01);
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(float)) {
    return p03;
  } else {
    const V p45 = hn::MulAdd(hn::Set(d, c[5]), r, hn::Set(d, c[4]));
    const V p67 = hn::MulAdd(hn::Set(d, c[7]), r, hn::Set(d, c[6]));
    const V p48 = hn::MulAdd(hn::MulAdd(hn::Set(d, c[8]), r2, p67), r2, p45);
    return hn::MulAdd(p48, hn::Mul(r2, r2), p03);
  }
}

// e^r - 1 for |r| <= 0.3467 (to 0.375 in ExpScaled at the far end of its domain). Absolute error at
// most 2^-25 (2^-54): meant to be added to 1, or multiplied by a power of two and added to it. Not
// relatively accurate near 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpReducedMinus1(D d, V r) {
  using T = hn::TFromD<D>;
  const V r2 = hn::Mul(r, r);
  const V q = hn::MulAdd(ExpCubicQuotient(d, r, r2), r, hn::Set(d, T{0.5}));
  return hn::MulAdd(q, r2, r);
}

// e^r for |r| <= 0.3467, in [0.707, 1.415]. At most 1 ulp. NaN gives NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpReduced(D d, V r) {
  return hn::Add(ExpReducedMinus1(d, r), hn::Set(d, hn::TFromD<D>{1}));
}

// The floating-point number whose exponent field is the low bits of `bits`.
template <class D, class VI>
HWY_INLINE hn::Vec<D> PowerFromField(D d, VI bits) {
  return hn::BitCast(d, hn::ShiftLeft<ExpConstants<hn::TFromD<D>>::kMantissaBits>(bits));
}

// e^r power from e^r - 1, with one rounding. A separate product of e^r - 1 would be flushed to zero
// beside a power near the smallest normal.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaleExp(D d, V minus1, V power) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(minus1, power, power);
#else
  return hn::Mul(hn::Add(minus1, hn::Set(d, hn::TFromD<D>{1})), power);
#endif
}

// e^x for every x. At most 1.1 ulp; gradual underflow rounds once more (1.1 spacings of the
// subnormal numbers) and is 0 below the smallest normal when the mode flushes.
// -inf -> 0, x > 88.72 (709.78) -> +inf, NaN -> NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  const hn::RebindToUnsigned<D> du;
  x = AtMost(d, hn::Set(d, C::kExpToInf), AtLeast(d, hn::Set(d, C::kExpToZero), x));
  // The range of results spans more than the 254 powers of two there are, so 2^n is applied as
  // 2^(n/2) 2^(n - n/2): the first product is exact, the second is the only one to round.
  const V rounder = hn::Set(d, C::kRounder + T{2 * C::kExponentBias});
  const V t = hn::MulAdd(x, hn::Set(d, C::kLog2E), rounder);
  const V r = ReduceByLn2Near(d, x, hn::Sub(t, rounder));
  const auto field = hn::BitCast(du, t);
  const auto field_half = hn::ShiftRight<1>(field);
  const V scale = PowerFromField(d, field_half);
  const V other = PowerFromField(d, hn::Sub(field, field_half));
  return hn::Mul(ScaleExp(d, ExpReducedMinus1(d, r), scale), other);
}

// e^x 2^-N for a scale N (integral, per lane) and x whose exponent ExponentOf(x) is at most N, so
// that results lie in [0, 1.42]. The hot loop of the library: x is reduced by its own exponent,
// so nothing is rounded by subtracting a maximum, and N costs no instruction.
//
// At most 1.1 ulp. Domain |N| <= 2^21 log2(e) (float32), 2^28 log2(e) (float64): all that
// ExponentOf returns. x any number up to (N + 60) ln 2; -inf -> 0, NaN -> NaN. Results below
// 2^-126.5 (2^-1022.5) are 0; those between and the smallest normal are subnormal, or 0 when the
// mode flushes.
template <class D>
class ExpScaled {
 public:
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;

  HWY_INLINE ExpScaled(D d, V scale) {
    const V bias = hn::Set(d, T{C::kExponentBias});
    rounder_ = hn::Sub(hn::Set(d, C::kRounder + T{C::kExponentBias}), scale);
    // What is as low as this has the exponent field 0, that is the factor 0.
    lowest_ = hn::Mul(hn::Sub(scale, bias), hn::Set(d, C::kLn2Hi));
  }

  // e^x 2^-N.
  HWY_INLINE V operator()(V x) const {
    V power;
    const V minus1 = FractionMinus1(x, power);
    return ScaleExp(D(), minus1, power);
  }

  // f and the power of two with e^x 2^-N = f power, for acc = MulAdd(f, power, acc).
  HWY_INLINE V Fraction(V x, V& power) const {
    const D d;
    return hn::Add(FractionMinus1(x, power), hn::Set(d, T{1}));
  }

 private:
  using C = ExpConstants<T>;

  HWY_INLINE V FractionMinus1(V x, V& power) const {
    const D d;
    x = AtLeast(d, lowest_, x);
    if constexpr (!HWY_NATIVE_FMA && sizeof(T) == sizeof(float)) {
      // The rounding of the product x log2 e would leave r as large as 0.46 at the ends of the
      // domain. n is added to the integer in rounder_'s low bits.
      const auto [r, n] = ReduceWide(d, x);
      const auto bits = hn::BitCast(hn::RebindToSigned<D>(), rounder_);
      power = PowerFromField(d, hn::Add(bits, n));
      return ExpReducedMinus1(d, r);
    }
    const V t = hn::MulAdd(x, hn::Set(d, C::kLog2E), rounder_);
    power = PowerFromField(d, hn::BitCast(hn::RebindToUnsigned<D>(), t));
    return ExpReducedMinus1(d, ReduceByLn2(d, x, hn::Sub(t, rounder_)));
  }

  V rounder_;
  V lowest_;
};

// round(x log2 e), monotone in x, the exponent by which ExpScaled reduces x (one more or less where
// x log2 e is within rounding of a tie). x beyond +-2^21 (float32) or +-2^28 (float64) counts as
// that bound, so that the result is always a legal scale; NaN -> NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExponentOf(D d, V x) {
  using C = ExpConstants<hn::TFromD<D>>;
  const V bound = hn::Set(d, C::kMaxScaleInput);
  const V rounder = hn::Set(d, C::kRounder);
  x = AtMost(d, bound, AtLeast(d, hn::Neg(bound), x));
  return hn::Sub(hn::MulAdd(x, hn::Set(d, C::kLog2E), rounder), rounder);
}

// Whether ExponentOf(x) is x's own exponent and not the bound's.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> InScaleDomain(D d, V x) {
  return hn::Le(hn::Abs(x), hn::Set(d, ExpConstants<hn::TFromD<D>>::kMaxScaleInput));
}

// e^x for x <= 0 or NaN, and a little beyond, to 16. At most 1.1 ulp, -inf -> 0, NaN -> NaN;
// results below 2^-126.5 (2^-1022.5, by table 2^-1022) are 0, and below the smallest normal when
// the mode flushes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpNonPositive(D d, V x) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  if constexpr (kHasExpTable && sizeof(T) == sizeof(double)) {
    return ExpNonPositiveByTable(d, x);
  } else {
    constexpr double kLowest = -C::kExponentBias * ExpConstants<double>::kLn2Hi;
    const V rounder = hn::Set(d, C::kRounder + T{C::kExponentBias});
    x = AtLeast(d, hn::Set(d, static_cast<T>(kLowest)), x);
    const V t = hn::MulAdd(x, hn::Set(d, C::kLog2E), rounder);
    const V power = PowerFromField(d, hn::BitCast(hn::RebindToUnsigned<D>(), t));
    return ScaleExp(d, ExpReducedMinus1(d, ReduceByLn2Near(d, x, hn::Sub(t, rounder))), power);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
