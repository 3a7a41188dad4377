// log(e^1000 + e^1000.5 + e^-inf) by the formula, which overflows, and by logsum.
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <logsum/logsum.hpp>

int main() {
  std::array<double, 3> a = {1000.0, 1000.5, -std::numeric_limits<double>::infinity()};
  double naive = 0;
  for (const double x : a) naive += std::exp(x);

  const std::array<std::int64_t, 1> shape = {3};
  const std::array<std::int64_t, 1> strides = {1};
  const std::array axes = {0};
  const logsum::Tensor terms = {
      .data = a.data(), .dtype = logsum::DType::f64, .shape = shape, .strides = strides};
  double lse = 0;
  logsum::Tensor out = {.data = &lse, .dtype = logsum::DType::f64};
  logsum::logsumexp(terms, axes, nullptr, nullptr, out, nullptr);

  std::cout.precision(std::numeric_limits<double>::max_digits10);
  std::cout << "formula: " << std::log(naive) << "\nlogsum:  " << lse << "\n";
}
