// Products of few rows and columns over a long depth: the gradient of a weight matrix over many
// samples, say.
//
// There is nothing to share out but the depth, and packed whole it would be the largest array there
// is. So it is cut into parts, by the shapes alone: every part surveys its terms, the facts of all
// parts together scale every line, then each part packs stage after stage and adds to sums of its
// own, which are added up in order.
#pragma once
#include <vector>

#include "matmul/gauge.hpp"
#include "matmul/kernels.hpp"
#include "matmul/plan.hpp"

namespace logsum::matmul {

// Whether a plan is of that kind.
template <class Real>
bool IsDeep(const Plan& plan);

// Multiplies and writes the results; the tiles left to repair.
template <class Real>
std::vector<TileId> RunDeep(const Plan& plan, int bias, const MeanGauge<Real>& mean_gauge,
                            int threads);

}  // namespace logsum::matmul
