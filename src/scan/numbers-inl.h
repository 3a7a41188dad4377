// The number systems that sweeps over paths are written in, once for all.
//
// They hold non-negative numbers and add and multiply them in a few plain instructions; a sweep
// multiplies by the weights of a step and adds the paths that meet.
//
//   Linear  a double. It is rescaled by its owner now and then, and never falls below the smallest
//           normal number: Floor rounds what underflowed up, so that a sweep gives an upper bound
//           of every score, and how far up it can be is known (certificate.hpp).
//   Ranged  fraction 2^exponent, two doubles, the exponent an integer. It has no range to leave:
//           exact to rounding on any input, at two to three times the cost.
//   RangedDual  a Ranged number and its derivative along a direction, its slope, in the same units.
//   MaxPlus a logarithm: adds by the maximum, multiplies by adding.
//
// Zero is the fraction 0; in Ranged with an exponent so low that no maximum of exponents sees it.
// +inf is an ordinary fraction with an exponent beyond all finite ones: the paths with the most
// infinite weights dominate, zero absorbs them. NaN is a NaN fraction.
#if defined(LOGSUM_SCAN_NUMBERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_NUMBERS_INL_H_
#undef LOGSUM_SCAN_NUMBERS_INL_H_
#else
#define LOGSUM_SCAN_NUMBERS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "scan/numbers.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpReduced;
using logsum::HWY_NAMESPACE::ReduceByLn2;

// With kUp = false what underflows is flushed to zero instead: a lower bound of every score.
template <class D, bool kUp = true>
class Linear {
 public:
  using V = hn::Vec<D>;
  static constexpr bool kRanged = false;

  struct Number {
    V fraction;
  };

  static HWY_INLINE Number Zero(D d) { return {hn::Zero(d)}; }
  static HWY_INLINE Number Load(D d, Row row, std::int64_t i) {
    return {hn::LoadU(d, row.fractions + i)};
  }
  static HWY_INLINE void Store(D d, const Number& a, Row row, std::int64_t i) {
    hn::StoreU(a.fraction, d, row.fractions + i);
  }
  static HWY_INLINE Number Mul(D /*d*/, const Number& a, const Number& b) {
    return {hn::Mul(a.fraction, b.fraction)};
  }
  static HWY_INLINE Number Add(D /*d*/, const Number& a, const Number& b) {
    return {hn::Add(a.fraction, b.fraction)};
  }
  // a b + c.
  static HWY_INLINE Number MulAdd(D /*d*/, const Number& a, const Number& b, const Number& c) {
    return {hn::MulAdd(a.fraction, b.fraction, c.fraction)};
  }
  // sum + a where `flag` is 1, sum where it is 0.
  static HWY_INLINE Number AddWhere(D /*d*/, V flag, const Number& a, const Number& sum) {
    return {hn::MulAdd(flag, a.fraction, sum.fraction)};
  }
  // Underflow, rounded up. Also makes exact zeros tiny: a mass that the certificate counts anyway.
  static HWY_INLINE Number Floor(D d, const Number& a) {
    if constexpr (!kUp) return a;
    return {hn::Max(hn::Set(d, std::numeric_limits<double>::min()), a.fraction)};
  }
};

// 2^difference for integral difference <= 1023; 0 from -1023 down.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOf(D d, V difference) {
  using C = ExpConstants<double>;
  const hn::RebindToUnsigned<D> du;
  // In [2^52, 2^53) the low bits of a double are its integer; they become the exponent's field.
  const V field = hn::Add(hn::Max(difference, hn::Set(d, -double{C::kExponentBias})),
                          hn::Set(d, 0x1p52 + C::kExponentBias));
  return hn::BitCast(d, hn::ShiftLeft<C::kMantissaBits>(hn::BitCast(du, field)));
}

template <class D>
class Ranged {
 public:
  using V = hn::Vec<D>;
  static constexpr bool kRanged = true;

  struct Number {
    V fraction;
    V exponent;
  };

  static HWY_INLINE Number Zero(D d) { return {hn::Zero(d), hn::Set(d, kZeroExponent)}; }
  static HWY_INLINE Number Load(D d, Row row, std::int64_t i) {
    return {hn::LoadU(d, row.fractions + i), hn::LoadU(d, row.exponents + i)};
  }
  static HWY_INLINE void Store(D d, const Number& a, Row row, std::int64_t i) {
    hn::StoreU(a.fraction, d, row.fractions + i);
    hn::StoreU(a.exponent, d, row.exponents + i);
  }
  static HWY_INLINE Number Mul(D /*d*/, const Number& a, const Number& b) {
    return {hn::Mul(a.fraction, b.fraction), hn::Add(a.exponent, b.exponent)};
  }
  // Fractions within 2^+-200 of one, or 0: what is 2^1023 below the other term is dropped.
  static HWY_INLINE Number Add(D d, const Number& a, const Number& b) {
    const V exponent = hn::Max(a.exponent, b.exponent);
    const V a_power = PowerOf(d, hn::Sub(a.exponent, exponent));
    const V b_power = PowerOf(d, hn::Sub(b.exponent, exponent));
    return {hn::MulAdd(a.fraction, a_power, hn::Mul(b.fraction, b_power)), exponent};
  }
  // a b + c.
  static HWY_INLINE Number MulAdd(D d, const Number& a, const Number& b, const Number& c) {
    return Add(d, Mul(d, a, b), c);
  }
  static HWY_INLINE Number AddWhere(D d, V flag, const Number& a, const Number& sum) {
    // A fraction of 0 alone would be a zero with a large exponent, which pushes others out.
    const auto keep = hn::Gt(flag, hn::Zero(d));
    return Add(d, sum,
               {hn::IfThenElseZero(keep, a.fraction),
                hn::IfThenElse(keep, a.exponent, hn::Set(d, kZeroExponent))});
  }
  static HWY_INLINE Number Floor(D /*d*/, const Number& a) { return a; }

