// Extended-range numbers: value = fraction 2^exponent, a float and an integer per lane.
//
// They carry sums and products of exponentials without exp, log, overflow or underflow: aligning
// two of them is a subtraction of integers and a shift. They are what repairs the entries that the
// scaled linear domain cannot certify.
//
//   SplitExp        e^x = f 2^n
//   Mul, Add, MulAdd, Normalize
//   ToLog           log(f) + n ln 2
//
// Normalised means: fraction 0 with exponent kZeroExponent, or |fraction| in [sqrt(1/2), sqrt(2))
// up to rounding. Finite numbers keep |exponent| <= 2^27, products included: that is five factors
// out of SplitExp. Infinity is the exponent kInfiniteExponent with an ordinary fraction, so that
// zero absorbs it: 0 times inf is 0, as -inf + inf is -inf in the log semiring. NaN is a NaN
// fraction.
#if defined(LOGSUM_CORE_EXTENDED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_EXTENDED_INL_H_
#undef LOGSUM_CORE_EXTENDED_INL_H_
#else
#define LOGSUM_CORE_EXTENDED_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "core/log-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
struct Extended {
  hn::Vec<D> fraction;
  hn::Vec<hn::RebindToSigned<D>> exponent;
};

template <class D>
HWY_INLINE Extended<D> ExtendedZero(D d) {
  return {hn::Zero(d), hn::Set(hn::RebindToSigned<D>(), kZeroExponent)};
}

// Whether SplitExp(x) is exactly rounded rather than saturated: |x| <= 2^24, infinite or NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Mask<D> InSplitDomain(D d, V x) {
  using T = hn::TFromD<D>;
  const V size = hn::Abs(x);
  return hn::Not(hn::And(hn::Gt(size, hn::Set(d, ExpConstants<T>::kMaxSplitInput)),
                         hn::Lt(size, hn::Set(d, std::numeric_limits<T>::infinity()))));
}

// e^x = fraction 2^exponent, normalised; the fraction at most 1 ulp from exact, the exponent exact.
// Domain |x| <= 2^24. -inf -> zero, +inf -> infinity, NaN -> NaN. Beyond the domain the number
// saturates to fraction 1 with exponent kInfiniteExponent or -kInfiniteExponent: larger or smaller
// than all in the domain but not comparable with each other. Callers ask InSplitDomain.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Extended<D> SplitExp(D d, V x) {
  using T = hn::TFromD<D>;
  const hn::RebindToSigned<D> di;
  const V one = hn::Set(d, T{1});
  const V bound = hn::Set(d, ExpConstants<T>::kMaxSplitInput);
  const auto above = hn::Gt(x, bound);
  const auto below = hn::Lt(x, hn::Neg(bound));
  const auto outside = hn::Or(above, below);
  // Zero stands in for what saturates: its fraction is 1 already.
  auto [r, n] = ReduceWide(d, hn::IfThenZeroElse(outside, x));
  n = hn::IfThenElse(hn::RebindMask(di, above), hn::Set(di, kInfiniteExponent), n);
  n = hn::IfThenElse(hn::RebindMask(di, below), hn::Set(di, -kInfiniteExponent), n);
  const auto zero = hn::Eq(x, hn::Set(d, -std::numeric_limits<T>::infinity()));
  n = hn::IfThenElse(hn::RebindMask(di, zero), hn::Set(di, kZeroExponent), n);
  n = hn::IfThenElseZero(hn::RebindMask(di, hn::Eq(x, x)), n);
  return {hn::IfThenZeroElse(zero, hn::Add(ExpReducedMinus1(d, r), one)), n};
}

// The product, one rounding, not normalised: its fraction lies in [1/2, 2]. Factors are normalised.
template <class D>
HWY_INLINE Extended<D> Mul(D /*d*/, const Extended<D>& a, const Extended<D>& b) {
  return {hn::Mul(a.fraction, b.fraction), hn::Add(a.exponent, b.exponent)};
}

