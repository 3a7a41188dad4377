// Gradients that are sums over rows or pairs of all heads: of sinks, and of biases that lack
// queries or keys. In double, in an order of their own.
#pragma once
#include <cstdint>

#include "attention/backward.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/problem.hpp"

namespace logsum::attend {

// gradients.sinks = -sum over batches and queries of exp(sink - lse) delta, or its tangent if there
// is a direction.
template <class Real>
void FinishSinks(const Problem& problem, const Gradients& gradients, const Real* delta,
                 const Real* share, const Direction<Real>* direction, Context context);

// gradients.bias from sums for each (batch, head, key) or, if kind is queries, (batch, head,
// query).
template <class Real>
void FinishBias(const Problem& problem, const Gradients& gradients, BiasSums kind,
                const Compensated<Real>& sums, Context context);

// Zeros for a bias of pairs, where there is no head to sum.
void ClearPairs(const Problem& problem, const Gradients& gradients);

}  // namespace logsum::attend
