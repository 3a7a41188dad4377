// Tiles of pairs of one head, and how the values of a tile lie in memory.
//
// Queries lie in SIMD lanes and keys in rows: the softmax of a query then runs down a lane and
// needs no sum across lanes, a tile is a left operand of the products over keys and over queries as
// it stands (gemm/product-inl.h), and keys and values are read without a transpose. Only queries
// are packed, once for all keys.
#pragma once
#include <cstdint>

namespace logsum::attend {

// Queries of a tile, and the distance of its rows in elements: value (key j, query i) is at
// j * kTileQueries + i. As long as a chain of additions may be (docs/numerics.md).
inline constexpr int kTileQueries = 32;
// Keys of a tile at most; a multiple of a chain.
inline constexpr int kTileKeys = 128;

// A tile's place. Its first query and key; fewer than kTileQueries queries at the end of the
// sequence, whose other lanes are excluded pairs.
struct TilePlace {
  std::int64_t batch = 0, head = 0;  // query head
  std::int64_t query = 0, key = 0;
  int queries = 0, keys = 0;
};

// Which pairs of a tile take part.
enum class Coverage : std::uint8_t { none, some, all };

}  // namespace logsum::attend
