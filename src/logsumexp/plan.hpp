// How an array reduction is cut into tiles and segments, and where its operands lie.
//
// The kept indices are cut into tiles, the reduced indices into segments, by shapes and strides
// alone: that fixes every order of addition, whatever the number of threads. A tile is walked in
// one of two ways:
//   rows   one kept index after the other, the reduced elements contiguous (or packed so);
//   lanes  neighbouring kept indices in SIMD lanes, one reduced index after the other. Also the way
//          for short rows, which a small transposition in L1 turns into lanes.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/layout.hpp"
#include "logsum/tensor.hpp"

namespace logsum::reduction {

// The operands an array reduction can have. Full operands have the shape of the input, kept ones
// lack the reduced axes.
enum Slot : int {
  kInput,        // a
  kOutput,       // full: softmax's out, or the gradient of a
  kWeights,      // full: b
  kWhere,        // full, boolean
  kOutputGrad,   // full: the incoming gradient of softmax's out
  kWeightsGrad,  // full: the gradient of b
  kLse,          // kept: the result of the reduction
  kSign,         // kept: the sign of a weighted sum
  kLseGrad,      // kept: the incoming gradient of the lse
  kNumSlots
};
static_assert(kNumSlots <= kMaxOperands);

// The partial result of a reduction over some of its terms: (1 + rest) e^max. Keeping the maximum's
// own term out of the sum is what keeps a result near zero accurate when one term dominates. A
// State whose s is 1 + rest. Nothing: (-inf, 0). n terms of +inf: (+inf, n - 1).
struct Partial {
  double max;
  double rest;
};

// The partial result of all of `count` parts, `stride` apart.
Partial Fold(const Partial* parts, std::int64_t count, std::int64_t stride);

struct Operand {
  std::byte* data = nullptr;
  DType dtype = DType::f32;
};

struct Tile {
  std::int64_t first;  // kept index of its first lane
  std::int64_t width;  // number of kept indices, all along the innermost kept axis
};

struct Segment {
  std::int64_t begin, end;  // reduced indices
};

inline constexpr std::int64_t kMaxTileWidth = 128;

struct Plan {
  IterationSpace space;
  std::array<Operand, kNumSlots> operands;
  bool by_lanes = false;
  std::int64_t tile_width = 1;
  std::int64_t tiles_inner = 0;  // along the innermost kept axis
  std::int64_t num_tiles = 0;
  std::int64_t segment_size = 0;
  std::int64_t num_segments = 1;
  Partial* partials = nullptr;  // [segment][kept index], when there are several segments

  bool Has(Slot slot) const { return operands[slot].data != nullptr; }

  Tile TileAt(std::int64_t index) const {
    const std::int64_t inner_size = space.kept.Inner().size;
    const std::int64_t lane = index % tiles_inner * tile_width;
    const std::int64_t width = inner_size - lane < tile_width ? inner_size - lane : tile_width;
    return {index / tiles_inner * inner_size + lane, width};
  }
  Segment SegmentAt(std::int64_t index) const {
    const std::int64_t begin = index * segment_size;
    const std::int64_t end = begin + segment_size;
    return {begin, end < space.num_reduced ? end : space.num_reduced};
  }
  // Elements touched by one operand; decides whether threads are worth waking.
  std::int64_t NumElements() const { return space.num_kept * space.num_reduced; }
};

// `slots` in the order of Slot, null for absent operands; slots[kInput] gives the shape.
Plan MakePlan(std::span<const Tensor* const, kNumSlots> slots, std::span<const bool> is_reduced);

// The threads a call over this plan should use: one where waking others costs more than the work.
int ThreadsFor(const Plan& plan, int requested);

}  // namespace logsum::reduction
