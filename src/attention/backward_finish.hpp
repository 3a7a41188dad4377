// Gradients that are sums over rows or pairs of all heads: of sinks, and of biases that lack
// queries or keys. In double, in an order of their own.
#pragma once
#include <array>
#include <cstdint>

#include "attention/backward.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/problem.hpp"
#include "core/dtype.hpp"

namespace logsum::attend {

// An element of a floating array.
template <int kAxes>
double ElementOf(const View<kAxes>& array, const std::array<std::int64_t, kAxes>& index) {
  std::int64_t at = 0;
  for (std::size_t axis = 0; axis < index.size(); ++axis) at += index[axis] * array.strides[axis];
  return VisitFloating(array.dtype, [&](auto storage) -> double {
    using Storage = decltype(storage);
    return ToFloat(static_cast<const Storage*>(array.data)[at]);
  });
}

// gradients.sinks = -sum over batches and queries of exp(sink - lse) delta.
template <class Real>
void FinishSinks(const Problem& problem, const Gradients& gradients, const Real* delta,
                 const Real* share, Context context);

// gradients.bias from sums for each (batch, head, key) or, if kind is queries, (batch, head,
// query).
template <class Real>
void FinishBias(const Problem& problem, const Gradients& gradients, BiasSums kind,
                const Compensated<Real>& sums, Context context);

// Zeros for a bias of pairs, where there is no head to sum.
void ClearPairs(const Problem& problem, const Gradients& gradients);

}  // namespace logsum::attend
