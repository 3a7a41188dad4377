// The last rung of a product: see careful-inl.h. In double for every dtype.
#pragma once
#include <cstdint>

#include "matmul/plan.hpp"

namespace logsum::matmul {

// The largest tile that it takes at a time.
inline constexpr std::int64_t kCarefulRows = 16, kCarefulWidth = 32;

// Computes and writes the entries of a tile for which wanted[row * kCarefulWidth + column] (within
// the tile) is not zero, or all where `wanted` is null. A forward product or a mean.
void RunCareful(const Plan& plan, const Tile& tile, const std::uint8_t* wanted);

}  // namespace logsum::matmul
