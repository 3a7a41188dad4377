// Tiles of an array that is indexed by pairs; compiled once for each CPU target (score_cpu.cpp).
#pragma once
#include <cstdint>

#include "attention/problem.hpp"
#include "attention/tile.hpp"

namespace logsum::attend {

template <class Real>
struct ScoreKernels {
  // to[j * kTileQueries + i] = element (i, j) of `pairs`, whose data is that of the tile's first
  // pair; lanes beyond `queries` repeat the last.
  void (*load_pairs)(const View<4>& pairs, int queries, int keys, Real* to);
};

template <class Real>
const ScoreKernels<Real>& ScoreKernelsOfTarget();

}  // namespace logsum::attend
