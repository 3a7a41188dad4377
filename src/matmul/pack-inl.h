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
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "matmul/lines-inl.h"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpScaled;

// Elements of scratch that packing needs: an operand whose memory cannot be used as it stands is
// copied there, whole panels at once where they fit, else by so many depth indices.
inline constexpr std::int64_t kPackScratch = 49152;
inline constexpr std::int64_t kLeftStage = 256, kRightStage = 64;

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
  V y = ExpScaled<D>(d, clamped)(WithCut(d, term.x, cut));
  if (kind.has_residual) y = hn::Mul(y, ExpOfRest(d, term.rest));
  if (kind.has_weight) {
    // A mantissa of zero belongs to x = -inf.
    y = hn::Mul(y, term.mantissa);
  }
  return y;
}

// The lines of a panel, for going over them more than once: blocks with lines along the rows for a
// left operand, depth along the rows for a right one, repeated to `width` lines.
template <class Real, bool kIsLeft>
class PanelTerms {
 public:
  PanelTerms(const Packing<Real>& packing, Span lines, std::int64_t width, Real* scratch)
      : packing_(packing), lines_(lines), width_(width), scratch_(scratch) {
    const std::int64_t sources = 1 + packing.kind.has_residual + packing.kind.has_weight;
    constexpr std::int64_t kLanes = hn::MaxLanes(hn::ScalableTag<Real>());
    const std::int64_t padded = (packing.depth + kLanes - 1) / kLanes * kLanes;
    whole_ = sources * width * padded <= kPackScratch;
    stage_ = whole_ ? padded : kIsLeft ? kLeftStage : kRightStage;
    if (whole_) blocks_ = View({0, packing.depth});
  }

  // All of the depth in one stage, where that is how it was read.
  const TermBlocks<Real>* Whole() const { return whole_ && packing_.depth > 0 ? &blocks_ : nullptr; }

  // body(depth, blocks), stage after stage.
  template <class Body>
  HWY_INLINE void ForEach(const Body& body) const {
    if (whole_) {
      if (packing_.depth > 0) body(Span{0, packing_.depth}, blocks_);
      return;
    }
    for (std::int64_t k0 = 0; k0 < packing_.depth; k0 += stage_) {
      const Span depth{k0, std::min(stage_, packing_.depth - k0)};
      body(depth, View(depth));
    }
  }

 private:
  TermBlocks<Real> View(Span depth) const {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    return ViewTerms(*packing_.operand, scratch_, width_ * stage_,
                     [&](const Source& source, Real* space) {
                       if constexpr (kIsLeft) {
                         return ViewBlock(source, packing_.batch, source.outer, lines_,
                                          source.inner, depth, lanes, space, stage_);
                       } else {
                         return ViewBlock(source, packing_.batch, source.inner, depth,
                                          source.outer, lines_, width_, space, width_);
                       }
                     });
  }

  const Packing<Real>& packing_;
  const Span lines_;
  const std::int64_t width_;
  Real* const scratch_;
  bool whole_;
  std::int64_t stage_;
  TermBlocks<Real> blocks_;
};

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

// The facts of plain lines read in one stage, extremes in registers. False if a term is zero.
template <class Real>
bool SurveyWhole(const Packing<Real>& packing, int rows, const PanelTerms<Real, true>& terms,
                 const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kMost = gemm::HWY_NAMESPACE::kRows<Real> + hn::MaxLanes(d);
  HWY_ALIGN Real top[kMost], bottom[kMost];
  const Block<Real>& block = terms.Whole()->value;
  Real least = std::numeric_limits<Real>::infinity();
  for (int r = 0; r < rows; ++r) {
    Extremes<D> extremes(d);
    const Real* const line = block.data + r * block.step;
    for (std::int64_t k = 0; k < packing.depth; k += lanes) {
      extremes.AddPlain(d, hn::LoadU(d, line + k));
    }
    top[r] = hn::GetLane(hn::MaxOfLanes(d, extremes.top));
    bottom[r] = hn::GetLane(hn::MinOfLanes(d, extremes.bottom));
    least = std::min(least, bottom[r]);
  }
  if (least == -std::numeric_limits<Real>::infinity()) return false;
  DescribeLines<Real>(packing, top, bottom, nullptr, nullptr, rows, facts);
  return true;
}

