// Every float32 there is, through a primitive, on every target, with flush-to-zero off and on.
#pragma once

#include "primitives.hpp"

namespace logsum::every_float {

// `primitive` on all 2^32 inputs (or all x <= 0 and NaN) against `oracle`, a float64 primitive on
// the same inputs, whose own error is 2^-29 of an ulp here. Expects at most `bound` ulp; where the
// result is below the smallest normal, 0 counts as right if the mode flushes or `always_flushes`.
struct Sweep {
  primitives::Op primitive;
  primitives::Op oracle;
  const char* name;
  double bound;
  bool only_non_positive = false;
  bool always_flushes = false;
};

void Run(const Sweep& sweep);

}  // namespace logsum::every_float
