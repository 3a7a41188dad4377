// Packing groups of panels, and multiplying two groups.
#if defined(LOGSUM_MATMUL_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_BLOCKS_INL_H_
#undef LOGSUM_MATMUL_BLOCKS_INL_H_
#else
#define LOGSUM_MATMUL_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemm/multiply-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "matmul/finish-inl.h"
#include "matmul/kernels.hpp"
#include "matmul/pack-inl.h"
#include "matmul/survey-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
inline constexpr std::int64_t kLeftLines = gemm::HWY_NAMESPACE::kRows<Real>;
template <class Real>
inline constexpr std::int64_t kLanes = hn::MaxLanes(hn::ScalableTag<Real>());
template <class Real>
inline constexpr std::int64_t kRightLines = gemm::HWY_NAMESPACE::kVectors * kLanes<Real>;

// Panel `index` of `lines`, `width` to a panel, in lines counted from the operand's first.
inline Span PanelLines(Span lines, std::int64_t width, std::int64_t index) {
  const std::int64_t begin = index * width;
  return {lines.begin + begin, std::min(width, lines.count - begin)};
}

inline std::int64_t NumPanels(Span lines, std::int64_t width) {
  return CeilDiv(lines.count, width);
}

template <class Real>
constexpr int VectorsFor(std::int64_t lines) {
  return static_cast<int>(CeilDiv(lines, kLanes<Real>));
}

template <class Real>
Real* LeftPanel(const PanelGroup<Real>& group, std::int64_t index, std::int64_t depth) {
  return group.panels + index * gemm::LeftSize(kLeftLines<Real>, depth);
}
template <class Real>
Real* RightPanel(const PanelGroup<Real>& group, std::int64_t index, std::int64_t depth) {
  return group.panels + index * gemm::RightSize(kRightLines<Real>, gemm::PaddedDepth(depth));
}

// One panel of a group on its way from an operand: its terms, its place, its lines' facts.
template <class Real, bool kIsLeft>
class PanelToPack {
 public:
  static constexpr std::int64_t kLines = kIsLeft ? kLeftLines<Real> : kRightLines<Real>;

  PanelToPack(const Packing<Real>& packing, Real* scratch, const PanelGroup<Real>& group,
              std::int64_t index)
      : packing_(packing),
        width_(Width(PanelLines(group.lines, kLines, index).count)),
        terms_(packing, PanelLines(group.lines, kLines, index), width_, scratch),
        panel_(kIsLeft ? LeftPanel(group, index, packing.depth)
                       : RightPanel(group, index, packing.depth)),
        facts_(group.facts.At(index * kLines)) {}

  void Survey() const {
    if constexpr (kIsLeft) {
      SurveyLeft(packing_, static_cast<int>(width_), terms_, facts_);
    } else {
      SurveyRight(packing_, width_, terms_, facts_);
    }
  }
  void Pack() const {
    if constexpr (kIsLeft) {
      PackLeft(packing_, static_cast<int>(width_), terms_, panel_, facts_);
    } else {
      PackRight(packing_, width_, terms_, panel_, facts_);
    }
  }

 private:
  // A right panel's lines are repeated to whole vectors.
  static std::int64_t Width(std::int64_t lines) {
    return kIsLeft ? lines : VectorsFor<Real>(lines) * kLanes<Real>;
  }

  const Packing<Real>& packing_;
  const std::int64_t width_;
  const PanelTerms<Real, kIsLeft> terms_;
  Real* const panel_;
  const Lines<Real> facts_;
};

// Calls body(panel) for the panels of a group of the packing's side.
template <class Real, class Body>
void ForEachPanel(const Packing<Real>& packing, Real* scratch, const PanelGroup<Real>& group,
                  const Body& body) {
  if (packing.is_left) {
    for (std::int64_t p = 0; p < NumPanels(group.lines, kLeftLines<Real>); ++p) {
      body(PanelToPack<Real, true>(packing, scratch, group, p));
    }
  } else {
    for (std::int64_t p = 0; p < NumPanels(group.lines, kRightLines<Real>); ++p) {
      body(PanelToPack<Real, false>(packing, scratch, group, p));
    }
  }
}

template <class Real>
void Prepare(const Packing<Real>& packing, Real* scratch, const PanelGroup<Real>& group) {
  ForEachPanel(packing, scratch, group, [&](const auto& panel) {
    panel.Survey();
    panel.Pack();
  });
}