// The facts of at most kRows lines of the left operand.
template <class Real>
void SurveyLeft(const Packing<Real>& packing, int rows, const PanelTerms<Real, true>& terms,
                const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  const TermKind kind = packing.kind.WithoutSmallResidual(*packing.operand);
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (packing.IsPlain() && terms.Whole() != nullptr && SurveyWhole(packing, rows, terms, facts)) {
    return;
  }
  constexpr int kMaxRows = gemm::HWY_NAMESPACE::kRows<Real>;
  HWY_ALIGN Real tops[kMaxRows * hn::MaxLanes(d)], bottoms[kMaxRows * hn::MaxLanes(d)];
  HWY_ALIGN Real masses[kMaxRows * hn::MaxLanes(d)] = {}, peaks[kMaxRows * hn::MaxLanes(d)] = {};
  constexpr int kLanes = hn::MaxLanes(d);
  std::fill_n(tops, kMaxRows * lanes, -std::numeric_limits<Real>::infinity());
  std::fill_n(bottoms, kMaxRows * lanes, std::numeric_limits<Real>::infinity());
  const auto survey = [&](auto&& add) {
    terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
      for (int r = 0; r < rows; ++r) {
        Extremes<D> extremes(d);
        extremes.top = hn::Load(d, tops + r * lanes);
        extremes.bottom = hn::Load(d, bottoms + r * lanes);
        extremes.mass = hn::Load(d, masses + r * lanes);
        extremes.peak = hn::Load(d, peaks + r * lanes);
        for (std::int64_t k = 0; k < depth.count; k += lanes) {
          add(extremes, blocks, r, depth, k);
        }
        hn::Store(extremes.top, d, tops + r * lanes);
        hn::Store(extremes.bottom, d, bottoms + r * lanes);
        hn::Store(extremes.mass, d, masses + r * lanes);
        hn::Store(extremes.peak, d, peaks + r * lanes);
      }
    });
  };
  // What the lanes of each line have in common, side by side.
  HWY_ALIGN Real top[kMaxRows + kLanes], bottom[kMaxRows + kLanes];
  Real mass[kMaxRows], peak[kMaxRows];
  const auto reduce = [&]() HWY_ATTR {
    for (int r = 0; r < rows; ++r) {
      top[r] = hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, tops + r * lanes)));
      bottom[r] = hn::GetLane(hn::MinOfLanes(d, hn::Load(d, bottoms + r * lanes)));
      mass[r] = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, masses + r * lanes)));
      peak[r] = hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, peaks + r * lanes)));
    }
  };
  if (packing.IsPlain()) {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span, std::int64_t k)
               HWY_ATTR {
                 extremes.AddPlain(d, hn::LoadU(d, blocks.value.data + r * blocks.value.step + k));
               });
    reduce();
    if (*std::min_element(bottom, bottom + rows) == -std::numeric_limits<Real>::infinity()) {
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
      extremes.Add(d, LoadTerm(d, kind, blocks, r, k), shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        // Repeated columns must not count twice.
        const auto own = hn::FirstN(d, static_cast<std::size_t>(depth.count - k));
        const Real* const weights = blocks.weight.data + r * blocks.weight.step + k;
        extremes.AddWeight(hn::IfThenElseZero(own, hn::LoadU(d, weights)));
      }
    });
  }
  reduce();
  DescribeLines<Real>(packing, top, bottom, mass, peak, rows, facts);
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

// Asks for a row's part of the next panel. Rows may be far apart, and no hardware foresees the jump
// from the last row of one panel to the first of the next.
template <class Real>
HWY_INLINE void PrefetchTerm(const TermKind& kind, const TermBlocks<Real>& blocks,
                             std::int64_t row, std::int64_t column) {
  hwy::Prefetch(blocks.value.data + row * blocks.value.step + column);
  if (kind.has_residual) hwy::Prefetch(blocks.residual.data + row * blocks.residual.step + column);
  if (kind.has_weight) hwy::Prefetch(blocks.weight.data + row * blocks.weight.step + column);
}

// The facts of at most kTileStride lines of the right operand, `width` with those repeated.
template <class Real>
void SurveyRight(const Packing<Real>& packing, std::int64_t width,
                 const PanelTerms<Real, false>& terms, const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  const TermKind kind = packing.kind.WithoutSmallResidual(*packing.operand);
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  HWY_ALIGN Real tops[kStride], bottoms[kStride], masses[kStride], peaks[kStride];
  const auto survey = [&](auto&& add) {
    std::fill_n(tops, kStride, -std::numeric_limits<Real>::infinity());
    std::fill_n(bottoms, kStride, std::numeric_limits<Real>::infinity());
    std::fill_n(masses, kStride, Real{0});
    std::fill_n(peaks, kStride, Real{0});
    terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
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
      const Real* const at = blocks.value.data + k * blocks.value.step + c;
      PrefetchTerm(packing.kind, blocks, k, c + width);
      extremes.AddPlain(d, hn::LoadU(d, at));
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
      PrefetchTerm(packing.kind, blocks, k, c + width);
      V shift, cut;
      GaugeAt(d, packing, depth.begin + k, shift, cut);
      extremes.Add(d, LoadTerm(d, kind, blocks, k, c), shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        extremes.AddWeight(hn::LoadU(d, blocks.weight.data + k * blocks.weight.step + c));
      }
    });
  }
  DescribeLines(packing, tops, bottoms, masses, peaks, width, facts);
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
  const bool simple =
      packing.IsPlain() && *std::max_element(facts.lost, facts.lost + width) < kInf;
  terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
    for (std::int64_t c = 0; c < width; c += lanes) {
      const V scale = hn::Sub(hn::LoadU(d, facts.scale + c),
                              hn::Set(d, static_cast<Real>(packing.bias)));
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
