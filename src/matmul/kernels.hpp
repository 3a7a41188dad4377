// The kernels of a product in one real type, compiled once for each CPU target and chosen at run
// time (matmul_cpu_f32.cpp, matmul_cpu_f64.cpp): float for float32 and the half types, double for
// float64.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "matmul/packing.hpp"
#include "matmul/plan.hpp"
#include "matmul/scaling.hpp"

namespace logsum::matmul {

// Neighbouring panels of one operand: `lines`, from a panel's first one.
template <class Real>
struct PanelGroup {
  Span lines;
  Real* panels;
  Lines<Real> facts;
};

// A tile by its panels' numbers.
struct TileId {
  std::int64_t batch, left, right;
};

template <class Real>
struct KernelTable {
  // Lines in a left panel, lines in a right panel.
  std::int64_t left_lines, right_lines;
  // Elements that packing uses beside its results.
  std::int64_t scratch;

  // Packs a group's lines, scaled, and states their facts. Groups hold whole panels, as many
  // elements each as left_lines (right_lines) times the padded depth.
  void (*prepare)(const Packing<Real>&, Real* scratch, const PanelGroup<Real>&);
  // Multiplies all panels of two groups and writes the results; tiles with an entry that is not
  // certain are appended to `uncertain`.
  void (*multiply)(const Plan&, int bias, std::int64_t batch, const PanelGroup<Real>& left,
                   const PanelGroup<Real>& right, std::vector<TileId>& uncertain);
  // The same for one tile of the two groups; whether an entry is uncertain.
  bool (*multiply_tile)(const Plan&, int bias, const TileId&, const PanelGroup<Real>& left,
                        const PanelGroup<Real>& right);
  // The same in steps, for sums over more depth than is packed at once (deep.hpp): the facts of a
  // group's lines over a part of the depth; facts from the extremes, weights and peaks in them, of
  // all of it; packing with given facts; adding to the sums of all tiles of two groups, tile_size
  // high and as many low parts each, right panel by right panel; results from those.
  std::int64_t tile_size;
  void (*survey)(const Packing<Real>&, Real* scratch, const PanelGroup<Real>&);
  void (*describe)(const Packing<Real>&, std::int64_t lines, const Lines<Real>&);
  void (*pack)(const Packing<Real>&, Real* scratch, const PanelGroup<Real>&);
  void (*accumulate)(std::int64_t depth, const PanelGroup<Real>& left,
                     const PanelGroup<Real>& right, Real* sums, bool first);
  void (*finish)(const Plan&, int bias, std::int64_t batch, const PanelGroup<Real>& left,
                 const PanelGroup<Real>& right, const Real* sums, std::vector<TileId>& uncertain);
  // Computes tiles of the groups' lines again, from the operands, with every term's own exponent;
  // entries that even these do not decide go to the last rung.
  void (*repair)(const Plan&, std::int64_t batch, Span left, Span right,
                 const std::vector<TileId>& tiles);
  // The largest level of each line of an operand, and of each depth index relative to its lines'
  // (null: as it stands).
  void (*line_tops)(const Packing<Real>&, Span lines, Real* scratch, Real* tops);
  void (*depth_tops)(const Packing<Real>&, const Real* line_tops, Span depth, std::int64_t lines,
                     Real* scratch, Real* tops);
  // The Max semiring, for all tiles of some rows.
  void (*maximum)(const Plan&, std::int64_t batch, Span rows);
};

template <class Real>
const KernelTable<Real>& Kernels();

}  // namespace logsum::matmul
