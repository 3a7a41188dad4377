// The terms of a panel, read once where they fit a scratch, for the passes that pack them.
#if defined(LOGSUM_MATMUL_PANEL_TERMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_PANEL_TERMS_INL_H_
#undef LOGSUM_MATMUL_PANEL_TERMS_INL_H_
#else
#define LOGSUM_MATMUL_PANEL_TERMS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "matmul/packing.hpp"
#include "matmul/plan.hpp"
#include "matmul/read-inl.h"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

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
  const TermBlocks<Real>* Whole() const {
    return whole_ && packing_.depth > 0 ? &blocks_ : nullptr;
  }

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
                         return ViewBlock(source, packing_.batch, source.inner, depth, source.outer,
                                          lines_, width_, space, width_);
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
  shift = hn::Mul(hn::Set(d, packing.GaugeSign()), hn::LoadU(d, packing.gauge.shift + k));
  cut = hn::LoadU(d, packing.gauge.cut + k);
}
template <class D, class Real = hn::TFromD<D>, class V = hn::Vec<D>>
HWY_INLINE void GaugeAt(D d, const Packing<Real>& packing, std::int64_t k, V& shift, V& cut) {
  shift = cut = hn::Zero(d);
  if (!packing.gauge.Exists()) return;
  shift = hn::Set(d, packing.GaugeSign() * packing.gauge.shift[k]);
  cut = hn::Set(d, packing.gauge.cut[k]);
}

// Asks for a row's part of the next panel. Rows may be far apart, and no hardware foresees the jump
// from the last row of one panel to the first of the next.
template <class Real>
HWY_INLINE void PrefetchTerm(const TermKind& kind, const TermBlocks<Real>& blocks, std::int64_t row,
                             std::int64_t column) {
  hwy::Prefetch(blocks.value.data + row * blocks.value.step + column);
  if (kind.has_residual) hwy::Prefetch(blocks.residual.data + row * blocks.residual.step + column);
  if (kind.has_weight) hwy::Prefetch(blocks.weight.data + row * blocks.weight.step + column);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
