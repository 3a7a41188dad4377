// Chained conditional probabilities, in log space.
//
// A step takes one of three states to one of three: step[z, y] = log p(z | y). Two steps are
//
//   log p(z | x) = log sum over y of p(z | y) p(y | x),
//
// a matrix product of probabilities that are given, and wanted, as logarithms. Some of these are
// e^-1500, which is zero as a float64, so the product of the probabilities
// themselves loses them; logmatmulexp does not.
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <logsum/logsum.hpp>

namespace {

using Matrix = std::array<double, 9>;  // 3 x 3, row after row

constexpr std::array<std::int64_t, 2> kShape = {3, 3}, kStrides = {3, 1};

// What logsum sees: it owns nothing.
logsum::Tensor View(Matrix& matrix) {
  return {.data = matrix.data(), .dtype = logsum::DType::f64, .shape = kShape, .strides = kStrides};
}

// Of each column, the logarithm of the sum of its probabilities; 0 if it is a distribution.
std::array<double, 3> LogColumnSums(Matrix& logs) {
  constexpr std::array<std::int64_t, 1> kLength = {3}, kStep = {1};
  std::array<double, 3> sums{};
  logsum::Tensor out = {
      .data = sums.data(), .dtype = logsum::DType::f64, .shape = kLength, .strides = kStep};
  logsum::logsumexp(View(logs), std::array{0}, nullptr, nullptr, out, nullptr);
  return sums;
}

void Print(const char* title, const double* row) {
  std::cout << title << row[0] << "  " << row[1] << "  " << row[2] << "\n";
}

}  // namespace

int main() {
  // Staying is likely, moving to the next state is rare, skipping one is rarer still.
  Matrix step = {0,     -1500, -700,   //
                 -700,  0,     -1500,  //
                 -1500, -700,  0};
  const std::array<double, 3> scale = LogColumnSums(step);
  for (std::size_t i = 0; i < step.size(); ++i) step[i] -= scale[i % 3];  // columns sum to one

  Matrix twice, residual;
  logsum::Tensor out = View(twice), rest = View(residual);
  logsum::logmatmulexp(View(step), View(step), out, nullptr, nullptr, &rest);
  for (int z = 0; z < 3; ++z) Print("log p(z | x):    ", &twice[static_cast<std::size_t>(3 * z)]);
  Print("log column sums: ", LogColumnSums(twice).data());

  // How log p(z=2 | x=0) depends on the second step: its gradient with respect to step[2, y] is the
  // probability that a path from 0 to 2 went by y. Skipping costs 1500, moving twice 1400: by 1.
  Matrix grad = {}, through;
  grad[6] = 1;
  logsum::Tensor grad_second = View(through);
  logsum::logmatmulexp_backward(View(grad), View(step), View(step), out, &rest, &grad_second,
                                nullptr);
  Print("p(y | x=0, z=2): ", &through[6]);
}
