#include "logsumexp/plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/compensated.hpp"

namespace logsum::reduction {
namespace {

// Rows shorter than this are transposed into lanes: a horizontal sum a row would cost more.
constexpr std::int64_t kShortRow = 64;
// About the elements of one task: enough to hide its start, few enough to balance threads.
constexpr std::int64_t kTaskElements = 16384;
// Long reductions are cut when the tiles alone could not keep many threads busy.
constexpr std::int64_t kManyTiles = 32;
constexpr std::int64_t kSegmentElements = 32768;
// Bounds the memory of partial results, whatever is reduced: 16 bytes a segment for each of the
// fewer than kManyTiles * kMaxTileWidth results that are cut, 4 MB.
constexpr std::int64_t kMaxSegments = 64;
// Below this, one core finishes before a second one has woken up.
constexpr std::int64_t kSerialElements = 32768;

std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

Partial Fold(const Partial* parts, std::int64_t count, std::int64_t stride) {
  const Partial* top = parts;
  for (std::int64_t i = 0; i < count; ++i) {
    const Partial& part = parts[i * stride];
    if (std::isnan(part.max) || std::isnan(part.rest)) {
      return {std::numeric_limits<double>::quiet_NaN(), 0};
    }
    if (part.max > top->max) top = &part;
  }
  if (std::isinf(top->max) && top->max < 0) return *top;

  CompensatedSum rest;
  for (std::int64_t i = 0; i < count; ++i) {
    const Partial& part = parts[i * stride];
    // Equal maxima may both be +inf, whose difference is NaN.
    const double scale = part.max == top->max ? 1.0 : std::exp(part.max - top->max);
    rest.Add(scale * part.rest);
    if (&part != top) rest.Add(scale);
  }
  return {top->max, rest.Value()};
}

Plan MakePlan(std::span<const Tensor* const, kNumSlots> slots, std::span<const bool> is_reduced) {
  Plan plan;
  std::array<OperandView, kNumSlots> views;
  for (std::size_t i = 0; i < kNumSlots; ++i) {
    if (slots[i] == nullptr) continue;
    views[i] = {slots[i], i == kLse || i == kSign || i == kLseGrad};
    plan.operands[i] = {static_cast<std::byte*>(slots[i]->data), slots[i]->dtype};
  }
  plan.space = MakeIterationSpace(slots[kInput]->shape, is_reduced, views);

  const IterationSpace& space = plan.space;
  if (space.num_kept == 0) return plan;
  const Axis kept = space.kept.Inner();
  const Axis reduced = space.reduced.Inner();
  plan.by_lanes =
      kept.size > 1 && (space.num_reduced < kShortRow ||
                        std::abs(kept.stride[kInput]) < std::abs(reduced.stride[kInput]));
  plan.tile_width = plan.by_lanes ? kMaxTileWidth
                                  : std::clamp<std::int64_t>(
                                        kTaskElements / (space.num_reduced + 1), 1, kMaxTileWidth);
  plan.tiles_inner = CeilDiv(kept.size, plan.tile_width);
  plan.num_tiles = space.num_kept / kept.size * plan.tiles_inner;

  const std::int64_t least = plan.by_lanes
                                 ? std::max<std::int64_t>(kSegmentElements / plan.tile_width, 1)
                                 : kSegmentElements;
  const std::int64_t segment = std::max(least, CeilDiv(space.num_reduced, kMaxSegments));
  plan.num_segments = plan.num_tiles < kManyTiles
                          ? std::max<std::int64_t>(CeilDiv(space.num_reduced, segment), 1)
                          : 1;
  plan.segment_size = plan.num_segments == 1 ? space.num_reduced : segment;
  return plan;
}

int ThreadsFor(const Plan& plan, int requested) {
  return plan.NumElements() < kSerialElements ? 1 : requested;
}

}  // namespace logsum::reduction
