#include "attention/region.hpp"

#include <algorithm>

namespace logsum::attend {
namespace {

// What bounds the keys of every query of a batch entry.
struct Bounds {
  std::int64_t shift, queries, keys;

  Bounds(const Problem& problem, std::int64_t batch)
      : shift(0),
        queries(problem.lengths_q[static_cast<std::size_t>(batch)]),
        keys(problem.lengths_k[static_cast<std::size_t>(batch)]) {
    if (problem.bottom_right) shift = keys - queries;
  }
};

std::int64_t FirstKey(const Problem& problem, const Bounds& bounds, std::int64_t query) {
  if (problem.window_left < 0) return 0;
  return std::max<std::int64_t>(0, query + bounds.shift - problem.window_left);
}

std::int64_t KeysEnd(const Problem& problem, const Bounds& bounds, std::int64_t query) {
  const std::int64_t diagonal = query + bounds.shift;
  std::int64_t end = bounds.keys;
  if (problem.causal) end = std::min(end, diagonal + 1);
  if (problem.window_right >= 0) end = std::min(end, diagonal + problem.window_right + 1);
  return end;
}

}  // namespace

KeyRange KeysOf(const Problem& problem, std::int64_t batch, std::int64_t query) {
  return KeysOf(problem, batch, query, query + 1);
}

KeyRange KeysOf(const Problem& problem, std::int64_t batch, std::int64_t begin, std::int64_t end) {
  const Bounds bounds(problem, batch);
  end = std::min(end, bounds.queries);
  if (begin >= end) return {};
  return {FirstKey(problem, bounds, begin), KeysEnd(problem, bounds, end - 1)};
}

LaneRange QueriesOf(const Problem& problem, const TilePlace& place, std::int64_t key) {
  const Bounds bounds(problem, place.batch);
  if (key >= bounds.keys) return {};
  const std::int64_t diagonal = key - bounds.shift - place.query;  // the lane whose key this is
  std::int64_t first = 0, end = std::min<std::int64_t>(place.queries, bounds.queries - place.query);
  if (problem.causal) first = std::max(first, diagonal);
  if (problem.window_right >= 0) first = std::max(first, diagonal - problem.window_right);
  if (problem.window_left >= 0) end = std::min(end, diagonal + problem.window_left + 1);
  if (first >= end) return {};
  return {static_cast<int>(first), static_cast<int>(end)};
}

Coverage RegionOf(const Problem& problem, const TilePlace& place) {
  const Bounds bounds(problem, place.batch);
  const std::int64_t keys_end = place.key + place.keys;
  const std::int64_t last = std::min(place.query + place.queries, bounds.queries) - 1;
  if (last < place.query) return Coverage::none;
  // The keys of neighbouring queries overlap or touch, so what all see is one interval.
  const std::int64_t begin = FirstKey(problem, bounds, place.query);
  const std::int64_t end = KeysEnd(problem, bounds, last);
  if (std::max(begin, place.key) >= std::min(end, keys_end)) return Coverage::none;
  const bool is_whole = last == place.query + kTileQueries - 1 &&
                        FirstKey(problem, bounds, last) <= place.key &&
                        KeysEnd(problem, bounds, place.query) >= keys_end;
  return is_whole ? Coverage::all : Coverage::some;
}

}  // namespace logsum::attend
