// The largest terms of lines and of depth indices, from which a gauge is made.
#if defined(LOGSUM_MATMUL_TOPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_TOPS_INL_H_
#undef LOGSUM_MATMUL_TOPS_INL_H_
#else
#define LOGSUM_MATMUL_TOPS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/arena.hpp"
#include "hwy/highway.h"
#include "matmul/blocks-inl.h"
#include "matmul/packing.hpp"
#include "matmul/panel_terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// tops[i] = the largest term of line lines.begin + i, with the packing's gauge; -inf for none.
template <class Real>
void LineTops(const Packing<Real>& packing, Span lines, Real* scratch, Real* tops) {
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t begin = 0; begin < lines.count; begin += kLeftLines<Real>) {
    const Span some{lines.begin + begin, std::min(kLeftLines<Real>, lines.count - begin)};
    std::fill_n(tops + begin, some.count, -kInf);
    const PanelTerms<Real, true> terms(packing, some, some.count, scratch);
    terms.ForEach([&](Span depth, const TermBlocks<Real>& blocks) HWY_ATTR {
      for (std::int64_t r = 0; r < some.count; ++r) {
        auto top = hn::Set(d, tops[begin + r]);
        for (std::int64_t k = 0; k < depth.count; k += lanes) {
          auto shift = hn::Zero(d), cut = hn::Zero(d);
          GaugeAlong(d, packing, depth.begin + k, shift, cut);
          const auto x = LoadTerm(d, packing.kind, blocks, r, k).x;
          const auto ln2 = hn::Set(d, ExpConstants<Real>::kLn2Hi);
          top = hn::Max(WithCut(d, hn::MulAdd(shift, ln2, x), cut), top);
        }
        tops[begin + r] = hn::GetLane(hn::MaxOfLanes(d, top));
      }
    });
  }
}

// tops[k] = the largest term of depth index depth.begin + k over `lines` lines, each relative to
// line_tops (null: as it stands). At least depth.count elements to a whole vector.
template <class Real>
void DepthTops(const Packing<Real>& packing, const Real* line_tops, Span depth, std::int64_t lines,
               Real* scratch, Real* tops) {
  constexpr Real kInf = std::numeric_limits<Real>::infinity();
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::fill_n(tops, (depth.count + lanes - 1) / lanes * lanes, -kInf);
  const Operand& operand = *packing.operand;
  // Without a base to take from every line, lines that lie side by side are reduced as they lie.
  const bool lines_run = operand.value.outer.IsRun() && line_tops == nullptr;
  const std::int64_t at_once = lines_run ? 8 * kRightLines<Real> : kLeftLines<Real>;
  for (std::int64_t begin = 0; begin < lines; begin += at_once) {
    const Span some{begin, std::min(at_once, lines - begin)};
    const std::int64_t rounded = (some.count + lanes - 1) / lanes * lanes;
    const std::int64_t stage_size = lines_run ? kPackScratch / 3 / rounded : kLeftStage;
    for (std::int64_t k0 = 0; k0 < depth.count; k0 += stage_size) {
      const Span stage{depth.begin + k0, std::min(stage_size, depth.count - k0)};
      if (lines_run) {
        const auto blocks =
            ViewTerms(operand, scratch, kPackScratch / 3, [&](const Source& source, Real* space) {
              return ViewBlock(source, packing.batch, source.inner, stage, source.outer, some,
                               lanes, space, rounded);
            });
        for (std::int64_t k = 0; k < stage.count; ++k) {
          auto top = hn::Set(d, tops[k0 + k]);
          for (std::int64_t c = 0; c < some.count; c += lanes) {
            top = hn::Max(LoadTerm(d, packing.kind, blocks, k, c).x, top);
          }
          tops[k0 + k] = hn::GetLane(hn::MaxOfLanes(d, top));
        }
        continue;
      }
      const auto blocks = ViewTerms(
          operand, scratch, some.count * kLeftStage, [&](const Source& source, Real* space) {
            return ViewBlock(source, packing.batch, source.outer, some, source.inner, stage, lanes,
                             space, kLeftStage);
          });
      for (std::int64_t r = 0; r < some.count; ++r) {
        Real base = line_tops == nullptr ? Real{0} : line_tops[begin + r];
        if (!(std::abs(base) < kInf)) base = 0;  // its terms, if any, count as they stand
        for (std::int64_t k = 0; k < stage.count; k += lanes) {
          const auto x = LoadTerm(d, packing.kind, blocks, r, k).x;
          Real* const to = tops + k0 + k;
          hn::StoreU(hn::Max(hn::Sub(x, hn::Set(d, base)), hn::LoadU(d, to)), d, to);
        }
      }
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
