// The tile kernels of src/reduce as functions, one table per CPU target that is compiled in and
// runs here, so that tests can go through all targets in one process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "reduce/fold.hpp"

namespace logsum::reduce {

template <class Real>
struct FoldKernels {
  int lanes;
  void (*push)(const FoldState<Real>& state, std::int64_t first, const TileValue<Real>& formula,
               const TileValue<Real>& weight, const TileSpan& span);
  void (*push_weighted)(const FoldState<Real>& state, std::int64_t first,
                        const WeightedTile<Real>& tile, const TileSpan& span);
  void (*pack)(const Real* values, std::ptrdiff_t component, std::int64_t dim, std::int64_t count,
               Real* packed);
  void (*dot)(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
              const TileSpan& span, const TileValue<Real>& out);
  void (*sqdist)(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
                 const TileSpan& span, const TileValue<Real>& out);
};

struct FoldTarget {
  std::string name;
  FoldKernels<float> f32;
  FoldKernels<double> f64;

  template <class Real>
  const FoldKernels<Real>& Get() const {
    if constexpr (sizeof(Real) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Best first.
const std::vector<FoldTarget>& FoldTargets();

}  // namespace logsum::reduce
