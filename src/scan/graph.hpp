// The arcs of a graph as scans walk them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "logsum/scan.hpp"

namespace logsum {

struct Graph::Arcs {
  // One arc, seen from the state it is listed under: the state at its other end, and its slot.
  struct Arc {
    std::int32_t state, slot;
  };
  // All arcs, state by state, the slots of a state ascending: those of c are arcs[begin[c]] to
  // arcs[begin[c + 1]].
  struct Sorted {
    std::vector<std::int64_t> begin;
    std::vector<Arc> arcs;
    std::int64_t max_degree = 0;
  };

  std::int64_t num_states = 0, num_slots = 0, width = 0;
  bool is_index = false;              // made from an index (C, width)
  Sorted into;                        // by target; an arc's state is its source
  Sorted out_of;                      // by source; an arc's state is its target
  std::vector<std::int32_t> padding;  // slots that hold no arc

  std::int64_t NumArcs() const { return static_cast<std::int64_t>(into.arcs.size()); }
  std::int64_t MaxDegree() const { return std::max(into.max_degree, out_of.max_degree); }
};

}  // namespace logsum
