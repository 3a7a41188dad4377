// In place of the kernels, which are no part of the fuzzer: it compiles programs and runs none.
#include <cstdlib>

#include "attention/score_kernels.hpp"
#include "reduce/kernels.hpp"

namespace logsum {

template <>
const reduce::KernelTable<float>& reduce::Kernels() {
  std::abort();
}
template <>
const reduce::KernelTable<double>& reduce::Kernels() {
  std::abort();
}
template <>
const attend::ScoreKernels<float>& attend::ScoreKernelsOfTarget() {
  std::abort();
}
template <>
const attend::ScoreKernels<double>& attend::ScoreKernelsOfTarget() {
  std::abort();
}

}  // namespace logsum
