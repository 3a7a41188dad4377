// Packing panels of scaled exponentials: once over a panel's terms for its lines' facts, once to
// take the exponentials. The layouts are gemm/panel.hpp's.
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
#include "matmul/lines-inl.h"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpScaled;

// Depths that are staged at a time, and elements of scratch that packing needs.
inline constexpr std::int64_t kLeftStage = 256, kRightStage = 64;
template <class Real>
constexpr std::int64_t PackScratch() {
  return 3 * std::max(kLeftStage * gemm::HWY_NAMESPACE::kRows<Real>,
                      kRightStage * gemm::HWY_NAMESPACE::kTileStride<Real>);
}

// Views the blocks of all sources that an operand has.
template <class Real, class View>
TermBlocks<Real> ViewTerms(const Operand& operand, Real* scratch, std::int64_t each,
                           const View& view) {
  TermBlocks<Real> blocks;
  blocks.value = view(operand.value, scratch);
  if (operand.residual.Exists()) blocks.residual = view(operand.residual, scratch + each);
  if (operand.weight.Exists()) blocks.weight = view(operand.weight, scratch + 2 * each);
  return blocks;
}

// The exponential of a term of the general kind, scaled by 2^-scale.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaledTerm(D d, const TermKind& kind, const Term<D>& term, V shift, V cut, V scale) {
  using T = hn::TFromD<D>;
  // A scale above every exponent of the domain flushes all terms, as it should.
  const V limit = hn::Set(d, ScalingLimits<T>::kDomain * T{1.45});
  const V own = hn::Sub(hn::Sub(scale, term.exponent), shift);
  const V clamped = hn::Max(hn::Min(own, limit), hn::Neg(limit));
  V y = ExpScaled<D>(d, clamped)(hn::Add(term.x, cut));
  if (kind.has_residual) y = hn::Mul(y, ExpOfRest(d, term.rest));
  if (kind.has_weight) {
    // A mantissa of zero belongs to x = -inf.
    y = hn::Mul(y, term.mantissa);
  }
  return y;
}

// The blocks of the left operand's lines, stage after stage: body(depth, blocks), rows by line.
template <class Real, class Body>
HWY_INLINE void ForEachLeftStage(const Packing<Real>& packing, Span lines, Real* scratch,
                                 const Body& body) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t k0 = 0; k0 < packing.depth; k0 += kLeftStage) {
    const Span depth{k0, std::min(kLeftStage, packing.depth - k0)};
    body(depth, ViewTerms(*packing.operand, scratch, lines.count * kLeftStage,
                          [&](const Source& source, Real* space) {
                            return ViewBlock(source, packing.batch, source.outer, lines,
                                             source.inner, depth, lanes, space, kLeftStage);
                          }));
  }
}

// Likewise of the right operand, rows by depth, repeated to whole vectors.
template <class Real, class Body>
HWY_INLINE void ForEachRightStage(const Packing<Real>& packing, Span lines, std::int64_t width,
                                  Real* scratch, const Body& body) {
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  for (std::int64_t k0 = 0; k0 < packing.depth; k0 += kRightStage) {
    const Span depth{k0, std::min(kRightStage, packing.depth - k0)};
    body(depth, ViewTerms(*packing.operand, scratch, kRightStage * kStride,
                          [&](const Source& source, Real* space) {
                            return ViewBlock(source, packing.batch, source.inner, depth,
                                             source.outer, lines, width, space, kStride);
                          }));
  }
}

// The gauge at depth indices [k, k + lanes), or at k alone for all lanes.
template <class D, class Real = hn::TFromD<D>, class V = hn::Vec<D>>
HWY_INLINE void GaugeAlong(D d, const Packing<Real>& packing, std::int64_t k, V& shift, V& cut) {
  shift = cut = hn::Zero(d);
  if (!packing.gauge.Exists()) return;
  shift = hn::Mul(hn::Set(d, packing.gauge_sign), hn::LoadU(d, packing.gauge.shift + k));
  cut = hn::LoadU(d, packing.gauge.cut + k);
}
template <class D, class Real = hn::TFromD<D>, class V = hn::Vec<D>>
HWY_INLINE void GaugeAt(D d, const Packing<Real>& packing, std::int64_t k, V& shift, V& cut) {
  shift = cut = hn::Zero(d);
  if (!packing.gauge.Exists()) return;
  shift = hn::Set(d, packing.gauge_sign * packing.gauge.shift[k]);
  cut = hn::Set(d, packing.gauge.cut[k]);
}

