// The terms of an operand, vector by vector: logarithm, the rest of it that did not fit, weight.
#if defined(LOGSUM_MATMUL_TERMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_TERMS_INL_H_
#undef LOGSUM_MATMUL_TERMS_INL_H_
#else
#define LOGSUM_MATMUL_TERMS_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "core/exp_constants.hpp"
#include "hwy/highway.h"
#include "matmul/packing.hpp"
#include "matmul/read-inl.h"
#include "matmul/scaling.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// mantissa e^(x + rest) 2^exponent, |rest| at most half an ulp of x, mantissa 0 or 1 <= |m| < 2.
template <class D>
struct Term {
  hn::Vec<D> x, rest, mantissa, exponent;
};

// The blocks of an operand's sources that are read together.
template <class Real>
struct TermBlocks {
  Block<Real> value{}, residual{}, weight{};
};

// The term at row, column of the blocks. A weight of zero takes its term out, whatever that is; a
// weight that is not finite makes x +inf, which no fast rung takes.
template <class D, class Real = hn::TFromD<D>>
HWY_INLINE Term<D> LoadTerm(D d, const TermKind& kind, const TermBlocks<Real>& blocks,
                            std::int64_t row, std::int64_t column) {
  using V = hn::Vec<D>;
  using Limits = std::numeric_limits<Real>;
  using C = ExpConstants<Real>;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto load = [&](const Block<Real>& block)
                        HWY_ATTR { return hn::LoadU(d, block.data + row * block.step + column); };
  const V zero = hn::Zero(d);
  Term<D> term{load(blocks.value), zero, hn::Set(d, Real{1}), zero};
  if (kind.has_residual) {
    const V residual = load(blocks.residual);
    const V sum = hn::Add(term.x, residual);
    const auto finite = hn::Lt(hn::Abs(sum), hn::Set(d, Limits::infinity()));
    const V rest = hn::Sub(residual, hn::Sub(sum, term.x));
    term.x = sum;
    term.rest = hn::IfThenElseZero(finite, rest);
  }
  if (kind.negated) {
    // Where there is nothing to divide, C = -inf, there is no term either; and a C of +inf, whose
    // terms share, is as little for a fast rung as an infinite A.
    const auto infinite = hn::Eq(hn::Abs(term.x), hn::Set(d, Limits::infinity()));
    term.x = hn::IfThenElse(infinite, term.x, hn::Neg(term.x));
    term.rest = hn::Neg(term.rest);
  }
  if (kind.has_weight) {
    const V weight = load(blocks.weight);
    const auto bits = hn::BitCast(du, weight);
    const auto field =
        hn::And(hn::ShiftRight<C::kMantissaBits>(bits), hn::Set(du, 2 * C::kExponentBias + 1));
    const auto exponent = hn::Sub(hn::BitCast(di, field), hn::Set(di, C::kExponentBias));
    term.exponent = hn::ConvertTo(d, exponent);
    const auto unit = hn::ShiftLeft<C::kMantissaBits>(hn::BitCast(du, exponent));
    term.mantissa = hn::BitCast(d, hn::Sub(bits, unit));
    const auto absent = hn::Lt(hn::Abs(weight), hn::Set(d, Limits::min()));
    const auto finite = hn::Lt(hn::Abs(weight), hn::Set(d, Limits::infinity()));
    const auto no_term = hn::Eq(term.x, hn::Set(d, -Limits::infinity()));
    term.x = hn::IfThenElse(hn::Or(finite, no_term), term.x, hn::Set(d, Limits::infinity()));
    term.x = hn::IfThenElse(absent, hn::Set(d, -Limits::infinity()), term.x);
    term.rest = hn::IfThenZeroElse(absent, term.rest);
    term.mantissa = hn::IfThenZeroElse(absent, term.mantissa);
    term.exponent = hn::IfThenZeroElse(absent, term.exponent);
  }
  return term;
}

// x, or -inf where the gauge cuts its depth index; NaN stays.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V WithCut(D d, V x, V cut) {
  const auto is_cut = hn::And(hn::Lt(cut, hn::Zero(d)), hn::Eq(x, x));
  return hn::IfThenElse(is_cut, cut, x);
}

// e^rest for |rest| <= 1/8, to 2^-22 of the rest.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfRest(D d, V rest) {
  using T = hn::TFromD<D>;
  const V one = hn::Set(d, T{1});
  V sum = hn::MulAdd(rest, hn::Set(d, T{0.25}), one);
  sum = hn::MulAdd(hn::Mul(rest, hn::Set(d, T(1.0 / 3))), sum, one);
  sum = hn::MulAdd(hn::Mul(rest, hn::Set(d, T{0.5})), sum, one);
  return hn::MulAdd(rest, sum, one);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
