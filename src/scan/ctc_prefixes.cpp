#include "scan/ctc_prefixes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace logsum::scan {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

double LogAdd(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return low == kNothing ? high : high + std::log1p(std::exp(low - high));
}

}  // namespace

CtcPrefixes::CtcPrefixes(std::int64_t num_labels, std::int64_t blank, std::int64_t beam)
    : blank_(blank),
      beam_(beam),
      nodes_{{kNone, kNone}},
      prefixes_{
          {.node = 0, .new_label = kNone, .blank = 0, .label = kNothing, .mass = 0, .order = 0}},
      child_at_(static_cast<std::size_t>(num_labels), kNone) {}

void CtcPrefixes::Extend(const std::vector<double>& frame) {
  next_.clear();
  for (const Prefix& prefix : prefixes_) {
    next_.push_back({prefix.node, kNone, kNothing, kNothing, kNothing, 0});
  }
  for (std::size_t p = 0; p < prefixes_.size(); ++p) ExtendPrefix(p, frame);
  Select();
}

void CtcPrefixes::ExtendPrefix(std::size_t at, const std::vector<double>& frame) {
  const Prefix prefix = prefixes_[at];
  const auto mark_children = [&](bool mark) {
    for (std::size_t q = 0; q < prefixes_.size(); ++q) {
      const Node& node = nodes_[static_cast<std::size_t>(prefixes_[q].node)];
      if (node.parent != prefix.node) continue;
      child_at_[static_cast<std::size_t>(node.label)] = mark ? static_cast<std::int64_t>(q) : kNone;
    }
  };
  mark_children(true);
  const std::int64_t last = nodes_[static_cast<std::size_t>(prefix.node)].label;
  for (std::int64_t c = 0; c < static_cast<std::int64_t>(frame.size()); ++c) {
    const double score = frame[static_cast<std::size_t>(c)];
    if (score == kNothing) continue;
    if (c == blank_) {
      next_[at].blank = prefix.mass + score;
      continue;
    }
    // A repeat stays what it was, unless a blank is between.
    if (c == last) next_[at].label = LogAdd(next_[at].label, prefix.label + score);
    const double from = c == last ? prefix.blank : prefix.mass;
    if (from == kNothing) continue;
    const std::int64_t kept = child_at_[static_cast<std::size_t>(c)];
    if (kept == kNone) {
      next_.push_back({prefix.node, c, kNothing, from + score, kNothing, 0});
    } else {
      double& label = next_[static_cast<std::size_t>(kept)].label;
      label = LogAdd(label, from + score);
    }
  }
  mark_children(false);
}

void CtcPrefixes::Select() {
  for (std::size_t i = 0; i < next_.size(); ++i) {
    next_[i].mass = LogAdd(next_[i].blank, next_[i].label);
    next_[i].order = static_cast<std::int64_t>(i);
  }
  std::erase_if(next_, [](const Prefix& prefix) { return prefix.mass == kNothing; });
  const auto keep = std::min(next_.size(), static_cast<std::size_t>(beam_));
  std::partial_sort(next_.begin(), next_.begin() + static_cast<std::ptrdiff_t>(keep), next_.end(),
                    [](const Prefix& a, const Prefix& b) {
                      return a.mass != b.mass ? a.mass > b.mass : a.order < b.order;
                    });
  next_.resize(keep);
  for (Prefix& prefix : next_) {
    if (prefix.new_label == kNone) continue;
    // One that was dropped and comes again is the node it was: its own children may be kept still.
    const auto [child, is_new] = children_.try_emplace({prefix.node, prefix.new_label},
                                                       static_cast<std::int64_t>(nodes_.size()));
    if (is_new) nodes_.push_back({prefix.node, prefix.new_label});
    prefix.node = child->second;
    prefix.new_label = kNone;
  }
  prefixes_.swap(next_);
}

std::vector<std::int64_t> CtcPrefixes::BestLabels() const {
  std::vector<std::int64_t> labels;
  if (prefixes_.empty()) return labels;
  for (std::int64_t node = prefixes_.front().node; node != 0;
       node = nodes_[static_cast<std::size_t>(node)].parent) {
    labels.push_back(nodes_[static_cast<std::size_t>(node)].label);
  }
  std::reverse(labels.begin(), labels.end());
  return labels;
}

double CtcPrefixes::BestScore() const {
  return prefixes_.empty() ? kNothing : prefixes_.front().mass;
}

}  // namespace logsum::scan
