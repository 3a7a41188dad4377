// The second pass of packing: panels of scaled exponentials, in the layouts of gemm/panel.hpp.
#if defined(LOGSUM_MATMUL_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_PACK_INL_H_
#undef LOGSUM_MATMUL_PACK_INL_H_
#else
#define LOGSUM_MATMUL_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "matmul/panel_terms-inl.h"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpScaled;

// The exponential of a term of the general kind, scaled by 2^-scale.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaledTerm(D d, const TermKind& kind, const Term<D>& term, V shift, V cut, V scale) {
  using T = hn::TFromD<D>;
  // A scale above every exponent of the domain flushes all terms, as it should.
  const V limit = hn::Set(d, ScalingLimits<T>::kDomain * T{1.45});
  const V own = hn::Sub(hn::Sub(scale, term.exponent), shift);
  const V clamped = hn::Max(hn::Min(own, limit), hn::Neg(limit));
  V y = ExpScaled<D>(d, clamped)(WithCut(d, term.x, cut));
  if (kind.has_residual) y = hn::Mul(y, ExpOfRest(d, term.rest));
  if (kind.has_weight) {
    // A mantissa of zero belongs to x = -inf.
    y = hn::Mul(y, term.mantissa);
  }
  return y;
}

// Scaled exponentials of the lines surveyed, to `panel`.
template <class Real>
void PackLeft(const Packing<Real>& packing, int rows, const PanelTerms<Real, true>& terms,
              Real* panel, const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const bool plain = packing.IsPlain();
  terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
    for (int r = 0; r < rows; ++r) {
      const bool outside = facts.lost[r] == std::numeric_limits<Real>::infinity();
      const V scale = hn::Set(d, facts.scale[r] - static_cast<Real>(packing.bias));
      const ExpScaled<D> exp(d, scale);
      for (std::int64_t k = 0; k < depth.count; k += lanes) {
        V y;
        if (outside) {
          y = hn::Zero(d);
        } else if (plain) {
          y = exp(hn::LoadU(d, blocks.value.data + r * blocks.value.step + k));
        } else {
          V shift, cut;
          GaugeAlong(d, packing, depth.begin + k, shift, cut);
          y = ScaledTerm(d, packing.kind, LoadTerm(d, packing.kind, blocks, r, k), shift, cut,
                         scale);
        }
        hn::StoreU(y, d, panel + gemm::LeftOffset(rows, r, depth.begin + k));
      }
    }
  });
}

// Scaled exponentials of the lines surveyed, to `panel`.
template <class Real>
void PackRight(const Packing<Real>& packing, std::int64_t width,
               const PanelTerms<Real, false>& terms, Real* panel, const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  // Far apart, rows of a power of two fall on the same few sets of a cache, and are gone since the
  // survey.
  constexpr std::int64_t kRowsAhead = 16;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  const bool simple = packing.IsPlain() && *std::max_element(facts.lost, facts.lost + width) < kInf;
  terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
    for (std::int64_t c = 0; c < width; c += lanes) {
      const V scale =
          hn::Sub(hn::LoadU(d, facts.scale + c), hn::Set(d, static_cast<Real>(packing.bias)));
      const auto closed = hn::Eq(hn::LoadU(d, facts.lost + c), hn::Set(d, kInf));
      const ExpScaled<D> exp(d, scale);
      Real* const to = panel + depth.begin * width + c;
      if (simple) {
        for (std::int64_t k = 0; k < depth.count; ++k) {
          PrefetchTerm(packing.kind, blocks, k + kRowsAhead, c);
          const V x = hn::LoadU(d, blocks.value.data + k * blocks.value.step + c);
          hn::Store(exp(x), d, to + k * width);
        }
        continue;
      }
      for (std::int64_t k = 0; k < depth.count; ++k) {
        PrefetchTerm(packing.kind, blocks, k + kRowsAhead, c);
        V shift, cut;
        GaugeAt(d, packing, depth.begin + k, shift, cut);
        const V y =
            ScaledTerm(d, packing.kind, LoadTerm(d, packing.kind, blocks, k, c), shift, cut, scale);
        hn::Store(hn::IfThenZeroElse(closed, y), d, to + k * width);
      }
    }
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
