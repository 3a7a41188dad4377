// Nights with and without a light: paths through a graph, counted, weighed and the best one found.
//
// The light may be on or off, but never on two nights in a row, and starts off:
//
//   off -> off, off -> on, on -> off.
//
// With all weights log 1 the partition function is the logarithm of the number of ways to spend the
// nights, a Fibonacci number, and its gradient says in which part of them the light goes on.
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <logsum/logsum.hpp>

namespace {

constexpr std::int64_t kNights = 60, kArcs = 3, kStates = 2;
enum State : std::int64_t { kOff, kOn };
constexpr std::size_t kTurnOn = 1;  // the slot of off -> on

using Weights = std::array<double, kNights * kArcs>;  // T x N x E, one sequence

constexpr std::array<std::int64_t, 3> kWeightShape = {kNights, 1, kArcs};
constexpr std::array<std::int64_t, 3> kWeightStrides = {kArcs, kArcs, 1};
constexpr std::array<std::int64_t, 2> kEndShape = {1, kStates}, kEndStrides = {kStates, 1};
constexpr std::array<std::int64_t, 1> kOne = {1}, kArcShape = {kArcs}, kStep = {1};

logsum::Tensor View(Weights& weights) {
  return {.data = weights.data(),
          .dtype = logsum::DType::f64,
          .shape = kWeightShape,
          .strides = kWeightStrides};
}

logsum::Tensor View(std::array<double, kStates>& ends) {
  return {
      .data = ends.data(), .dtype = logsum::DType::f64, .shape = kEndShape, .strides = kEndStrides};
}

logsum::Tensor View(double& score) {
  return {.data = &score, .dtype = logsum::DType::f64, .shape = kOne, .strides = kStep};
}

logsum::Graph Nights() {
  std::array<std::int64_t, kArcs> source = {kOff, kOff, kOn}, target = {kOff, kOn, kOff};
  const auto integers = [](auto& values) {
    return logsum::Tensor{
        .data = values.data(), .dtype = logsum::DType::i64, .shape = kArcShape, .strides = kStep};
  };
  return logsum::Graph::from_arcs(integers(source), integers(target), kStates);
}

}  // namespace

int main() {
  const logsum::Graph nights = Nights();
  Weights weights{}, used{};
  std::array<double, kStates> first = {0, -std::numeric_limits<double>::infinity()};
  std::array<double, kStates> last = {0, 0};

  double log_ways = 0;
  logsum::Tensor score = View(log_ways), grad = View(used);
  logsum::logZ(View(weights), nights, View(first), View(last), nullptr, score, &grad, nullptr,
               nullptr);
  std::cout.precision(std::numeric_limits<double>::max_digits10);
  std::cout << "log of the ways:     " << log_ways << "\n";
  std::cout << "on in the first:     " << used[kTurnOn] << "\n";

  // Light is worth 2 in every third night, 1 in others: which nights, at the most?
  for (std::size_t t = 0; t < kNights; ++t) weights[t * kArcs + kTurnOn] = t % 3 == 0 ? 2 : 1;
  double best = 0;
  std::array<std::int64_t, kNights + 1> states{};
  std::array<std::int64_t, kNights> arcs{};
  constexpr std::array<std::int64_t, 2> kStateShape = {kNights + 1, 1}, kTakenShape = {kNights, 1},
                                        kPathStrides = {1, 1};
  logsum::Tensor best_score = View(best);
  logsum::Tensor path = {.data = states.data(),
                         .dtype = logsum::DType::i64,
                         .shape = kStateShape,
                         .strides = kPathStrides};
  logsum::Tensor taken = {.data = arcs.data(),
                          .dtype = logsum::DType::i64,
                          .shape = kTakenShape,
                          .strides = kPathStrides};
  logsum::viterbi(View(weights), nights, View(first), View(last), nullptr, best_score, path, taken);
  std::cout << "the best is worth:   " << best << "\nits nights:          ";
  for (std::size_t t = 1; t < states.size(); ++t) std::cout << (states[t] == kOn ? '*' : '.');
  std::cout << "\n";
}
