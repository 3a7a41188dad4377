// Gradients of attention.
#pragma once
#include <span>

#include "attention/problem.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// Cotangents, and where gradients go; what is absent is zero or not wanted. Every element of a
// gradient that is wanted is written.
struct Gradients {
  View<4> grad_out;  // batch, head, row, component
  View<3> grad_lse;  // batch, head, row

  View<4> q, k, v;
  View<4> bias;   // batch, head, query, key: stride 0 on the axes it repeats, which are summed
  View<1> sinks;  // head
  // Of the arrays that the score names: none, or one for each, with null data if it is not wanted.
  std::span<const Tensor> score_args;
};

// From the results of the forward pass, problem.out and problem.lse. The same bits for every number
// of threads.
void RunBackward(const Problem& problem, const Gradients& gradients, Context context);

}  // namespace logsum::attend
