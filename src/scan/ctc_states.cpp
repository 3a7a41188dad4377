#include "scan/ctc_states.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>

namespace logsum::scan {
namespace {

// An alphabet up to this size is read whole even by a sequence that has few of its labels.
constexpr std::int64_t kSmallAlphabet = 64;

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

CtcStates::CtcStates(const CtcSequence& sequence, std::int64_t alphabet, std::int64_t blank,
                     std::int64_t lanes)
    : num_labels(static_cast<std::int64_t>(sequence.labels.size())),
      num_frames(sequence.frames),
      lanes(lanes),
      whole_alphabet(alphabet <= std::max(kSmallAlphabet, num_labels)) {
  const std::span<const std::int64_t> labels = sequence.labels;
  const std::int64_t L = num_labels, T = num_frames;
  width = RoundUp(L + 1, lanes);
  if (whole_alphabet) {
    classes.resize(static_cast<std::size_t>(alphabet));
    std::iota(classes.begin(), classes.end(), 0);
    blank_class = blank;
  } else {
    classes.assign(labels.begin(), labels.end());
    classes.push_back(blank);
    std::sort(classes.begin(), classes.end());
    classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
    blank_class = ClassOf(blank);
  }
  emission_width = RoundUp(static_cast<std::int64_t>(classes.size()), lanes);
  class_bias.assign(static_cast<std::size_t>(emission_width),
                    -std::numeric_limits<double>::infinity());
  class_bias[static_cast<std::size_t>(blank_class)] = 0;
  label_class.assign(static_cast<std::size_t>(width), blank_class);
  may_skip.assign(static_cast<std::size_t>(width + lanes), 0.0);
  class_starts.assign(classes.size() + 1, 0);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    label_class[i] = ClassOf(labels[i]);
    may_skip[i] = i > 0 && labels[i] != labels[i - 1] ? 1.0 : 0.0;
    class_bias[static_cast<std::size_t>(label_class[i])] = 0;
    ++class_starts[static_cast<std::size_t>(label_class[i]) + 1];
  }
  for (std::size_t k = 1; k < class_starts.size(); ++k) class_starts[k] += class_starts[k - 1];
  class_positions.resize(labels.size());
  std::vector<std::int64_t> next(class_starts.begin(), class_starts.end() - 1);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    std::int64_t& at = next[static_cast<std::size_t>(label_class[i])];
    class_positions[static_cast<std::size_t>(at++)] = static_cast<std::int64_t>(i);
  }
  const auto size_of = [&](std::int64_t k) {
    const auto at = static_cast<std::size_t>(k);
    return class_starts[at + 1] - class_starts[at];
  };
  for (std::int64_t k = 0; k < static_cast<std::int64_t>(classes.size()); ++k) {
    if (size_of(k) > 0) classes_by_size.push_back(k);
  }
  std::sort(classes_by_size.begin(), classes_by_size.end(),
            [&](std::int64_t a, std::int64_t b) { return size_of(a) < size_of(b); });
  const std::vector<std::int64_t> needed = FramesNeeded(labels);
  const std::int64_t total = L == 0 ? 0 : needed.back();
  feasible = total <= T;
  meeting = std::min(T, RoundUp((T + 1) / 2, kCtcBlock));
  if (!feasible) return;
  spans.reserve(static_cast<std::size_t>(T));
  // Lanes are a power of two, which the compiler cannot know; divisions would take longer.
  const int shift = std::countr_zero(static_cast<std::uint64_t>(lanes));
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
    spans.push_back({static_cast<std::int32_t>(first >> shift),
                     static_cast<std::int32_t>((reached >> shift) + 1)});
  }
}

std::int64_t CtcStates::ClassOf(std::int64_t label) const {
  if (whole_alphabet) return label;
  return std::lower_bound(classes.begin(), classes.end(), label) - classes.begin();
}

}  // namespace logsum::scan