  // The same value with its fraction in [1, 2), exactly. Owed before a fraction has moved by a
  // factor of 2^200: a sum of n terms times a weight moves it by at most 1.5 n up and
  // by sqrt(2) down.
  static HWY_INLINE Number Normalize(D d, const Number& a) {
    using C = ExpConstants<double>;
    const hn::RebindToUnsigned<D> du;
    constexpr std::uint64_t kFraction = (std::uint64_t{1} << C::kMantissaBits) - 1;
    const auto bits = hn::BitCast(du, a.fraction);
    const auto one = hn::BitCast(du, hn::Set(d, 1.0));
    const V fraction = hn::BitCast(d, hn::Or(hn::And(bits, hn::Set(du, kFraction)), one));
    const auto field =
        hn::Or(hn::ShiftRight<C::kMantissaBits>(bits), hn::BitCast(du, hn::Set(d, 0x1p52)));
    const V moved =
        hn::Add(a.exponent, hn::Sub(hn::BitCast(d, field), hn::Set(d, 0x1p52 + C::kExponentBias)));
    const auto normal = hn::And(hn::Ge(a.fraction, hn::Set(d, std::numeric_limits<double>::min())),
                                hn::Le(a.fraction, hn::Set(d, std::numeric_limits<double>::max())));
    const auto zero = hn::Eq(a.fraction, hn::Zero(d));
    return {
        hn::IfThenElse(normal, fraction, a.fraction),
        hn::IfThenElse(normal, moved, hn::IfThenElse(zero, hn::Set(d, kZeroExponent), a.exponent))};
  }

  // The double fraction 2^(exponent - unit), which must not be above 2^800; tiny ones become 0.
  static HWY_INLINE V InUnits(D d, const Number& a, V unit) {
    const V difference = hn::Min(hn::Sub(a.exponent, unit), hn::Set(d, 1000.0));
    return hn::Mul(a.fraction, PowerOf(d, difference));
  }

  // e^x for a log weight: its fraction to an ulp of x, its exponent exact while |x| < 2^52; beyond,
  // a whole power of two, less than an ulp of x away. x <= kZeroWeight is zero, +inf and what is
  // above 1e149 infinity, NaN a NaN fraction.
  static HWY_INLINE Number Exp(D d, V x) {
    using C = ExpConstants<double>;
    const V size = hn::Abs(x);
    // Beyond 2^24 a multiple of 2^20 ln 2 is taken out first: times a head of ln 2 it is exact, and
    // so are the differences.
    const auto is_large =
        hn::And(hn::Gt(size, hn::Set(d, kNear)), hn::Lt(size, hn::Set(d, 0x1p52)));
    const V units = hn::Round(hn::Mul(x, hn::Set(d, C::kLog2E * 0x1p-20)));
    const V n = hn::IfThenElseZero(is_large, hn::Mul(units, hn::Set(d, 0x1p20)));
    const V first = hn::Sub(x, hn::Mul(n, hn::Set(d, C::kLn2Head)));
    const V second = hn::Sub(first, hn::Mul(n, hn::Set(d, C::kLn2Middle)));
    Number number = ExpNear(d, hn::Sub(second, hn::Mul(n, hn::Set(d, C::kLn2Tail))));
    number.exponent = hn::Add(number.exponent, n);
    return number;
  }

 private:
  static constexpr double kNear = 0x1p24;

  // The same for |x| <= kNear, and whole powers of two beyond.
  static HWY_INLINE Number ExpNear(D d, V x) {
    using C = ExpConstants<double>;
    const auto near = hn::Le(hn::Abs(x), hn::Set(d, kNear));
    const V inside = hn::IfThenElseZero(near, x);
    const V n = hn::Round(hn::Mul(inside, hn::Set(d, C::kLog2E)));
    const V f = ExpReduced(d, ReduceByLn2(d, inside, n));
    // Far numbers are whole powers of two: less than an ulp of x is lost. Infinity is a finite one.
    const V far =
        hn::Round(hn::Mul(hn::Min(x, hn::Set(d, kInfiniteExponent)), hn::Set(d, C::kLog2E)));
    const auto zero = hn::Le(x, hn::Set(d, kZeroWeight));
    const auto nan = hn::Not(hn::Eq(x, x));
    const V exponent = hn::IfThenElse(near, n, hn::IfThenZeroElse(nan, far));
    return {hn::IfThenElse(nan, x, hn::IfThenZeroElse(zero, f)),
            hn::IfThenElse(zero, hn::Set(d, kZeroExponent), exponent)};
  }
};

