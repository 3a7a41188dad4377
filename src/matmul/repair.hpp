// The rungs above the first, for tiles with entries that it could not certify.
#pragma once
#include <vector>

#include "matmul/kernels.hpp"
#include "matmul/plan.hpp"

namespace logsum::matmul {

// First, for forward products, the scaled product once more with equilibrated operands; then an
// exponent for every term; then the last rung. Each takes what the one before leaves.
template <class Real>
void Repair(const Plan& plan, int bias, const std::vector<TileId>& tiles, int threads);

}  // namespace logsum::matmul
