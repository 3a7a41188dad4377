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
  CtcStates(const CtcSequence& sequence, std::int64_t alphabet, std::int64_t blank,
            std::int64_t lanes);

  std::int64_t num_labels, num_frames;
  std::int64_t lanes;
  std::int64_t width;  // positions of an array: L + 1 in whole vectors
  bool feasible;       // as far as lengths tell

  // The labels that are read of a frame, numbered in this order: a small alphabet whole, so that a
  // frame is read and written in vectors, else the sequence's own labels and the blank.
  bool whole_alphabet;
  std::vector<std::int64_t> classes;
  std::int64_t blank_class;
  std::int64_t emission_width;     // numbers of a frame's emissions: classes in whole vectors
  std::vector<double> class_bias;  // 0, or -inf for a class that the sequence has not

  // Class of each position (width). Padding has the blank's: no path leads back from there.
  std::vector<std::int64_t> label_class;
  std::vector<double> may_skip;  // 1 where label i - 1 may skip to label i (width + lanes)

  // Positions of each class, none for the blank: those of class k at
  // [class_starts[k], class_starts[k + 1]).
  std::vector<std::int64_t> class_starts, class_positions;
  // Classes with positions, by their number, so that loops over those end alike one after another.
  std::vector<std::int64_t> classes_by_size;

  // For each frame the vectors with a state that a complete path can be in. Others are not
  // computed. Both ends never go back, nor ahead by more than one vector a frame.
  std::vector<VectorSpan> spans;

  // Where the sweeps from both ends meet: forward scores are kept of the frames before, backward
  // scores of the others. A whole number of blocks.
  std::int64_t meeting;

  // The class of one of the sequence's labels or of the blank.
  std::int64_t ClassOf(std::int64_t label) const;
};

// Frames that are prepared, and whose posteriors are written, together.
inline constexpr std::int64_t kCtcBlock = 8;

}  // namespace logsum::scan
