// Pieces of attention's kernels as functions, one table per CPU target that is compiled in and runs
// here.
#pragma once
#include <string>
#include <vector>

#include "attention/problem.hpp"
#include "attention/tile.hpp"

namespace logsum::attend {

template <class Real>
struct Pieces {
  // Returns the coverage; `written` says whether offsets were.
  Coverage (*offsets)(const Problem&, const TilePlace&, Real* offsets, bool* written);
};

struct Target {
  std::string name;
  Pieces<float> f32;
  Pieces<double> f64;

  template <class Real>
  const Pieces<Real>& Get() const {
    if constexpr (sizeof(Real) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Best first.
const std::vector<Target>& Targets();

}  // namespace logsum::attend
