// The forward pass of a checked call.
#pragma once

#include "attention/problem.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// Writes problem.out and problem.lse, whatever the sizes (zero too).
void RunForward(const Problem& problem, const Context& context);

}  // namespace logsum::attend
