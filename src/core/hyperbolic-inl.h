// e^x - 1, and what is made of it: tanh and the logistic function.
//
// Bounds hold on every target; tests/cpp/reduce_engine_functions_test.cpp measures all.
#if defined(LOGSUM_CORE_HYPERBOLIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_HYPERBOLIC_INL_H_
#undef LOGSUM_CORE_HYPERBOLIC_INL_H_
#else
#define LOGSUM_CORE_HYPERBOLIC_INL_H_
#endif

#include <hwy/highway.h>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// e^x - 1 = 2 (m 2^(n-1) + (2^(n-1) - 1/2)) with m = e^r - 1, which has its digits near 0. At most
// 2.5 ulp for every x; -1 for -inf, +inf from 88.73 (709.79) on.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Expm1(D d, V x) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  // Below, the result is -1 whatever the last bits are.
  const V bounded = AtMost(d, hn::Set(d, C::kExpToInf), AtLeast(d, hn::Set(d, T{-50}), x));
  const V rounder = hn::Set(d, C::kRounder + T{C::kExponentBias - 1});
  const V t = hn::MulAdd(bounded, hn::Set(d, C::kLog2E), rounder);
  const V minus1 = ExpReducedMinus1(d, ReduceByLn2Near(d, bounded, hn::Sub(t, rounder)));
  const V power = PowerFromField(d, hn::BitCast(hn::RebindToUnsigned<D>(), t));
  const V half = hn::MulAdd(minus1, power, hn::Sub(power, hn::Set(d, T{0.5})));
  return hn::CopySign(hn::Add(half, half), x);
}

// tanh x = m / (m + 2) with m = e^(2x) - 1, for x <= 0. At most 4 ulp for every x.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  using T = hn::TFromD<D>;
  const V m = Expm1(d, hn::Mul(hn::Abs(x), hn::Set(d, T{-2})));
  return hn::CopySign(hn::Div(m, hn::Add(m, hn::Set(d, T{2}))), x);
}

// 1 / (1 + e^-x), as e^x / (1 + e^x) for x < 0. At most 3.5 ulp for every x; 0 where e^x is below
// the smallest normal.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, hn::TFromD<D>{1});
  const V e = ExpNonPositive(d, hn::Neg(hn::Abs(x)));
  const V above = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one);
  return hn::Div(above, hn::Add(one, e));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
