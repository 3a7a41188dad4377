// The first pass of packing: the facts that scale the lines of a panel.
#if defined(LOGSUM_MATMUL_SURVEY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_SURVEY_INL_H_
#undef LOGSUM_MATMUL_SURVEY_INL_H_
#else
#define LOGSUM_MATMUL_SURVEY_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "gemm/tile-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "matmul/lines-inl.h"
#include "matmul/panel_terms-inl.h"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The facts of plain lines read in one stage, extremes in registers. False if a term is zero.
template <class Real>
bool SurveyWhole(const Packing<Real>& packing, int rows, const PanelTerms<Real, true>& terms,
                 const Lines<Real>& facts) {
  using D = hn::ScalableTag<Real>;
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kMost = gemm::HWY_NAMESPACE::kRows<Real> + hn::MaxLanes(d);
  HWY_ALIGN Real top[kMost], bottom[kMost];
  // This is where a long operand comes from memory, in short bursts between other work.
  constexpr std::int64_t kAhead = 4096 / sizeof(Real);
  const Block<Real>& block = terms.Whole()->value;
  Real least = std::numeric_limits<Real>::infinity();
  for (int r = 0; r < rows; ++r) {
    Extremes<D> extremes(d);
    const Real* const line = block.data + r * block.step;
    for (std::int64_t k = 0; k < packing.depth; k += lanes) {
      hwy::Prefetch(line + k + kAhead);
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
      survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span,
                 std::int64_t k) HWY_ATTR {
        extremes.AddNonZero(d, hn::LoadU(d, blocks.value.data + r * blocks.value.step + k));
      });
    }
  } else {
    survey([&](Extremes<D>& extremes, const TermBlocks<Real>& blocks, int r, Span depth,
               std::int64_t k) HWY_ATTR {
      V shift, cut;
      GaugeAlong(d, packing, depth.begin + k, shift, cut);
      const auto term = LoadTerm(d, kind, blocks, r, k);
      extremes.Add(d, term, shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        // Repeated columns must not count twice.
        const auto own = hn::FirstN(d, static_cast<std::size_t>(depth.count - k));
        const Real* const weights = blocks.weight.data + r * blocks.weight.step + k;
        extremes.AddWeight(d, term, hn::IfThenElseZero(own, hn::LoadU(d, weights)));
      }
    });
  }
  reduce();
  DescribeLines<Real>(packing, top, bottom, mass, peak, rows, facts);
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
      const auto term = LoadTerm(d, kind, blocks, k, c);
      extremes.Add(d, term, shift, cut, packing.is_mean);
      if (packing.kind.has_weight) {
        extremes.AddWeight(d, term, hn::LoadU(d, blocks.weight.data + k * blocks.weight.step + c));
      }
    });
  }
  DescribeLines(packing, tops, bottoms, masses, peaks, width, facts);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
