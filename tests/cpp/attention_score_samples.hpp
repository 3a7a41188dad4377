// Score formulas that tests run.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attention_score_problem.hpp"

namespace logsum::testing {

struct Sample {
  std::string formula;
  std::function<std::vector<ScoreArray>(DType)> arrays;
  std::int64_t keys = 150, queries = 37;
};

// Numbers between low and high, all different.
inline std::function<double(std::int64_t)> Spread(double low, double high) {
  return [=](std::int64_t k) {
    const double x = static_cast<double>(k + 1) * 0.6180339887498949;
    return low + (high - low) * (x - std::floor(x));
  };
}

inline std::vector<Sample> Samples() {
  const auto spread = Spread(-1, 1), small = Spread(0.01, 0.1), positive = Spread(2, 4);
  const auto none = [](DType) { return std::vector<ScoreArray>{}; };
  return {
      // ALiBi.
      {"s - slope(h) * Abs(i - j)",
       [=](DType real) { return std::vector{ScoreArray("slope", real, {3}, small)}; }},
      // Relative biases by arrays, in either order of memory and of indices.
      {"s + table(h, i, j)",
       [=](DType real) { return std::vector{ScoreArray("table", real, {3, 37, 150}, spread)}; }},
      {"s + table(j, i) * s",
       [=](DType real) { return std::vector{ScoreArray("table", real, {150, 37}, spread)}; }},
      {"s * w(b, h, i, j) + Exp(p(b, h, i)) * t(h) - u(j)",
       [=](DType real) {
         return std::vector{ScoreArray("w", real, {2, 3, 37, 150}, spread, true),
                            ScoreArray("p", real, {2, 3, 37}, spread),
                            ScoreArray("t", real, {3}, spread),
                            ScoreArray("u", real, {150}, spread)};
       }},
      {"s + Sin(x(i, j) + s) * x(j, i) - x(j, i)",
       [=](DType real) { return std::vector{ScoreArray("x", real, {70, 70}, spread)}; }, 70, 70},
      {"s + position(b, i) - position(b, j)",
       [=](DType real) { return std::vector{ScoreArray("position", real, {2, 40}, spread)}; }, 40,
       40},
      // Axes of size 1.
      {"s * t(h) + w(b, h, i, j) * u(i, j) - v(j, b) * v(j, h)",
       [=](DType real) {
         return std::vector{
             ScoreArray("t", real, {1}, spread), ScoreArray("w", real, {2, 1, 37, 150}, spread),
             ScoreArray("u", real, {1, 150}, spread), ScoreArray("v", real, {150, 1}, spread)};
       }},
      // Soft caps.
      {"cap * Tanh(s / cap)",
       [=](DType real) { return std::vector{ScoreArray("cap", real, {}, positive)}; }},
      {"cap(h) * Tanh((s + m(b)) / cap(h))",
       [=](DType real) {
         return std::vector{ScoreArray("cap", real, {3}, positive),
                            ScoreArray("m", real, {2}, spread)};
       }},
      // Masks.
      {"Where(doc(b, i) == doc(b, j), s * s, -inf)",
       [](DType) {
         return std::vector{ScoreArray("doc", DType::i64, {2, 60}, [](auto k) { return k / 9; })};
       },
       60, 60},
      {"s + Log(from(b, i) == to(j, b)) + bias(i)",
       [=](DType real) {
         const auto third = [](std::int64_t k) { return k % 3; };
         return std::vector{ScoreArray("from", DType::i32, {2, 37}, third),
                            ScoreArray("to", DType::i32, {150, 2}, third),
                            ScoreArray("bias", real, {37}, spread)};
       }},
      {"Where(allowed(i, j), s - slope * Abs(i - j), -inf)",
       [=](DType real) {
         return std::vector{
             ScoreArray("allowed", DType::boolean, {37, 150}, [](auto k) { return k % 5 != 0; }),
             ScoreArray("slope", real, {}, small)};
       }},
      // Windows, causal and by lengths.
      {"Where((j <= i) * (i - j < 8), s, -inf)", none},
      {"Where(j < k_len, s * q_len / k_len, -inf) + b / (h + 1)", none},
      // Values of no pair, vectors, and what parameters hold.
      {"s", none},
      {"-i * t(b)", [=](DType real) { return std::vector{ScoreArray("t", real, {2}, small)}; }},
      {"Sum(Concat(s, i / 37, x(j)) * Concat(x(j), s, h))",
       [=](DType real) { return std::vector{ScoreArray("x", real, {150}, spread)}; }},
      {"s - SqDist(Concat(x(j), j / 150, y(j)), Concat(u(i), v, i / 37))",
       [=](DType real) {
         return std::vector{ScoreArray("x", real, {150}, spread),
                            ScoreArray("y", real, {150}, spread),
                            ScoreArray("u", real, {37}, spread), ScoreArray("v", real, {}, spread)};
       }},
      {"Sum(Zero(3) + s) + Grad(Square(x(i) * s), x(i), 0.5)",
       [=](DType real) { return std::vector{ScoreArray("x", real, {37}, spread)}; }},
  };
}

template <class Real>
attend::Problem ProblemOf(const Sample& sample) {
  attend::Problem problem = SmallProblem(sizeof(Real) == 8);
  problem.keys = sample.keys;
  problem.queries = sample.queries;
  problem.lengths_q = {sample.queries, sample.queries - 7};
  problem.lengths_k = {sample.keys, sample.keys - 9};
  return problem;
}

template <class Real>
constexpr DType kReal = sizeof(Real) == 4 ? DType::f32 : DType::f64;

template <class Real>
ScoreCase<Real> CaseOf(const Sample& sample) {
  return {sample.formula, sample.arrays(kReal<Real>), ProblemOf<Real>(sample)};
}

// What a derivative is held against: a value, and the sum of the sizes of its terms.
struct Expected {
  double value = 0, size = 0;

  void Add(double term) {
    value += term;
    size += std::abs(term);
  }
};

inline std::vector<ScoreArray> GradientsOf(const std::vector<ScoreArray>& arrays) {
  std::vector<ScoreArray> gradients = arrays;
  for (ScoreArray& gradient : gradients) {
    if (!attend::IsFloating(gradient.dtype)) gradient.bytes.clear();
  }
  return gradients;
}

}  // namespace logsum::testing
