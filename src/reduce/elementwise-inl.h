// Instructions that work element by element.
#if defined(LOGSUM_REDUCE_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_ELEMENTWISE_INL_H_
#undef LOGSUM_REDUCE_ELEMENTWISE_INL_H_
#else
#define LOGSUM_REDUCE_ELEMENTWISE_INL_H_
#endif

#include "core/exp-inl.h"
#include "core/hyperbolic-inl.h"
#include "core/log-inl.h"
#include "core/logaddexp-inl.h"
#include "core/power-inl.h"
#include "core/trigonometric-inl.h"
#include "hwy/highway.h"
#include "reduce/elementwise_functions-inl.h"
#include "reduce/elementwise_loop-inl.h"
#include "reduce/program.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Atan;
using logsum::HWY_NAMESPACE::AtLeast;
using logsum::HWY_NAMESPACE::Cos;
using logsum::HWY_NAMESPACE::Exp;
using logsum::HWY_NAMESPACE::Expm1;
using logsum::HWY_NAMESPACE::Log;
using logsum::HWY_NAMESPACE::Log1p;
using logsum::HWY_NAMESPACE::LogAddExp;
using logsum::HWY_NAMESPACE::Power;
using logsum::HWY_NAMESPACE::PowerOf;
using logsum::HWY_NAMESPACE::Sigmoid;
using logsum::HWY_NAMESPACE::Sin;
using logsum::HWY_NAMESPACE::Softplus;
using logsum::HWY_NAMESPACE::Tanh;

template <class Real>
HWY_INLINE void MapUnary(Code code, const Operation<Real>& o) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto map = [&](const auto& function) { Map<1>(o, function); };
  switch (code) {
    case Code::copy:
      return map([=](V x) HWY_ATTR { return x; });
    case Code::negate:
      return map([=](V x) HWY_ATTR { return hn::Neg(x); });
    case Code::exp:
      return map([=](V x) HWY_ATTR { return Exp(d, x); });
    case Code::log:
      return map([=](V x) HWY_ATTR { return Log(d, x); });
    case Code::square:
      return map([=](V x) HWY_ATTR { return hn::Mul(x, x); });
    case Code::sqrt:
      return map([=](V x) HWY_ATTR { return hn::Sqrt(x); });
    case Code::rsqrt:
      return map([=](V x) HWY_ATTR { return hn::Div(hn::Set(d, Real{1}), hn::Sqrt(x)); });
    case Code::inverse:
      return map([=](V x) HWY_ATTR { return hn::Div(hn::Set(d, Real{1}), x); });
    case Code::abs:
      return map([=](V x) HWY_ATTR { return hn::Abs(x); });
    case Code::sign:
      return map([=](V x) HWY_ATTR { return Sign(d, x); });
    case Code::step:
      return map([=](V x) HWY_ATTR { return Step(d, x); });
    case Code::relu:
      return map([=](V x) HWY_ATTR { return AtLeast(d, hn::Zero(d), x); });
    case Code::sin:
      return map([=](V x) HWY_ATTR { return Sin(d, x); });
    case Code::cos:
      return map([=](V x) HWY_ATTR { return Cos(d, x); });
    case Code::atan:
      return map([=](V x) HWY_ATTR { return Atan(d, x); });
    case Code::tanh:
      return map([=](V x) HWY_ATTR { return Tanh(d, x); });
    case Code::sigmoid:
      return map([=](V x) HWY_ATTR { return Sigmoid(d, x); });
    case Code::softplus:
      return map([=](V x) HWY_ATTR { return Softplus(d, x); });
    case Code::log1p:
      return map([=](V x) HWY_ATTR { return Log1p(d, x); });
    case Code::expm1:
      return map([=](V x) HWY_ATTR { return Expm1(d, x); });
    case Code::xlogx:
      return map([=](V x) HWY_ATTR { return XLogX(d, x); });
    case Code::power_of:
      return map([=, n = o.first](V x) HWY_ATTR { return PowerOf(d, x, n); });
    default:
      return;
  }
}

template <class Real>
HWY_INLINE void MapBinary(Code code, const Operation<Real>& o) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto map = [&](const auto& function) { Map<2>(o, function); };
  const auto one_where = [=](hn::Mask<decltype(d)> mask)
                             HWY_ATTR { return hn::IfThenElseZero(mask, hn::Set(d, Real{1})); };
  switch (code) {
    case Code::add:
      return map([=](V x, V y) HWY_ATTR { return hn::Add(x, y); });
    case Code::subtract:
      return map([=](V x, V y) HWY_ATTR { return hn::Sub(x, y); });
    case Code::multiply:
      return map([=](V x, V y) HWY_ATTR { return hn::Mul(x, y); });
    case Code::divide:
      return map([=](V x, V y) HWY_ATTR { return hn::Div(x, y); });
    case Code::power:
      return map([=](V x, V y) HWY_ATTR { return Power(d, x, y); });
    case Code::logaddexp:
      return map([=](V x, V y) HWY_ATTR { return LogAddExp(d, x, y); });
    case Code::equal:
      return map([=](V x, V y) HWY_ATTR { return one_where(hn::Eq(x, y)); });
    case Code::not_equal:
      // A NaN differs from everything, also where Highway's Ne does not say so.
      return map([=](V x, V y)
                     HWY_ATTR { return hn::IfThenZeroElse(hn::Eq(x, y), hn::Set(d, Real{1})); });
    case Code::less:
      return map([=](V x, V y) HWY_ATTR { return one_where(hn::Lt(x, y)); });
    case Code::less_equal:
      return map([=](V x, V y) HWY_ATTR { return one_where(hn::Le(x, y)); });
    case Code::keep:
      return map([=](V x, V y) HWY_ATTR { return Keep(d, x, y); });
    case Code::ratio:
      return map([=](V x, V y) HWY_ATTR { return Ratio(d, x, y); });
    case Code::exp_add:
      return map([=](V x, V y) HWY_ATTR { return Exp(d, hn::Add(x, y)); });
    case Code::exp_subtract:
      return map([=](V x, V y) HWY_ATTR { return Exp(d, hn::Sub(x, y)); });
    case Code::exp_multiply:
      return map([=](V x, V y) HWY_ATTR { return Exp(d, hn::Mul(x, y)); });
    default:
      return;
  }
}

template <class Real>
HWY_INLINE void MapTernary(Code code, const Operation<Real>& o) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto map = [&](const auto& function) { Map<3>(o, function); };
  switch (code) {
    case Code::clamp:
      return map([=](V x, V y, V z) HWY_ATTR { return Clamp(d, x, y, z); });
    case Code::if_else:
      return map([=](V x, V y, V z)
                     HWY_ATTR { return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), y, z); });
    case Code::probability:
      return map([=](V x, V y, V z) HWY_ATTR { return Probability(d, x, y, z); });
    case Code::multiply_add:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::MulAdd(x, y, z); });
    case Code::multiply_subtract:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::MulSub(x, y, z); });
    case Code::negative_multiply_add:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::NegMulAdd(x, y, z); });
    case Code::keep_multiply:
      return map([=](V x, V y, V z) HWY_ATTR { return Keep(d, x, hn::Mul(y, z)); });
    case Code::exp_add_multiply:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::Mul(Exp(d, hn::Add(x, y)), z); });
    case Code::exp_subtract_multiply:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::Mul(Exp(d, hn::Sub(x, y)), z); });
    case Code::exp_multiply_multiply:
      return map([=](V x, V y, V z) HWY_ATTR { return hn::Mul(Exp(d, hn::Mul(x, y)), z); });
    default:
      return;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
