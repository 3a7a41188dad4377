// The CPU target that kernels are dispatched to.
#pragma once
#include <string>
#include <vector>

namespace logsum {

// Applies LOGSUM_FORCE_TARGET once; every dispatch goes through this first. Throws
// std::runtime_error when the variable names a target that does not run here, or when the CPU
// lacks even the baseline (SSE4.2 on x86).
void EnsureTarget();

std::string CurrentTarget();
std::vector<std::string> AvailableTargets();  // compiled and supported, best first

}  // namespace logsum
