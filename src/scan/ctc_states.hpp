// The states of one CTC sequence, and which of them a path can be in at each frame.
//
// L labels stand between L + 1 blanks: blank 0, label 0, blank 1, ..., label L - 1, blank L. Labels
// and blanks live in two arrays, so that all three arcs into a state are loads next to each other:
//
//   label i  from label i (stay), blank i (step), and label i - 1 (skip) where the labels differ
//   blank i  from blank i (stay), label i - 1 (step)
#pragma once
#include <cstdint>
#include <vector>

#include "scan/ctc_batch.hpp"

namespace logsum::scan {

// Vectors [first, end) of positions, first a whole number of vectors.
struct VectorSpan {
  std::int32_t first, end;
};

struct CtcStates {
  CtcStates(const CtcSequence& sequence, std::int64_t blank, std::int64_t lanes);

  std::int64_t num_labels, num_frames;
  std::int64_t lanes;
  std::int64_t width;  // positions of an array: L + 1 in whole vectors
  bool feasible;       // as far as lengths tell

  // The distinct labels of the sequence, the blank first: what is read of a frame. Classes are
  // numbered in this order; one more, which no label has, stands for padding.
  std::vector<std::int64_t> classes;
  std::int64_t emission_width;  // numbers of a frame's emissions: classes and padding, in vectors

  std::vector<std::int64_t> label_class;  // of each position (width); padding has the extra class
  std::vector<double> may_skip;           // 1 where label i - 1 may skip to label i (width + lanes)

  // Positions of each class but the blank, class by class: those of class k at
  // [class_starts[k], class_starts[k + 1]).
  std::vector<std::int64_t> class_starts, class_positions;

  // For each frame the vectors with a state that a complete path can be in. Others are not
  // computed. Both ends never go back, nor ahead by more than one vector a frame.
  std::vector<VectorSpan> spans;

  // Where the sweeps from both ends meet: forward scores are kept of the frames before, backward
  // scores of the others. A whole number of blocks.
  std::int64_t meeting;
};

// Frames that are prepared, and whose posteriors are written, together.
inline constexpr std::int64_t kCtcBlock = 8;

}  // namespace logsum::scan