// The facts of at most kRows lines of the left operand.
template <class Real>
void SurveyLeft(const Packing<Real>& packing, Span lines, Real* scratch,
                const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const int rows = static_cast<int>(lines.count);
  constexpr int kMaxRows = gemm::HWY_NAMESPACE::kRows<Real>;
  HWY_ALIGN Real tops[kMaxRows * hn::MaxLanes(d)], bottoms[kMaxRows * hn::MaxLanes(d)];
  Real masses[kMaxRows] = {}, peaks[kMaxRows] = {};
  std::fill_n(tops, kMaxRows * lanes, -std::numeric_limits<Real>::infinity());
  std::fill_n(bottoms, kMaxRows * lanes, std::numeric_limits<Real>::infinity());
  const auto survey = [&](auto&& add) {
    ForEachLeftStage(packing, lines, scratch,
                     [&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
      for (int r = 0; r < rows; ++r) {
        Extremes<D> extremes(d);
        extremes.top = hn::Load(d, tops + r * lanes);
        extremes.bottom = hn::Load(d, bottoms + r * lanes);
        for (std::int64_t k = 0; k < depth.count; k += lanes) {
          add(extremes, blocks, r, depth, k);
        }
        hn::Store(extremes.top, d, tops + r * lanes);
        hn::Store(extremes.bottom, d, bottoms + r * lanes);
      }
    });
  };
  const auto bottom_of = [&](int r) { return *std::min_element(bottoms + r * lanes, bottoms + (r + 1) * lanes); };
  if (packing.IsPlain()) {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span, std::int64_t k)
               HWY_ATTR {
                 extremes.AddPlain(d, hn::LoadU(d, blocks.value.data + r * blocks.value.step + k));
               });
    bool has_zero = false;
    for (int r = 0; r < rows; ++r) has_zero |= bottom_of(r) == -std::numeric_limits<Real>::infinity();
    if (has_zero) {
      std::fill_n(bottoms, kMaxRows * lanes, std::numeric_limits<Real>::infinity());
      survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span, std::int64_t k)
                 HWY_ATTR {
                   extremes.AddNonZero(d,
                                       hn::LoadU(d, blocks.value.data + r * blocks.value.step + k));
                 });
    }
  } else {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span depth,
               std::int64_t k) HWY_ATTR {
      V shift, cut;
      GaugeAlong(d, packing, depth.begin + k, shift, cut);
      extremes.Add(d, LoadTerm(d, packing.kind, blocks, r, k), shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        // Repeated columns must not count twice.
        const Real* const weights = blocks.weight.data + r * blocks.weight.step + k;
        for (std::int64_t i = 0; i < std::min(lanes, depth.count - k); ++i) {
          masses[r] += std::abs(weights[i]);
          peaks[r] = std::max(peaks[r], std::abs(weights[i]));
        }
      }
    });
  }
  for (int r = 0; r < rows; ++r) {
    const Real top = *std::max_element(tops + r * lanes, tops + (r + 1) * lanes);
    DescribeLine(packing, top, bottom_of(r), masses[r], peaks[r], facts.At(r));
  }
}

