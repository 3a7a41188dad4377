// sin, cos and atan on SIMD words.
//
// sin and cos: x = n pi/2 + r with |r| <= pi/4, pi/2 in parts whose products with n are exact (Cody
// and Waite 1980), float32 in double; then a minimax polynomial (tools/minimax.py) for the sine
// or the cosine of r. Where |x| is so large that the parts do not reach, lanes are taken one by one
// from the C library, whose reduction has as many digits of pi as it takes.
//
// Bounds hold on every target; tests/cpp/reduce_engine_functions_test.cpp measures all.
#if defined(LOGSUM_CORE_TRIGONOMETRIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_TRIGONOMETRIC_INL_H_
#undef LOGSUM_CORE_TRIGONOMETRIC_INL_H_
#else
#define LOGSUM_CORE_TRIGONOMETRIC_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstddef>
#include <iterator>

#include "core/trigonometric_constants.hpp"
#include "core/two_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// r + r_low = x - n pi/2; n counts quarter turns, of which the low two bits matter.
template <class D>
struct QuarterTurns {
  hn::Vec<D> r, r_low;
  hn::Vec<hn::RebindToUnsigned<D>> n;
};

// For |x| <= TrigonometricConstants::kLargest.
template <class D, class V = hn::Vec<D>>
HWY_INLINE QuarterTurns<D> ReduceByHalfPi(D d, V x) {
  const hn::RebindToUnsigned<D> du;
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(double)) {
    const auto& part = kHalfPiForDouble;
    const V rounder = hn::Set(d, 0x1.8p52);
    const V t = hn::MulAdd(x, hn::Set(d, kTwoOverPi), rounder);
    const V n = hn::Sub(t, rounder);
    const V first = hn::Sub(x, hn::Mul(n, hn::Set(d, part[0])));
    V error2, error3;
    const V second = TwoSum(first, hn::Neg(hn::Mul(n, hn::Set(d, part[1]))), error2);
    const V third = TwoSum(second, hn::Neg(hn::Mul(n, hn::Set(d, part[2]))), error3);
    const V low = hn::Sub(hn::Add(error2, error3), hn::Mul(n, hn::Set(d, part[3])));
    const V r = hn::Add(third, low);
    return {r, hn::Add(hn::Sub(third, r), low), hn::BitCast(du, t)};
  } else if constexpr (hn::MaxLanes(d) * sizeof(double) <= HWY_MAX_BYTES) {
    const auto& part = kHalfPiForFloat;
    const hn::Rebind<double, D> dd;
    const auto wide = hn::PromoteTo(dd, x);
    const auto n = hn::Round(hn::Mul(wide, hn::Set(dd, kTwoOverPi)));
    auto r = hn::Sub(wide, hn::Mul(n, hn::Set(dd, part[0])));
    r = hn::Sub(r, hn::Mul(n, hn::Set(dd, part[1])));
    r = hn::Sub(r, hn::Mul(n, hn::Set(dd, part[2])));
    const auto turns = hn::DemoteTo(hn::RebindToSigned<D>(), n);
    return {hn::DemoteTo(d, r), hn::Zero(d), hn::BitCast(du, turns)};
  } else {
    const hn::Half<D> half;
    const hn::Half<decltype(du)> half_du;
    const auto low = ReduceByHalfPi(half, hn::LowerHalf(half, x));
    const auto high = ReduceByHalfPi(half, hn::UpperHalf(half, x));
    (void)half_du;
    return {hn::Combine(d, high.r, low.r), hn::Zero(d), hn::Combine(du, high.n, low.n)};
  }
}

// c[0] + c[1] z + ... by Horner's rule.
template <class D, class T, std::size_t kCount, class V = hn::Vec<D>>
HWY_INLINE V Polynomial(D d, const T (&c)[kCount], V z) {
  V sum = hn::Set(d, c[kCount - 1]);
  for (std::size_t i = kCount - 1; i-- > 0;) sum = hn::MulAdd(sum, z, hn::Set(d, c[i]));
  return sum;
}