// 2^difference for difference <= 0; what is below the smallest normal counts as the smallest
// normal, which beside a fraction of ordinary size is nothing.
template <class D, class VI>
HWY_INLINE hn::Vec<D> AlignPower(D d, VI difference) {
  const hn::RebindToSigned<D> di;
  const auto bias = hn::Set(di, ExpConstants<hn::TFromD<D>>::kExponentBias);
  return PowerFromField(d, hn::Max(hn::Add(difference, bias), hn::Set(di, 1)));
}

// a b + c, not normalised. With FMA one rounding, without two.
//
// Error: 2^-24 (2^-53) of |a b| + |c|, twice that without FMA. a and b are normalised; the fraction
// of c is 0 or in [2^-40, 2^60] by size, so up to 2^59 products accumulate in c without a Normalize
// (its exponent never falls; only cancellation between signed terms makes its fraction small).
template <class D>
HWY_INLINE Extended<D> MulAdd(D d, const Extended<D>& a, const Extended<D>& b,
                              const Extended<D>& c) {
  const auto product_exponent = hn::Add(a.exponent, b.exponent);
  const auto exponent = hn::Max(product_exponent, c.exponent);
  const auto product_power = AlignPower(d, hn::Sub(product_exponent, exponent));
  const auto c_power = AlignPower(d, hn::Sub(c.exponent, exponent));
  // Scaling a and c is exact, so the multiply-add rounds only once.
  return {hn::MulAdd(hn::Mul(a.fraction, product_power), b.fraction, hn::Mul(c.fraction, c_power)),
          exponent};
}

// a + b, one rounding, not normalised. Fractions 0 or in [2^-40, 2^60] by size.
template <class D>
HWY_INLINE Extended<D> Add(D d, const Extended<D>& a, const Extended<D>& b) {
  const auto exponent = hn::Max(a.exponent, b.exponent);
  const auto a_power = AlignPower(d, hn::Sub(a.exponent, exponent));
  const auto b_power = AlignPower(d, hn::Sub(b.exponent, exponent));
  return {hn::MulAdd(a.fraction, a_power, hn::Mul(b.fraction, b_power)), exponent};
}

// The same value, normalised, exactly; signs and NaN are kept, a fraction that is 0 (or subnormal)
// becomes zero. Exponents saturate at +-kInfiniteExponent, so that no chain of products wraps.
template <class D>
HWY_INLINE Extended<D> Normalize(D d, const Extended<D>& a) {
  using T = hn::TFromD<D>;
  using Limits = std::numeric_limits<T>;
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  const auto size = hn::Abs(a.fraction);
  const auto zero = hn::Lt(size, hn::Set(d, Limits::min()));
  const auto finite = hn::Le(size, hn::Set(d, Limits::max()));
  const BinaryExponent<D> k(d, size);
  const auto fraction = hn::BitCast(d, hn::Sub(hn::BitCast(du, a.fraction), k.unit));
  const auto moved = hn::Add(a.exponent, hn::BitCast(di, k.Integer()));
  const auto limit = hn::Set(di, kInfiniteExponent);
  const auto saturated = hn::Max(hn::Min(moved, limit), hn::Neg(limit));
  const auto exponent =
      hn::IfThenElse(hn::RebindMask(di, zero), hn::Set(di, kZeroExponent), saturated);
  return {hn::IfThenZeroElse(zero, hn::IfThenElse(finite, fraction, a.fraction)),
          hn::IfThenElse(hn::RebindMask(di, finite), exponent, a.exponent)};
}

// log(fraction) + exponent ln 2. At most 1 ulp for |exponent| <= 2^24; zero -> -inf, infinity
// (exponents from 2^27) -> +inf, negative or NaN -> NaN.
template <class D>
HWY_INLINE hn::Vec<D> ToLog(D d, const Extended<D>& a) {
  using T = hn::TFromD<D>;
  const hn::RebindToSigned<D> di;
  const auto result = LogScaled(d, a.fraction, hn::ConvertTo(d, a.exponent));
  const auto huge = hn::RebindMask(d, hn::Gt(a.exponent, hn::Set(di, kInfiniteExponent / 2)));
  const auto infinity = hn::Set(d, std::numeric_limits<T>::infinity());
  return hn::IfThenElse(hn::And(huge, hn::Gt(a.fraction, hn::Zero(d))), infinity, result);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