// Scaled exponentials of the lines surveyed, to `panel`.
template <class Real>
void PackLeft(const Packing<Real>& packing, Span lines, Real* scratch, Real* panel,
              const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const int rows = static_cast<int>(lines.count);
  const bool plain = packing.IsPlain();
  ForEachLeftStage(packing, lines, scratch, [&](Span depth, const TermBlocks<Real>& blocks)
                                                HWY_ATTR {
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

// The facts of at most kTileStride lines of the right operand, `width` with those repeated.
template <class Real>
void SurveyRight(const Packing<Real>& packing, Span lines, std::int64_t width, Real* scratch,
                 const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  HWY_ALIGN Real tops[kStride], bottoms[kStride], masses[kStride], peaks[kStride];
  const auto survey = [&](auto&& add) {
    std::fill_n(tops, kStride, -std::numeric_limits<Real>::infinity());
    std::fill_n(bottoms, kStride, std::numeric_limits<Real>::infinity());
    std::fill_n(masses, kStride, Real{0});
    std::fill_n(peaks, kStride, Real{0});
    ForEachRightStage(packing, lines, width, scratch,
                      [&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
      for (std::int64_t c = 0; c < width; c += lanes) {
        Extremes<D> extremes(d);
        extremes.top = hn::Load(d, tops + c);
        extremes.bottom = hn::Load(d, bottoms + c);
        extremes.mass = hn::Load(d, masses + c);
        extremes.peak = hn::Load(d, peaks + c);
        for (std::int64_t k = 0; k < depth.count; ++k) add(extremes, blocks, depth, k, c);
        hn::Store(extremes.top, d, tops + c);
        hn::Store(extremes.bottom, d, bottoms + c);
        hn::Store(extremes.mass, d, masses + c);
        hn::Store(extremes.peak, d, peaks + c);
      }
    });
  };
  if (packing.IsPlain()) {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, Span, std::int64_t k,
               std::int64_t c) HWY_ATTR {
      extremes.AddPlain(d, hn::LoadU(d, blocks.value.data + k * blocks.value.step + c));
    });
    if (*std::min_element(bottoms, bottoms + width) == -std::numeric_limits<Real>::infinity()) {
      survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, Span, std::int64_t k,
                 std::int64_t c) HWY_ATTR {
        extremes.AddNonZero(d, hn::LoadU(d, blocks.value.data + k * blocks.value.step + c));
      });
    }
  } else {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, Span depth, std::int64_t k,
               std::int64_t c) HWY_ATTR {
      V shift, cut;
      GaugeAt(d, packing, depth.begin + k, shift, cut);
      extremes.Add(d, LoadTerm(d, packing.kind, blocks, k, c), shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        extremes.AddWeight(hn::LoadU(d, blocks.weight.data + k * blocks.weight.step + c));
      }
    });
  }
  for (std::int64_t c = 0; c < width; ++c) {
    DescribeLine(packing, tops[c], bottoms[c], masses[c], peaks[c], facts.At(c));
  }
}

// Scaled exponentials of the lines surveyed, to `panel`.
template <class Real>
void PackRight(const Packing<Real>& packing, Span lines, std::int64_t width, Real* scratch,
               Real* panel, const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  const bool simple =
      packing.IsPlain() && *std::max_element(facts.lost, facts.lost + width) < kInf;
  ForEachRightStage(packing, lines, width, scratch, [&](Span depth, const TermBlocks<Real>& blocks)
                                                        HWY_ATTR {
    for (std::int64_t c = 0; c < width; c += lanes) {
      const V scale = hn::Sub(hn::LoadU(d, facts.scale + c),
                              hn::Set(d, static_cast<Real>(packing.bias)));
      const auto closed = hn::Eq(hn::LoadU(d, facts.lost + c), hn::Set(d, kInf));
      const ExpScaled<D> exp(d, scale);
      Real* const to = panel + depth.begin * width + c;
      if (simple) {
        for (std::int64_t k = 0; k < depth.count; ++k) {
          const V x = hn::LoadU(d, blocks.value.data + k * blocks.value.step + c);
          hn::Store(exp(x), d, to + k * width);
        }
        continue;
      }
      for (std::int64_t k = 0; k < depth.count; ++k) {
        V shift, cut;
        GaugeAt(d, packing, depth.begin + k, shift, cut);
        const V y = ScaledTerm(d, packing.kind, LoadTerm(d, packing.kind, blocks, k, c), shift,
                               cut, scale);
        hn::Store(hn::IfThenZeroElse(closed, y), d, to + k * width);
      }
    }
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
