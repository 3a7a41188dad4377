#include "scan/graph.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "core/errors.hpp"
#include "scan/lengths.hpp"

namespace logsum {
namespace {

using Sorted = Graph::Arcs::Sorted;

// States and slots are kept as int32: what a scan reads for each arc is then half as large.
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

struct Slot {
  std::int64_t from, to;  // from -1: no arc
};

// Counting sort; slots come in ascending order and stay so.
template <class Key, class Other>
Sorted SortBy(std::int64_t num_states, std::span<const Slot> slots, const Key& key,
              const Other& other) {
  Sorted sorted;
  sorted.begin.assign(static_cast<std::size_t>(num_states) + 1, 0);
  for (const Slot& slot : slots) {
    if (slot.from >= 0) ++sorted.begin[static_cast<std::size_t>(key(slot)) + 1];
  }
  for (std::size_t c = 1; c < sorted.begin.size(); ++c) {
    sorted.max_degree = std::max(sorted.max_degree, sorted.begin[c]);
    sorted.begin[c] += sorted.begin[c - 1];
  }
  sorted.arcs.resize(static_cast<std::size_t>(sorted.begin.back()));
  std::vector<std::int64_t> next(sorted.begin.begin(), sorted.begin.end() - 1);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].from < 0) continue;
    const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(key(slots[i]))]++);
    sorted.arcs[at] = {static_cast<std::int32_t>(other(slots[i])), static_cast<std::int32_t>(i)};
  }
  return sorted;
}

std::shared_ptr<Graph::Arcs> Make(std::int64_t num_states, std::span<const Slot> slots) {
  auto arcs = std::make_shared<Graph::Arcs>();
  arcs->num_states = num_states;
  arcs->num_slots = static_cast<std::int64_t>(slots.size());
  const auto from = [](const Slot& slot) { return slot.from; };
  const auto to = [](const Slot& slot) { return slot.to; };
  arcs->into = SortBy(num_states, slots, to, from);
  arcs->out_of = SortBy(num_states, slots, from, to);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].from < 0) arcs->padding.push_back(static_cast<std::int32_t>(i));
  }
  return arcs;
}

void CheckState(std::string_view function, std::string_view argument, std::int64_t state,
                std::int64_t lowest, std::int64_t num_states) {
  if (state >= lowest && state < num_states) return;
  ThrowInvalid(function, argument,
               "states from " + std::to_string(lowest) + " to " + std::to_string(num_states - 1),
               std::to_string(state));
}

}  // namespace

Graph Graph::from_index(const Tensor& idx) {
  constexpr std::string_view kFunction = "Graph.from_index";
  CheckTensor(kFunction, "idx", idx);
  scan::CheckInteger(kFunction, "idx", idx);
  if (idx.shape.size() != 2) {
    ThrowInvalid(kFunction, "idx", "shape (C, nz)", ShapeString(idx.shape));
  }
  const std::int64_t num_states = idx.shape[0], width = idx.shape[1];
  if (num_states > kMost || (width > 0 && num_states > kMost / width)) {
    ThrowInvalid(kFunction, "idx", "fewer than 2^31 slots", ShapeString(idx.shape));
  }
  std::vector<Slot> slots;
  slots.reserve(static_cast<std::size_t>(num_states * width));
  for (std::int64_t c = 0; c < num_states; ++c) {
    for (std::int64_t j = 0; j < width; ++j) {
      const std::int64_t state = scan::IntegerAt(idx, c * idx.strides[0] + j * idx.strides[1]);
      CheckState(kFunction, "idx", state, -1, num_states);
      slots.push_back({state, c});
    }
  }
  const auto arcs = Make(num_states, slots);
  arcs->width = width;
  arcs->is_index = true;
  return Graph(arcs);
}

Graph Graph::from_arcs(const Tensor& source, const Tensor& target, std::int64_t num_states) {
  constexpr std::string_view kFunction = "Graph.from_arcs";
  CheckTensor(kFunction, "source", source);
  scan::CheckInteger(kFunction, "source", source);
  if (source.shape.size() != 1 || source.shape[0] > kMost) {
    ThrowInvalid(kFunction, "source", "shape (E,), fewer than 2^31 arcs",
                 ShapeString(source.shape));
  }
  CheckShape(kFunction, "target", target, source.shape);
  scan::CheckInteger(kFunction, "target", target);
  if (num_states < 0 || num_states > kMost) {
    ThrowInvalid(kFunction, "num_states", "0 to 2^31 - 1", std::to_string(num_states));
  }
  std::vector<Slot> slots(static_cast<std::size_t>(source.shape[0]));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto e = static_cast<std::int64_t>(i);
    slots[i] = {scan::IntegerAt(source, e * source.strides[0]),
                scan::IntegerAt(target, e * target.strides[0])};
    CheckState(kFunction, "source", slots[i].from, 0, num_states);
    CheckState(kFunction, "target", slots[i].to, 0, num_states);
  }
  return Graph(Make(num_states, slots));
}

std::int64_t Graph::num_states() const { return arcs_->num_states; }
std::int64_t Graph::num_slots() const { return arcs_->num_slots; }
std::int64_t Graph::num_arcs() const { return arcs_->NumArcs(); }
std::int64_t Graph::width() const { return arcs_->width; }

}  // namespace logsum