// Asks for a tile's part of a matrix, so that it arrives while the tile is multiplied: the rows of
// a tile lie far apart, and waiting for them one after another takes a tenth of the time.
inline void PrefetchTile(const Source& source, const Tile& tile) {
  if (!source.Exists() || !source.inner.IsRun()) return;
  constexpr std::int64_t kLine = 64;
  const auto size = static_cast<std::int64_t>(SizeOf(source.dtype));
  const auto* const data = static_cast<const char*>(source.data);
  for (std::int64_t r = 0; r < tile.rows.count; ++r) {
    const std::int64_t at = source.At(tile.batch, tile.rows.begin + r, tile.columns.begin);
    for (std::int64_t c = 0; c < tile.columns.count * size; c += kLine) {
      hwy::Prefetch(data + at * size + c);
    }
  }
}

// The results of tile (left, right), numbered within the groups, from its sums.
template <class Real>
bool FinishTile(const Plan& plan, int bias, const TileId& id, const PanelGroup<Real>& left,
                const PanelGroup<Real>& right, const Real* high, const Real* low, bool whole) {
  const ScaledTile<Real> scaled{
      .tile = {id.batch, PanelLines(left.lines, kLeftLines<Real>, id.left),
               PanelLines(right.lines, kRightLines<Real>, id.right)},
      .high = high,
      .low = low,
      .rows = left.facts.At(id.left * kLeftLines<Real>),
      .columns = right.facts.At(id.right * kRightLines<Real>),
      .depth = plan.depth,
      .bias = bias,
      .whole = whole};
  return plan.is_mean ? FinishMeans(plan, scaled) : FinishSums(plan, scaled);
}

template <class Real>
inline constexpr std::int64_t kTileSize =
    gemm::HWY_NAMESPACE::kRows<Real> * gemm::HWY_NAMESPACE::kTileStride<Real>;

template <class Real>
bool MultiplyTile(const Plan& plan, int bias, const TileId& id, const PanelGroup<Real>& left,
                  const PanelGroup<Real>& right, bool whole) {
  alignas(gemm::kPanelAlign) Real high[kTileSize<Real>], low[kTileSize<Real>];
  const Span rows = PanelLines(left.lines, kLeftLines<Real>, id.left);
  const Span columns = PanelLines(right.lines, kRightLines<Real>, id.right);
  const Tile tile{id.batch, rows, columns};
  PrefetchTile(plan.target.value, tile);
  gemm::HWY_NAMESPACE::Multiply(LeftPanel(left, id.left, plan.depth), static_cast<int>(rows.count),
                                RightPanel(right, id.right, plan.depth),
                                VectorsFor<Real>(columns.count), plan.depth, high, low, true);
  return FinishTile(plan, bias, id, left, right, high, low, whole);
}

// What may be missing from the sums of a group's panel.
template <class Real>
Worst<Real> WorstOfPanel(const PanelGroup<Real>& group, std::int64_t width, std::int64_t index) {
  return {group.facts.At(index * width), PanelLines(group.lines, width, index).count};
}

template <class Real>
bool MultiplyOneTile(const Plan& plan, int bias, const TileId& id, const PanelGroup<Real>& left,
                     const PanelGroup<Real>& right) {
  const auto rows = WorstOfPanel(left, kLeftLines<Real>, id.left);
  const auto columns = WorstOfPanel(right, kRightLines<Real>, id.right);
  return MultiplyTile(plan, bias, id, left, right, rows.IsWholeWith(columns));
}

template <class Real>
void MultiplyGroups(const Plan& plan, int bias, std::int64_t batch, const PanelGroup<Real>& left,
                    const PanelGroup<Real>& right, std::vector<TileId>& uncertain) {
  const std::int64_t left_panels = NumPanels(left.lines, kLeftLines<Real>);
  std::vector<Worst<Real>> rows(static_cast<std::size_t>(left_panels));
  for (std::int64_t i = 0; i < left_panels; ++i) {
    rows[static_cast<std::size_t>(i)] = WorstOfPanel(left, kLeftLines<Real>, i);
  }
  // A right panel stays near while all left panels of the group pass by it.
  for (std::int64_t j = 0; j < NumPanels(right.lines, kRightLines<Real>); ++j) {
    const auto columns = WorstOfPanel(right, kRightLines<Real>, j);
    for (std::int64_t i = 0; i < left_panels; ++i) {
      const bool whole = rows[static_cast<std::size_t>(i)].IsWholeWith(columns);
      if (!MultiplyTile(plan, bias, {batch, i, j}, left, right, whole)) continue;
      uncertain.push_back({batch, left.lines.begin / kLeftLines<Real> + i,
                           right.lines.begin / kRightLines<Real> + j});
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
