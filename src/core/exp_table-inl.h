// e^x of doubles by a table, where sixteen of them are two registers (AVX-512).
//
// x = n ln(2)/16 + r with |r| about ln(2)/32 = 0.0217, n = 16 m + k: e^x = 2^m 2^(k/16) e^r, where
// the table of 2^(k/16) is looked up by one permutation and e^r needs a polynomial half as long as
// over the eightfold range (Tang, Table-driven implementation of the exponential function, ACM
// TOMS 15, 1989). About 13 multiply-adds where the table-free form takes 18.
#if defined(LOGSUM_CORE_EXP_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_EXP_TABLE_INL_H_
#undef LOGSUM_CORE_EXP_TABLE_INL_H_
#else
#define LOGSUM_CORE_EXP_TABLE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "core/exp_constants.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX3

inline constexpr bool kHasExpTable = true;

// 2^(n/16) of t = n + ExpConstants::kRounder. The permutation reads k, the low four bits of n;
// moved up by 48 the others are m in the place of the exponent's field. Shorter vectors, for what a
// row's end leaves, gather from the same table: every width gives the same bits.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerByTable(D d, V t) {
  using C = ExpTableConstants;
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, t);
  const auto field = hn::And(hn::ShiftLeft<48>(bits), hn::Set(du, ~std::uint64_t{0} << 52));
  if constexpr (hn::MaxLanes(D()) == 8) {
    const V low = hn::LoadU(d, C::kPowers), high = hn::LoadU(d, C::kPowers + 8);
    const V fraction{_mm512_permutex2var_pd(low.raw, bits.raw, high.raw)};
    return hn::BitCast(d, hn::Add(hn::BitCast(du, fraction), field));
  } else {
    const auto k = hn::BitCast(hn::RebindToSigned<D>(), hn::And(bits, hn::Set(du, 15)));
    const V fraction = hn::GatherIndex(d, C::kPowers, k);
    return hn::BitCast(d, hn::Add(hn::BitCast(du, fraction), field));
  }
}

// e^x for x <= 16 or NaN. At most 1.1 ulp; -inf -> 0, NaN -> NaN; results below 2^-1022 are 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpNonPositiveByTable(D d, V x) {
  using C = ExpTableConstants;
  const V rounder = hn::Set(d, ExpConstants<double>::kRounder);
  const V t = hn::MulAdd(x, hn::Set(d, C::kInverseStep), rounder);
  const V n = hn::Sub(t, rounder);
  const V near = hn::NegMulAdd(n, hn::Set(d, C::kStepHi), x);
  const V r = hn::NegMulAdd(n, hn::Set(d, C::kStepLo), near);
  const V power = PowerByTable(d, t);
  const V r2 = hn::Mul(r, r);
  const V q01 = hn::MulAdd(hn::Set(d, C::kQuotient[1]), r, hn::Set(d, C::kQuotient[0]));
  const V q23 = hn::MulAdd(hn::Set(d, C::kQuotient[3]), r, hn::Set(d, C::kQuotient[2]));
  const V q45 = hn::MulAdd(hn::Set(d, C::kQuotient[5]), r, hn::Set(d, C::kQuotient[4]));
  const V q = hn::MulAdd(hn::MulAdd(q45, r2, q23), r2, q01);
  const V minus1 = hn::MulAdd(q, r2, r);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, C::kLeast)), hn::MulAdd(minus1, power, power));
}

// e^x for x in [-708, 0] or NaN, relative error below 2^-44 (the polynomial 2^-47.3, the reduction
// by one constant n 2^-60), in two thirds of the multiply-adds.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ShortExpByTable(D d, V x) {
  using C = ExpTableConstants;
  const V rounder = hn::Set(d, ExpConstants<double>::kRounder);
  const V t = hn::MulAdd(x, hn::Set(d, C::kInverseStep), rounder);
  const V r = hn::NegMulAdd(hn::Sub(t, rounder), hn::Set(d, C::kStepHi), x);
  const V power = PowerByTable(d, t);
  const V r2 = hn::Mul(r, r);
  const V q01 = hn::MulAdd(hn::Set(d, C::kShortQuotient[1]), r, hn::Set(d, C::kShortQuotient[0]));
  const V q23 = hn::MulAdd(hn::Set(d, C::kShortQuotient[3]), r, hn::Set(d, C::kShortQuotient[2]));
  const V minus1 = hn::MulAdd(hn::MulAdd(q23, r2, q01), r2, r);
  return hn::MulAdd(minus1, power, power);
}

#else

inline constexpr bool kHasExpTable = false;

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
