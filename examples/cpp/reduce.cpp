// Mean shift: every point climbs the density that all points make, and ends on its clump's summit.
//
// The log density at x is log sum over j of exp(-|x - y_j|^2 / 2), a reduction of a formula over
// all pairs. Its gradient, another reduction, leads from x to the mean of the points around it.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <logsum/logsum.hpp>
#include <string_view>
#include <vector>

namespace {

constexpr std::int64_t kPoints = 6;

using Cloud = std::array<double, 2 * kPoints>;

constexpr std::array<std::int64_t, 2> kStrides = {2, 1}, kPlane = {kPoints, 2};
constexpr std::array<std::int64_t, 2> kColumn = {kPoints, 1}, kOne = {1, 1};

logsum::Tensor View(Cloud& cloud) {
  return {.data = cloud.data(), .dtype = logsum::DType::f64, .shape = kPlane, .strides = kStrides};
}

logsum::Tensor View(std::array<double, kPoints>& column) {
  return {.data = column.data(), .dtype = logsum::DType::f64, .shape = kColumn, .strides = kOne};
}

}  // namespace

int main() {
  constexpr std::array<std::string_view, 2> kAliases = {"x = Vi(2)", "y = Vj(2)"};
  const logsum::Reduction density =
      logsum::Reduction::parse("-SqDist(x, y) / 2", kAliases, "LogSumExp", 1).saving();
  const logsum::Reduction slope = density.gradient(std::array{0});  // with respect to x
  std::cout << "The gradient:\n" << slope.text();

  Cloud points = {0, 0, 1, 0, 0, 1, 9, 9, 8, 9, 9, 8}, climbers = points, uphill{};
  // The log density, and what beside it the gradient needs; all are numbers for each point.
  std::vector<std::array<double, kPoints>> results(density.outputs().size());
  std::array<double, kPoints> ones;
  ones.fill(1);

  std::vector<logsum::Tensor> given = {View(climbers), View(points)}, found, needed;
  for (auto& result : results) found.push_back(View(result));
  for (const logsum::ReductionArgument& argument : slope.arguments()) {
    const auto position = static_cast<std::size_t>(argument.position);
    switch (argument.source) {
      case logsum::ArgumentSource::given:
        needed.push_back(given[position]);
        break;
      case logsum::ArgumentSource::incoming:
        needed.push_back(View(ones));
        break;
      case logsum::ArgumentSource::saved:
        needed.push_back(found[position]);
        break;
      case logsum::ArgumentSource::tangent:
        break;  // of forward mode alone
    }
  }
  std::array<logsum::Tensor, 1> step = {View(uphill)};
  for (int round = 0; round < 200; ++round) {
    density.run(given, found);
    slope.run(needed, step);
    for (std::size_t k = 0; k < climbers.size(); ++k) climbers[k] += uphill[k];
  }
  for (std::size_t k = 0; k < climbers.size(); k += 2) {
    std::cout << "summit: " << climbers[k] << " " << climbers[k + 1] << "\n";
  }
}
