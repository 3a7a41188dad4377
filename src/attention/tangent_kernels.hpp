// The kernels of forward mode, one table for each real type arithmetic is done in.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/tangent.hpp"

namespace logsum::attend {

class ScoreTangent;

struct TangentPlan : PanelBlocks {
  std::int64_t tasks = 0;  // a block of panels each
  // Whether out is summed again: a half type has rounded the one there is.
  bool sums_out = false;
};

// Whether an array moves that the score formula names.
inline bool MovesFormula(const Tangents& tangents) {
  return std::any_of(tangents.score_args.begin(), tangents.score_args.end(),
                     [](const Tensor& array) { return array.data != nullptr; });
}

template <class Real>
struct TangentTask {
  const Problem& problem;
  const Tangents& tangents;
  const ResultTangents& results;
  const TangentPlan& plan;
  const ScoreTangent* score;    // null: no score formula, or nothing it is made of moves
  std::int64_t score_elements;  // of the formula's scratch
  std::int64_t number;          // of plan.tasks
  std::byte* memory;            // TangentKernels::bytes, aligned to 128
};

template <class Real>
struct TangentKernels {
  std::int64_t (*bytes)(const Problem&, const TangentPlan&, std::int64_t score_elements);
  void (*run)(const TangentTask<Real>&);
};

template <class Real>
const TangentKernels<Real>& KernelsOfTangent();

}  // namespace logsum::attend