template <class D>
class RangedDual {
 public:
  using V = hn::Vec<D>;
  using Plain = Ranged<D>;
  static constexpr bool kRanged = true;

  struct Number {
    V fraction;
    V exponent;
    V slope;
  };

  static HWY_INLINE Number Zero(D d) {
    return {hn::Zero(d), hn::Set(d, kZeroExponent), hn::Zero(d)};
  }
  static HWY_INLINE Number Load(D d, Row row, std::int64_t i) {
    return {hn::LoadU(d, row.fractions + i), hn::LoadU(d, row.exponents + i),
            hn::LoadU(d, row.slopes + i)};
  }
  static HWY_INLINE void Store(D d, const Number& a, Row row, std::int64_t i) {
    hn::StoreU(a.fraction, d, row.fractions + i);
    hn::StoreU(a.exponent, d, row.exponents + i);
    hn::StoreU(a.slope, d, row.slopes + i);
  }
  // The slope of a zero is zero, whatever it is a product of.
  static HWY_INLINE Number Mul(D d, const Number& a, const Number& b) {
    const V fraction = hn::Mul(a.fraction, b.fraction);
    const V slope = hn::MulAdd(a.fraction, b.slope, hn::Mul(a.slope, b.fraction));
    return {fraction, hn::Add(a.exponent, b.exponent),
            hn::IfThenZeroElse(hn::Eq(fraction, hn::Zero(d)), slope)};
  }
  static HWY_INLINE Number Add(D d, const Number& a, const Number& b) {
    const V exponent = hn::Max(a.exponent, b.exponent);
    const V a_power = PowerOf(d, hn::Sub(a.exponent, exponent));
    const V b_power = PowerOf(d, hn::Sub(b.exponent, exponent));
    return {hn::MulAdd(a.fraction, a_power, hn::Mul(b.fraction, b_power)), exponent,
            hn::MulAdd(a.slope, a_power, hn::Mul(b.slope, b_power))};
  }
  static HWY_INLINE Number AddWhere(D d, V flag, const Number& a, const Number& sum) {
    const auto keep = hn::Gt(flag, hn::Zero(d));
    return Add(d, sum,
               {hn::IfThenElseZero(keep, a.fraction),
                hn::IfThenElse(keep, a.exponent, hn::Set(d, kZeroExponent)),
                hn::IfThenElseZero(keep, a.slope)});
  }
  static HWY_INLINE Number Floor(D /*d*/, const Number& a) { return a; }
  static HWY_INLINE Number Normalize(D d, const Number& a) {
    const auto plain = Plain::Normalize(d, {a.fraction, a.exponent});
    const V moved = hn::Sub(a.exponent, plain.exponent);
    const auto zero = hn::Eq(a.fraction, hn::Zero(d));
    return {plain.fraction, plain.exponent,
            hn::IfThenZeroElse(zero, hn::Mul(a.slope, PowerOf(d, moved)))};
  }
  // e^x for a log weight whose derivative is `slope`; that of a zero takes no part.
  static HWY_INLINE Number Exp(D d, V x, V slope) {
    const auto plain = Plain::Exp(d, x);
    const auto zero = hn::Eq(plain.fraction, hn::Zero(d));
    return {plain.fraction, plain.exponent,
            hn::IfThenZeroElse(zero, hn::Mul(plain.fraction, slope))};
  }
};

template <class D>
class MaxPlus {
 public:
  using V = hn::Vec<D>;
  static constexpr bool kRanged = false;

  struct Number {
    V fraction;  // the logarithm itself
  };

  static HWY_INLINE Number Zero(D d) {
    return {hn::Set(d, -std::numeric_limits<double>::infinity())};
  }
  static HWY_INLINE Number Load(D d, Row row, std::int64_t i) {
    return {hn::LoadU(d, row.fractions + i)};
  }
  static HWY_INLINE void Store(D d, const Number& a, Row row, std::int64_t i) {
    hn::StoreU(a.fraction, d, row.fractions + i);
  }
  static HWY_INLINE Number Mul(D /*d*/, const Number& a, const Number& b) {
    return {hn::Add(a.fraction, b.fraction)};
  }
  static HWY_INLINE Number Add(D /*d*/, const Number& a, const Number& b) {
    return {hn::Max(a.fraction, b.fraction)};
  }
  static HWY_INLINE Number AddWhere(D d, V flag, const Number& a, const Number& sum) {
    const auto keep = hn::Gt(flag, hn::Zero(d));
    return {hn::IfThenElse(keep, hn::Max(a.fraction, sum.fraction), sum.fraction)};
  }
  static HWY_INLINE Number Floor(D /*d*/, const Number& a) { return a; }
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
