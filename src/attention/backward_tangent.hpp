// The derivative of attention's gradients along a direction, which is double backward too.
//
// With dots for tangents, g = dO . v, dS = p (g - delta) the gradient of a score (backward-inl.h):
//
//   dS. = p (s. - lse.) (g - delta) + p (dO . v. - dO . out.)
//   dq. = dS. k + dS k.      dk. = dS. q + dS q.      dv. = p (s. - lse.) dO
//
// The cells, rounds and sums are the backward pass's; only what a tile computes is another.
#pragma once
#include "attention/backward.hpp"
#include "attention/problem.hpp"
#include "attention/tangent.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// gradients: cotangents, which do not move, and where the tangents of gradients go. results: both,
// from RunTangent.
void RunBackwardTangent(const Problem& problem, const Gradients& gradients,
                        const Tangents& tangents, const ResultTangents& results, Context context);

}  // namespace logsum::attend
