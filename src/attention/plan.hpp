// How the forward pass, and forward mode like it, is cut into tasks: by shapes alone, so that the
// order of every addition is the same for every number of threads.
//
// A panel is up to kTileQueries queries of one head. A task takes a block of panels of the heads
// that share a key head against a part of the keys: what it brings into its memory of keys and
// values serves all of them. Where there are too few blocks for many threads (decoding), keys are
// split into parts, whose results are merged in order.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention/problem.hpp"
#include "attention/tile.hpp"

namespace logsum::attend {

// Elements that rows are multiples of: a vector on every target.
template <class Real>
inline constexpr std::int64_t kRun = 64 / sizeof(Real);

// The distance of rows in memory: an odd number of runs, or rows that are read down a column would
// share few sets of the first-level cache.
template <class Real>
constexpr std::int64_t RowStride(std::int64_t dim) {
  return ((dim + kRun<Real> - 1) / kRun<Real> | 1) * kRun<Real>;
}

// Of the query heads that share a key head.
struct PanelBlocks {
  std::int64_t head_panels = 0;   // of one query head
  std::int64_t panels = 0;        // of all of them
  std::int64_t block_panels = 0;  // of a task
  std::int64_t blocks = 0;        // 0: nothing to do
};

// Blocks as large as a cache lets them be, `elements` of Real for each query; if spread, smaller
// where they would be too few for many threads.
PanelBlocks CutPanels(const Problem& problem, std::int64_t elements, bool spread);

struct ForwardPlan : PanelBlocks {
  // Tiles of a panel whose sums are added plainly, before one compensated addition.
  static constexpr int kFoldTiles = 8;

  std::int64_t parts = 1;      // of the keys
  std::int64_t part_keys = 0;  // a multiple of kTileKeys
  std::int64_t tasks = 0;
  bool in_place = false;  // few queries: keys and values are read once, where they are
};

ForwardPlan MakeForwardPlan(const Problem& problem);

// The results of a panel over a part of the keys: references and sums of kTileQueries queries, then
// as many rows of weighted sums of values.
template <class Real>
constexpr std::int64_t PartialSize(std::int64_t value_dim) {
  return kTileQueries * (2 + RowStride<Real>(value_dim));
}

}  // namespace logsum::attend
