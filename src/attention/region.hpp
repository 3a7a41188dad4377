// The pairs that causal, window and lengths admit: integers only, no arrays.
//
// For a query the keys that take part are one interval whose ends grow with the query, so a tile's
// coverage and a block's range of keys follow from its corners.
#pragma once
#include <cstdint>

#include "attention/problem.hpp"
#include "attention/tile.hpp"

namespace logsum::attend {

struct KeyRange {  // [begin, end), empty if begin >= end
  std::int64_t begin = 0, end = 0;
};

// Keys that query `query` of entry `batch` may see.
KeyRange KeysOf(const Problem& problem, std::int64_t batch, std::int64_t query);

// The union over the queries [begin, end): what a block of queries has to visit.
KeyRange KeysOf(const Problem& problem, std::int64_t batch, std::int64_t begin, std::int64_t end);

struct LaneRange {  // [begin, end), empty if begin >= end
  int begin = 0, end = 0;
};

// The lanes of a tile whose queries see key `key`.
LaneRange QueriesOf(const Problem& problem, const TilePlace& place, std::int64_t key);

// Whether causal, window and lengths admit none, some or all of a tile's kTileQueries x keys pairs;
// lanes beyond place.queries count as excluded.
Coverage RegionOf(const Problem& problem, const TilePlace& place);

}  // namespace logsum::attend
