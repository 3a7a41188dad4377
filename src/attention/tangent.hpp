// Forward mode: the derivative of attention's results along a direction.
//
// With dots for tangents, of the scores s that bias, cap and formula have made (a sink is a key
// without a value):
//
//   lse. = sum_j p s.        out. = sum_j p (s. - lse.) v + p v.
#pragma once
#include <span>

#include "attention/problem.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// What is absent does not move.
struct Tangents {
  View<4> q, k, v;  // batch, head, row, component
  View<4> bias;     // batch, head, query, key
  View<1> sinks;    // head
  // Of the arrays that the score names: none, or one for each, with null data if it does not move.
  std::span<const Tensor> score_args;
};

// Of results, as problem.out and problem.lse lie.
struct ResultTangents {
  View<4> out;  // either may be absent
  View<3> lse;
};

// From the results of the forward pass, problem.out and problem.lse. Every element of the results
// is written; the same bits for every number of threads.
void RunTangent(const Problem& problem, const Tangents& tangents, const ResultTangents& results,
                Context context);

}  // namespace logsum::attend
