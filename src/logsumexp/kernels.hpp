// The kernels of the array reductions, one table for each real type arithmetic is done in.
//
// float kernels serve float32, float16 and bfloat16; double kernels serve float64, and weighted
// sums of every type. A kernel runs one task of a plan; the tables are compiled once for each CPU
// target (logsumexp_cpu_f32.cpp, logsumexp_cpu_f64.cpp) and chosen at run time.
#pragma once
#include <cstdint>

#include "logsumexp/plan.hpp"

namespace logsum::reduction {

// What is computed for every element once the reduction of its slice is known.
enum class MapKind {
  softmax,               // out = p
  log_softmax,           // out = a - lse
  logsumexp_backward,    // grad = p dlse
  softmax_backward,      // grad = p (dout - sum p dout + dlse)
  log_softmax_backward,  // grad = dout - p (sum dout - dlse)
};

struct KernelTable {
  // Reduces one segment of one tile into plan.partials; with one segment, writes the lse.
  void (*reduce)(const Plan&, std::int64_t tile, std::int64_t segment);
  // Folds the partials of one tile over its segments and writes the lse. The folded result stays in
  // the partials of segment 0.
  void (*fold)(const Plan&, std::int64_t tile);
  // softmax and log_softmax. With one segment, reduces, writes the lse and maps; with several, maps
  // one segment from the folded partials.
  void (*normalize)(const Plan&, MapKind, std::int64_t tile, std::int64_t segment);
  // The sum that a softmax gradient needs over one of several segments, into plan.partials.
  void (*sum_grad)(const Plan&, MapKind, std::int64_t tile, std::int64_t segment);
  // A segment of a gradient, from the stored lse (and those sums).
  void (*backward)(const Plan&, MapKind, std::int64_t tile, std::int64_t segment);
  // logaddexp over a tile of a plan that reduces nothing.
  void (*logaddexp)(const Plan&, std::int64_t tile);
};
template <class Real>
const KernelTable& Kernels();

// Weighted sums, in double whatever the storage.
struct WeightedKernelTable {
  void (*reduce)(const Plan&, std::int64_t tile);
  void (*backward)(const Plan&, std::int64_t tile);
};
const WeightedKernelTable& WeightedKernels();

}  // namespace logsum::reduction
