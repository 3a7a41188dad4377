// Kernels of every CPU target that runs here, for tests that call them without an operation.
#pragma once
#include <cstdint>
#include <vector>

#include "hwy/targets.h"

namespace logsum::testing {

// What `make` returns with each target chosen in turn, best target first; dispatch is left as it
// was found.
template <class Make>
auto OfEachTarget(const Make& make) {
  std::vector<decltype(make())> found;
  const std::int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t left = supported; left != 0; left &= left - 1) {
    hwy::GetChosenTarget().Update(left & -left);
    found.push_back(make());
  }
  hwy::GetChosenTarget().Update(supported);
  return found;
}

}  // namespace logsum::testing
