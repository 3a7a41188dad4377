// The memory and the running facts of one CTC sequence.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/buffer.hpp"
#include "core/compensated.hpp"
#include "scan/ctc_states.hpp"
#include "scan/numbers.hpp"

namespace logsum::scan {

// What a sweep's rows are numbers of.
enum class CtcNumbers { linear, linear_down, ranged, max_plus };

// Rows of scores, one a frame or, where they are not kept, as many as a sweep needs at once. Frame
// -1 and frame T are what the sweeps begin from.
struct RowRing {
  double* base;
  std::int64_t count, stride;

  double* At(std::int64_t frame) const { return base + (frame + 1) % count * stride; }
};

// One half of a sequence: the frames before the meeting, or the others. A thread each.
struct CtcSide {
  CompensatedSum offset;            // the logarithms that emissions are relative to
  CompensatedSum partition_offset;  // those that the softmaxes' denominators are relative to
  double partition = 1;             // the product of the softmaxes' denominators
  double partition_exponent = 0;    // times 2^this
  double exponent = 0;              // scores of the last row are times 2^this
  double least_total = 0;           // the smallest mass of a frame, in units of its rows
  bool invalid = false;             // +inf or NaN in a frame
  bool may_have_zeros = false;      // scores from kZeroWeight down in a frame
  bool clamped = false;             // an emission below the smallest normal number
  bool flushed = false;             // a score below it (linear_down)

  RowRing ring{};                 // of the sweep's own rows, behind the meeting
  double* frames = nullptr;       // a block of frames, as real numbers
  double* terms = nullptr;        // of a softmax
  double* numbers = nullptr;      // an emission row split into fractions and exponents
  double* gamma = nullptr;        // posteriors of a block: by frame and position,
  double* by_position = nullptr;  // by position and frame,
  double* shares = nullptr;       // and by class and frame
};

// Elements of the arrays of a work, for one sequence or the largest of several.
struct CtcSizes {
  std::int64_t width = 0, emission_width = 0, frames = 0;
  std::int64_t labels = 0;  // C
  bool keep = false;        // rows of all frames, for a gradient or a best path
  std::int64_t arrays = 1;  // of a row's numbers: 1, 2 for Ranged, 3 for RangedDual

  static constexpr std::int64_t kSlack = 16;  // loads behind a row's end

  std::int64_t RowStride() const { return 2 * arrays * width; }
  bool HasSlopes() const { return arrays == 3; }
  std::int64_t SideElements() const {
    return 2 * RowStride() + (kCtcBlock + 1) * labels + 3 * emission_width +
           kCtcBlock * (std::max(width, emission_width) + width + emission_width + 2) + 7 * kSlack;
  }
  std::int64_t Elements() const {
    return (keep ? frames + 2 : 0) * RowStride() + frames * (emission_width + 2) +
           (HasSlopes() ? frames * emission_width : 0) + 6 * kSlack + 2 * SideElements();
  }
};

class CtcWork {
 public:
  // `memory` holds sizes.Elements().
  CtcWork(const CtcSizes& sizes, double* memory) : next_(memory) {
    emission_width_ = sizes.emission_width;
    emissions_ = Take(sizes.frames * sizes.emission_width);
    softmax_scale = Take(sizes.frames);
    softmax_shift = Take(sizes.frames);
    if (sizes.HasSlopes()) slopes_ = Take(sizes.frames * sizes.emission_width);
    const std::int64_t stride = sizes.RowStride();
    if (sizes.keep) kept = {Take((sizes.frames + 2) * stride), sizes.frames + 2, stride};
    for (CtcSide& side : sides) {
      side.ring = {Take(2 * stride), 2, stride};
      side.frames = Take(kCtcBlock * sizes.labels);
      side.terms = Take(sizes.labels);
      side.numbers = Take(3 * sizes.emission_width);
      side.gamma = Take(kCtcBlock * std::max(sizes.width, sizes.emission_width));
      side.by_position = Take(kCtcBlock * sizes.width);
      side.shares = Take(kCtcBlock * (sizes.emission_width + 2));
    }
  }

  double* Emissions(std::int64_t frame) const { return emissions_ + frame * emission_width_; }
  // The derivatives of a frame's log emissions along a direction.
  double* Slopes(std::int64_t frame) const { return slopes_ + frame * emission_width_; }
  // Where the scores of a frame before the meeting (after it) are.
  const RowRing& Rows(const CtcSide& side) const { return kept.base != nullptr ? kept : side.ring; }

  RowRing kept{};
  // Of each frame: a class's softmax is its emission times the scale; where emissions are kept as
  // logarithms the shift is added first.
  double* softmax_scale;
  double* softmax_shift;
  CtcSide sides[2];

 private:
  // Whole cache lines, with room for a vector's load behind the end.
  double* Take(std::int64_t count) {
    double* const array = next_;
    next_ += (count + CtcSizes::kSlack) / 8 * 8;
    return array;
  }

  double* next_;
  double* emissions_;
  double* slopes_ = nullptr;
  std::int64_t emission_width_;
};

}  // namespace logsum::scan