// The sine of x + `ahead` quarter turns.
template <int kAhead, class D, class V = hn::Vec<D>>
HWY_INLINE V SinOfReduced(D d, const QuarterTurns<D>& x) {
  using T = hn::TFromD<D>;
  using C = TrigonometricConstants<T>;
  const hn::RebindToUnsigned<D> du;
  using TU = hn::TFromD<decltype(du)>;
  const V z = hn::Mul(x.r, x.r);
  const V cubic = hn::Mul(hn::Mul(x.r, z), Polynomial(d, C::kSin, z));
  const V sine = hn::Add(x.r, hn::Add(cubic, x.r_low));
  // 1 - z/2 is rounded; what it loses joins the small terms.
  const V half = hn::Mul(z, hn::Set(d, T{0.5})), one = hn::Set(d, T{1});
  const V near = hn::Sub(one, half);
  const V lost = hn::Sub(hn::Sub(one, near), half);
  const V quartic = hn::Mul(hn::Mul(z, z), Polynomial(d, C::kCos, z));
  const V cosine = hn::Add(near, hn::Add(lost, hn::NegMulAdd(x.r, x.r_low, quartic)));
  const auto n = hn::Add(x.n, hn::Set(du, TU{kAhead}));
  const auto is_odd = hn::Eq(hn::And(n, hn::Set(du, TU{1})), hn::Set(du, TU{1}));
  const V size = hn::IfThenElse(hn::RebindMask(d, is_odd), cosine, sine);
  const auto sign = hn::ShiftLeft<8 * sizeof(T) - 2>(hn::And(n, hn::Set(du, TU{2})));
  return hn::Xor(size, hn::BitCast(d, sign));
}

// `result`, but function(x) in lanes that `is_near` leaves out.
template <class D, class F, class V = hn::Vec<D>>
HWY_NOINLINE V OneByOneUnless(D d, hn::Mask<D> is_near, V x, V result, const F& function) {
  using T = hn::TFromD<D>;
  alignas(HWY_MAX_BYTES) T in[HWY_MAX_BYTES / sizeof(T)], out[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(hn::IfThenElse(is_near, hn::Zero(d), x), d, in);
  hn::Store(result, d, out);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) {
    if (in[i] != 0) out[i] = static_cast<T>(function(static_cast<double>(in[i])));
  }
  return hn::Load(d, out);
}

// sin x. At most 1.5 ulp for |x| <= 2^28 in float32, 1 ulp for |x| <= 2^20 in float64, and the C
// library's bound beyond; NaN for infinities.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sin(D d, V x) {
  const auto is_near =
      hn::Le(hn::Abs(x), hn::Set(d, TrigonometricConstants<hn::TFromD<D>>::kLargest));
  const V result = SinOfReduced<0>(d, ReduceByHalfPi(d, hn::IfThenElseZero(is_near, x)));
  if (HWY_LIKELY(hn::AllTrue(d, is_near))) return result;
  return OneByOneUnless(d, is_near, x, result, [](double y) { return std::sin(y); });
}

// cos x, likewise.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Cos(D d, V x) {
  const auto is_near =
      hn::Le(hn::Abs(x), hn::Set(d, TrigonometricConstants<hn::TFromD<D>>::kLargest));
  const V result = SinOfReduced<1>(d, ReduceByHalfPi(d, hn::IfThenElseZero(is_near, x)));
  if (HWY_LIKELY(hn::AllTrue(d, is_near))) return result;
  return OneByOneUnless(d, is_near, x, result, [](double y) { return std::cos(y); });
}

// atan x, by atan |x| = base + atan t: t = |x|, (|x| - 1) / (|x| + 1) or -1 / |x|, whichever is
// below tan(pi/8). At most 2 ulp for every x; +-pi/2 for infinities.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Atan(D d, V x) {
  using T = hn::TFromD<D>;
  using C = TrigonometricConstants<T>;
  const V one = hn::Set(d, T{1}), size = hn::Abs(x);
  const auto is_middle = hn::Gt(size, hn::Set(d, T(0.41421356237309503)));
  const auto is_large = hn::Gt(size, hn::Set(d, T(2.414213562373095)));
  V above = hn::IfThenElse(is_middle, hn::Sub(size, one), size);
  V below = hn::IfThenElse(is_middle, hn::Add(size, one), one);
  above = hn::IfThenElse(is_large, hn::Neg(one), above);
  below = hn::IfThenElse(is_large, size, below);
  const V t = hn::Div(above, below);
  // Quarters of pi in the base: 0, 1 or 2.
  const V halves = hn::IfThenElse(is_large, one, hn::IfThenElseZero(is_middle, hn::Set(d, T(0.5))));
  const V z = hn::Mul(t, t);
  const V tail = hn::MulAdd(hn::Mul(hn::Mul(t, z), Polynomial(d, C::kAtan, z)), one,
                            hn::Mul(halves, hn::Set(d, C::kHalfPiLo)));
  const V sum = hn::Add(hn::Mul(halves, hn::Set(d, C::kHalfPiHi)), hn::Add(t, tail));
  return hn::CopySign(sum, x);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
