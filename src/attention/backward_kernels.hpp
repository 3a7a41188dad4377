// The kernels of the backward pass, one table for each real type arithmetic is done in.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention/backward.hpp"
#include "attention/backward_plan.hpp"
#include "attention/problem.hpp"
#include "attention/tangent.hpp"
#include "core/dtype.hpp"

namespace logsum::attend {

class ScoreGradient;
class ScoreTangent;

// Rows of one head that a gradient is written or added to.
struct Target {
  void* data = nullptr;  // null: not wanted
  DType dtype = DType::f32;
  std::int64_t row_stride = 0, stride = 0;
  std::uint8_t* written = nullptr;  // whether the group of a cell holds a sum already
};

// A head of an array.
inline Target TargetOf(const View<4>& array, std::int64_t batch, std::int64_t head) {
  const std::int64_t at = batch * array.strides[0] + head * array.strides[1];
  return {static_cast<std::byte*>(array.data) + at * static_cast<std::int64_t>(SizeOf(array.dtype)),
          array.dtype, array.strides[2], array.strides[3], nullptr};
}

// A sum that keeps what it rounds off.
template <class Real>
struct Compensated {
  Real *high = nullptr, *low = nullptr;
};

// Along what gradients are differentiated (backward_tangent.hpp).
template <class Real>
struct Direction {
  const Tangents& tangents;
  const ResultTangents& results;
  const ScoreTangent* score;  // null: no score formula
  Real* delta;                // (batch, head, query), the tangents of delta: PrepareRows
};

// A cell of one (batch, key head).
template <class Real>
struct Cell {
  const Problem& problem;
  const Gradients& gradients;
  const BackwardPlan& plan;
  const Direction<Real>* direction;  // null: gradients, else their tangents
  ScoreGradient* score;              // null: no score formula
  int slot;                          // of the score's sums
  std::int64_t score_elements;       // of the formula's scratch
  const Real *delta, *share;         // (batch, head, query): PrepareRows
  std::int64_t batch, kv_head;
  Extent queries, keys;
  const Target* q;  // one for each query head of the key head
  Target k, v;
  Real* pairs;               // sums of a bias's pairs: plan.pair_interval
  std::int64_t pairs_head;   // the first query head that they are of
  Compensated<Real> vector;  // BiasSums::keys or queries: (batch, head, key or query)
  std::byte* memory;

  bool ToQ() const { return q[0].data != nullptr; }
  bool ToK() const { return k.data != nullptr; }
  bool ToV() const { return v.data != nullptr; }
  // Whether there is a need of the gradients of scores.
  bool ToScores() const {
    return ToQ() || ToK() || plan.bias != BiasSums::none || score != nullptr;
  }
};

// Rows of one head before its cells: delta = sum of grad_out out - grad_lse, and what p is
// multiplied by. That is one, but where the lse is +inf one over the number of scores that are, and
// where it is so large that its rounding would show in p, one over the sum of exp(score - lse).
template <class Real>
struct RowsTask {
  const Problem& problem;
  const Gradients& gradients;
  const Direction<Real>* direction;
  std::int64_t batch, head;
  Extent rows;
  Real *delta, *share;  // (batch, head, query)
  std::int64_t score_elements;
  std::byte* memory;
};

template <class Real>
struct BackwardKernels {
  // Bytes of Cell::memory, which does for RowsTask::memory too.
  std::int64_t (*bytes)(const Problem&, const BackwardPlan&, std::int64_t score_elements);
  void (*prepare)(const RowsTask<Real>&);
  void (*run)(const Cell<Real>&);
  // Rows of a target = the sums of those rows of `copies` arrays, contiguous and of `dim` elements
  // each; no copies: zeros.
  void (*gather)(const Real* const* sums, std::int64_t copies, std::int64_t first,
                 std::int64_t count, std::int64_t dim, const Target& to);
};

template <class Real>
const BackwardKernels<Real>& KernelsOfBackward();

// Those of gradients' tangents.
template <class Real>
const BackwardKernels<Real>& KernelsOfBackwardTangent();

}  // namespace logsum::attend
