// Prefix search for CTC (Graves 2012, section 7.5.3; Hannun et al. 2014, algorithm 1): the label
// sequences that the frames so far may have given, each with the mass of its alignments that end in
// a blank and of those that end in its last label.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace logsum::scan {

class CtcPrefixes {
 public:
  CtcPrefixes(std::int64_t num_labels, std::int64_t blank, std::int64_t beam);

  // One more frame, as log probabilities; keeps the `beam` prefixes of the largest mass. Takes
  // beam (C + beam) steps and a selection among as many.
  void Extend(const std::vector<double>& frame);

  std::vector<std::int64_t> BestLabels() const;
  double BestScore() const;

 private:
  // A label sequence that was once kept, as a node of a tree.
  struct Node {
    std::int64_t parent, label;
  };
  // A kept sequence, or one that a new label makes of the kept sequence `node`.
  struct Prefix {
    std::int64_t node, new_label;  // kNone: none
    double blank, label;           // log masses
    double mass;                   // of both
    std::int64_t order;            // in which it was found
  };
  static constexpr std::int64_t kNone = -1;

  void ExtendPrefix(std::size_t at, const std::vector<double>& frame);
  void Select();

  std::int64_t blank_, beam_;
  std::vector<Node> nodes_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> children_;
  std::vector<Prefix> prefixes_;  // best first
  std::vector<Prefix> next_;      // what they become: themselves, in their order, then new ones
  std::vector<std::int64_t> child_at_;  // of one prefix: where each label's child is kept
};

}  // namespace logsum::scan
