#include "scan/ctc_states.hpp"

#include <algorithm>
#include <span>

namespace logsum::scan {
namespace {

std::int64_t RoundUp(std::int64_t count, std::int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

// Frames that a path needs to get from before the first label into label i, that one included:
// each label takes one, and between equal neighbours a blank takes another.
std::vector<std::int64_t> FramesNeeded(std::span<const std::int64_t> labels) {
  std::vector<std::int64_t> needed;
  needed.reserve(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::int64_t before = i == 0 ? 0 : needed.back();
    needed.push_back(before + 1 + (i > 0 && labels[i] == labels[i - 1] ? 1 : 0));
  }
  return needed;
}

}  // namespace

CtcStates::CtcStates(const CtcSequence& sequence, std::int64_t blank, std::int64_t lanes)
    : num_labels(static_cast<std::int64_t>(sequence.labels.size())),
      num_frames(sequence.frames),
      lanes(lanes) {
  const std::span<const std::int64_t> labels = sequence.labels;
  const std::int64_t L = num_labels, T = num_frames;
  width = RoundUp(L + 1, lanes);

  classes.assign(labels.begin(), labels.end());
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  const auto class_of = [&](std::int64_t label) {
    return std::lower_bound(classes.begin(), classes.end(), label) - classes.begin() + 1;
  };
  const auto num_classes = static_cast<std::int64_t>(classes.size()) + 1;
  emission_width = RoundUp(num_classes + 1, lanes);
  label_class.assign(static_cast<std::size_t>(width), num_classes);
  may_skip.assign(static_cast<std::size_t>(width + lanes), 0.0);
  class_starts.assign(static_cast<std::size_t>(num_classes) + 1, 0);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    label_class[i] = class_of(labels[i]);
    may_skip[i] = i > 0 && labels[i] != labels[i - 1] ? 1.0 : 0.0;
    ++class_starts[static_cast<std::size_t>(label_class[i]) + 1];
  }
  for (std::size_t k = 1; k < class_starts.size(); ++k) class_starts[k] += class_starts[k - 1];
  class_positions.resize(labels.size());
  std::vector<std::int64_t> next(class_starts.begin(), class_starts.end() - 1);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    std::int64_t& at = next[static_cast<std::size_t>(label_class[i])];
    class_positions[static_cast<std::size_t>(at++)] = static_cast<std::int64_t>(i);
  }
  classes.insert(classes.begin(), blank);

  const std::vector<std::int64_t> needed = FramesNeeded(labels);
  const std::int64_t total = L == 0 ? 0 : needed.back();
  feasible = total <= T;
  meeting = std::min(T, RoundUp((T + 1) / 2, kCtcBlock));
  if (!feasible) return;
  spans.reserve(static_cast<std::size_t>(T));
  std::int64_t first = 0, reached = 0;
  for (std::int64_t t = 0; t < T; ++t) {
    // Labels that can be reached by now. The blank behind the last of them comes a frame later, but
    // its position is looked at anyway.
    while (reached < L && needed[static_cast<std::size_t>(reached)] <= t + 1) ++reached;
    // Label i is too late when those from it to the end need more frames than are left.
    const auto rest = [&](std::int64_t i) {
      return total - needed[static_cast<std::size_t>(i)] + 1;
    };
    while (first < L && rest(first) > T - t) ++first;
    spans.push_back(
        {static_cast<std::int32_t>(first / lanes), static_cast<std::int32_t>(reached / lanes + 1)});
  }
}

}  // namespace logsum::scan
