// The steps of a product whose depth is packed part by part (deep.hpp).
#if defined(LOGSUM_MATMUL_DEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_DEEP_INL_H_
#undef LOGSUM_MATMUL_DEEP_INL_H_
#else
#define LOGSUM_MATMUL_DEEP_INL_H_
#endif

#include <cstdint>
#include <vector>

#include "gemm/multiply-inl.h"
#include "hwy/highway.h"
#include "matmul/blocks-inl.h"
#include "matmul/kernels.hpp"
#include "matmul/lines-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

template <class Real>
void Survey(const Packing<Real>& packing, Real* scratch, const PanelGroup<Real>& group) {
  ForEachPanel(packing, scratch, group, [&](const auto& panel) { panel.Survey(); });
}

template <class Real>
void Pack(const Packing<Real>& packing, Real* scratch, const PanelGroup<Real>& group) {
  ForEachPanel(packing, scratch, group, [&](const auto& panel) { panel.Pack(); });
}

template <class Real>
void Describe(const Packing<Real>& packing, std::int64_t lines, const Lines<Real>& facts) {
  DescribeLines<Real>(packing, facts.top, facts.bottom, facts.mass, facts.peak, lines, facts);
}

// Calls body(left panel, right panel, sums of their tile).
template <class Real, class Sums, class Body>
void ForEachTile(const PanelGroup<Real>& left, const PanelGroup<Real>& right, Sums* sums,
                 const Body& body) {
  for (std::int64_t j = 0; j < NumPanels(right.lines, kRightLines<Real>); ++j) {
    for (std::int64_t i = 0; i < NumPanels(left.lines, kLeftLines<Real>); ++i) {
      body(i, j, sums);
      sums += 2 * kTileSize<Real>;
    }
  }
}

template <class Real>
void Accumulate(std::int64_t depth, const PanelGroup<Real>& left, const PanelGroup<Real>& right,
                Real* sums, bool first) {
  ForEachTile(left, right, sums, [&](std::int64_t i, std::int64_t j, Real* tile) {
    const Span rows = PanelLines(left.lines, kLeftLines<Real>, i);
    const Span columns = PanelLines(right.lines, kRightLines<Real>, j);
    gemm::HWY_NAMESPACE::Multiply(LeftPanel(left, i, depth), static_cast<int>(rows.count),
                                  RightPanel(right, j, depth), VectorsFor<Real>(columns.count),
                                  depth, tile, tile + kTileSize<Real>, first);
  });
}

template <class Real>
void Finish(const Plan& plan, int bias, std::int64_t batch, const PanelGroup<Real>& left,
            const PanelGroup<Real>& right, const Real* sums, std::vector<TileId>& uncertain) {
  ForEachTile(left, right, sums, [&](std::int64_t i, std::int64_t j, const Real* tile) {
    const auto rows = WorstOfPanel(left, kLeftLines<Real>, i);
    const auto columns = WorstOfPanel(right, kRightLines<Real>, j);
    const TileId id{batch, i, j};
    if (FinishTile(plan, bias, id, left, right, tile, tile + kTileSize<Real>,
                   rows.IsWholeWith(columns))) {
      uncertain.push_back(id);
    }
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
