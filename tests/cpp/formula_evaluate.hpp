// The value of an expression at one pair, in double, operation by operation as op.hpp states them.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <unordered_map>
#include <vector>

#include "formula/expression.hpp"

namespace logsum::formula {

using Vector = std::vector<double>;

// One pair: the values of the slots, and where it lies. Slots of indices hold them as numbers.
struct Point {
  std::vector<Vector> slots;
  double i = 0, j = 0, M = 1, N = 1;
  Vector matched{};  // slot by slot the index that Op::match compares it with, where there are any
};

class Evaluation {
 public:
  explicit Evaluation(const Point& point) : point_(point) {}

  const Vector& operator()(const Expression& x) {
    const auto known = values_.find(x.get());
    if (known != values_.end()) return known->second;
    std::vector<Vector> operands;
    for (const Expression& operand : x->operands) operands.push_back((*this)(operand));
    return values_.emplace(x.get(), Value(*x, operands)).first->second;
  }

 private:
  static double Probability(double x, double lse, double residual) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (x == -kInfinity) return 0;
    const double share = std::exp((x == lse ? 0 : x - lse) - residual);
    return share > 1 ? 1 : share;
  }

  static double Number(const Node& node, double x, double y, double z) {
    switch (node.op) {
      case Op::negate:
        return -x;
      case Op::exp:
        return std::exp(x);
      case Op::log:
        return std::log(x);
      case Op::square:
        return x * x;
      case Op::sqrt:
        return std::sqrt(x);
      case Op::rsqrt:
        return 1 / std::sqrt(x);
      case Op::inverse:
        return 1 / x;
      case Op::abs:
        return std::abs(x);
      case Op::sign:
        return x > 0 ? 1 : x < 0 ? -1 : x;
      case Op::step:
        return x >= 0 ? 1 : x < 0 ? 0 : x;
      case Op::relu:
        return x < 0 ? 0 : x;
      case Op::sin:
        return std::sin(x);
      case Op::cos:
        return std::cos(x);
      case Op::atan:
        return std::atan(x);
      case Op::tanh:
        return std::tanh(x);
      case Op::sigmoid:
        return 1 / (1 + std::exp(-x));
      case Op::softplus:
        return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
      case Op::log1p:
        return std::log1p(x);
      case Op::expm1:
        return std::expm1(x);
      case Op::xlogx:
        return x == 0 ? 0 : x * std::log(x);
      case Op::power_of:
        return std::pow(x, static_cast<double>(node.first));
      case Op::add:
        return x + y;
      case Op::subtract:
        return x - y;
      case Op::multiply:
        return x * y;
      case Op::divide:
        return x / y;
      case Op::power:
        return std::pow(x, y);
      case Op::logaddexp:
        return x == y ? x + std::log(2.0) : std::max(x, y) + std::log1p(std::exp(-std::abs(x - y)));
      case Op::equal:
        return x == y ? 1 : 0;
      case Op::not_equal:
        return x != y ? 1 : 0;
      case Op::less:
        return x < y ? 1 : 0;
      case Op::less_equal:
        return x <= y ? 1 : 0;
      case Op::keep:
        return x != 0 ? y : 0;
      case Op::ratio:
        return x == -std::numeric_limits<double>::infinity() ? 0 : std::exp(x - y);
      case Op::clamp:
        return std::min(std::max(x, y), z);
      case Op::if_else:
        return x >= 0 ? y : z;
      case Op::probability:
        return Probability(x, y, z);
      default:
        ADD_FAILURE() << "not elementwise";
        return 0;
    }
  }

  Vector Value(const Node& node, const std::vector<Vector>& operands) const {
    const auto dim = static_cast<std::size_t>(node.dim);
    const auto first = static_cast<std::size_t>(node.first);
    Vector value(dim, 0.0);
    const auto at = [&](std::size_t k, std::size_t d) {
      return k >= operands.size() ? 0.0 : operands[k].size() == 1 ? operands[k][0] : operands[k][d];
    };
    switch (node.op) {
      case Op::variable:
        return point_.slots.at(first);
      case Op::match:
        for (std::size_t d = 0; d < dim; ++d) {
          value[d] = point_.slots.at(first)[d] == point_.matched.at(first) ? 1 : 0;
        }
        return value;
      case Op::number:
        return {node.number};
      case Op::index_i:
        return {point_.i};
      case Op::index_j:
        return {point_.j};
      case Op::size_i:
        return {point_.M};
      case Op::size_j:
        return {point_.N};
      case Op::sum:
        for (const double x : operands[0]) value[0] += x;
        return value;
      case Op::dot:
        for (std::size_t d = 0; d < operands[0].size(); ++d) {
          value[0] += operands[0][d] * operands[1][d];
        }
        return value;
      case Op::sqdist:
        for (std::size_t d = 0; d < operands[0].size(); ++d) {
          value[0] += std::pow(operands[0][d] - operands[1][d], 2);
        }
        return value;
      case Op::broadcast:
        return Vector(dim, operands[0][0]);
      case Op::extract:
        for (std::size_t d = 0; d < dim; ++d) value[d] = operands[0][first + d];
        return value;
      case Op::pad:
        for (std::size_t d = 0; d < operands[0].size(); ++d) value[first + d] = operands[0][d];
        return value;
      case Op::concat:
        value.clear();
        for (const Vector& x : operands) value.insert(value.end(), x.begin(), x.end());
        return value;
      case Op::one_hot:
        for (std::size_t d = 0; d < dim; ++d) {
          value[d] = std::nearbyint(operands[0][0]) == static_cast<double>(d) ? 1 : 0;
        }
        return value;
      case Op::matvec:
        for (std::size_t a = 0; a < dim; ++a) {
          for (std::size_t b = 0; b < operands[1].size(); ++b) {
            value[a] += operands[0][a * operands[1].size() + b] * operands[1][b];
          }
        }
        return value;
      case Op::vecmat:
        for (std::size_t a = 0; a < operands[0].size(); ++a) {
          for (std::size_t b = 0; b < dim; ++b) {
            value[b] += operands[0][a] * operands[1][a * dim + b];
          }
        }
        return value;
      case Op::tensor_product:
        for (std::size_t d = 0; d < dim; ++d) {
          value[d] = operands[0][d / operands[1].size()] * operands[1][d % operands[1].size()];
        }
        return value;
      default:
        for (std::size_t d = 0; d < dim; ++d) {
          value[d] = Number(node, at(0, d), at(1, d), at(2, d));
        }
        return value;
    }
  }

  const Point& point_;
  std::unordered_map<const Node*, Vector> values_;
};

inline Vector Evaluate(const Expression& x, const Point& point) { return Evaluation(point)(x); }

}  // namespace logsum::formula
