// What the engine should compute: expressions by their definitions, folds by brute force, in
// double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "reduce_engine_problem.hpp"

namespace logsum::testing {

// The value of an expression at a pair, by the definitions of formula/op.hpp.
inline Vector At(const Problem& problem, const Expression& e, std::int64_t entry, std::int64_t i,
                 std::int64_t j) {
  std::vector<Vector> x;
  for (const auto& operand : e->operands) x.push_back(At(problem, operand, entry, i, j));
  const auto dim = static_cast<std::size_t>(e->dim);
  Vector out(dim);
  const auto slot = [&](std::size_t d) {
    const auto index = static_cast<std::size_t>(e->first);
    const FormulaIndex of = problem.body.slots[index].index;
    const std::int64_t at = of == FormulaIndex::i ? i : of == FormulaIndex::j ? j : 0;
    return problem.values[index][static_cast<std::size_t>((entry * problem.SizeOf(of) + at) *
                                                          problem.body.slots[index].dim) +
                                 d];
  };
  for (std::size_t d = 0; d < dim; ++d) {
    const auto at = [&](std::size_t k) { return x[k].size() == 1 ? x[k][0] : x[k][d]; };
    const double a = x.empty() || e->op >= Op::sum ? 0 : at(0);
    const double b = x.size() < 2 || e->op >= Op::sum ? 0 : at(1);
    const double c = x.size() < 3 || e->op >= Op::sum ? 0 : at(2);
    double& y = out[d];
    switch (e->op) {
      case Op::variable:
        y = slot(d);
        break;
      case Op::number:
        y = e->number;
        break;
      case Op::index_i:
        y = static_cast<double>(i);
        break;
      case Op::index_j:
        y = static_cast<double>(j);
        break;
      case Op::size_i:
        y = static_cast<double>(problem.rows);
        break;
      case Op::size_j:
        y = static_cast<double>(problem.columns);
        break;
      case Op::match: {
        const bool of_i =
            problem.body.slots[static_cast<std::size_t>(e->first)].index == FormulaIndex::i;
        y = slot(d) == static_cast<double>(of_i ? j : i);
        break;
      }
      case Op::negate:
        y = -a;
        break;
      case Op::exp:
        y = std::exp(a);
        break;
      case Op::log:
        y = std::log(a);
        break;
      case Op::square:
        y = a * a;
        break;
      case Op::sqrt:
        y = std::sqrt(a);
        break;
      case Op::rsqrt:
        y = 1 / std::sqrt(a);
        break;
      case Op::inverse:
        y = 1 / a;
        break;
      case Op::abs:
        y = std::abs(a);
        break;
      case Op::sign:
        y = a > 0 ? 1 : a < 0 ? -1 : a;
        break;
      case Op::step:
        y = a >= 0 ? 1 : a < 0 ? 0 : a;
        break;
      case Op::relu:
        y = a < 0 ? 0 : a;
        break;
      case Op::sin:
        y = std::sin(a);
        break;
      case Op::cos:
        y = std::cos(a);
        break;
      case Op::atan:
        y = std::atan(a);
        break;
      case Op::tanh:
        y = std::tanh(a);
        break;
      case Op::sigmoid:
        y = 1 / (1 + std::exp(-a));
        break;
      case Op::softplus:
        y = (a > 0 ? a : 0 * a) + std::log1p(std::exp(-std::abs(a)));
        break;
      case Op::log1p:
        y = std::log1p(a);
        break;
      case Op::expm1:
        y = std::expm1(a);
        break;
      case Op::xlogx:
        y = a == 0 ? 0 : a * std::log(a);
        break;
      case Op::power_of:
        y = std::pow(a, static_cast<double>(e->first));
        break;
      case Op::add:
        y = a + b;
        break;
      case Op::subtract:
        y = a - b;
        break;
      case Op::multiply:
        y = a * b;
        break;
      case Op::divide:
        y = a / b;
        break;
      case Op::power:
        y = std::pow(a, b);
        break;
      case Op::logaddexp:
        y = a == b ? a + std::log(2.0) : std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
        if (std::isnan(a) || std::isnan(b)) y = kNaN;
        break;
      case Op::equal:
        y = a == b;
        break;
      case Op::not_equal:
        y = a != b;
        break;
      case Op::less:
        y = a < b;
        break;
      case Op::less_equal:
        y = a <= b;
        break;
      case Op::keep:
        y = a == 0 ? 0 : b;
        break;
      case Op::ratio:
        y = a == -kInf ? 0 : std::exp(a - b);
        break;
      case Op::clamp:
        y = std::min(std::max(a, b), c);
        break;
      case Op::if_else:
        y = a >= 0 ? b : c;
        break;
      case Op::probability:
        y = a == -kInf ? 0 : std::exp((a == b ? 0 : a - b) - c);
        y = y > 1 ? 1 : y;
        break;
      case Op::sum:
        for (const double v : x[0]) y += v;
        break;
      case Op::dot:
        for (std::size_t k = 0; k < x[0].size(); ++k) y += x[0][k] * x[1][k];
        break;
      case Op::sqdist:
        for (std::size_t k = 0; k < x[0].size(); ++k) {
          y += (x[0][k] - x[1][k]) * (x[0][k] - x[1][k]);
        }
        break;
      case Op::broadcast:
        y = x[0][0];
        break;
      case Op::extract:
        y = x[0][static_cast<std::size_t>(e->first) + d];
        break;
      case Op::pad: {
        const auto first = static_cast<std::size_t>(e->first);
        y = d >= first && d - first < x[0].size() ? x[0][d - first] : 0;
        break;
      }
      case Op::concat: {
        std::size_t k = d, part = 0;
        while (k >= x[part].size()) k -= x[part++].size();
        y = x[part][k];
        break;
      }
      case Op::one_hot:
        y = std::nearbyint(x[0][0]) == static_cast<double>(d);
        break;
      case Op::matvec: {
        const std::size_t m = x[1].size();
        for (std::size_t k = 0; k < m; ++k) y += x[0][d * m + k] * x[1][k];
        break;
      }
      case Op::vecmat:
        for (std::size_t k = 0; k < x[0].size(); ++k) y += x[0][k] * x[1][k * dim + d];
        break;
      case Op::tensor_product:
        y = x[0][d / x[1].size()] * x[1][d % x[1].size()];
        break;
    }
  }
  return out;
}

// What an entry of a result should be, and the size of the terms that it is made of.
struct Expected {
  Vector values, sizes;
};

inline Expected BruteForce(const Problem& problem, const reduce::Target& target) {
  const auto& group = problem.body.groups[static_cast<std::size_t>(target.group)];
  Expected expected;
  const bool by_rows = group.kept == FormulaIndex::i;
  const bool by_both = group.kept == FormulaIndex::parameter;
  const std::int64_t kept = problem.SizeOf(group.kept);
  const std::int64_t reduced = by_both   ? problem.rows * problem.columns
                               : by_rows ? problem.columns
                                         : problem.rows;
  const std::int64_t dim = problem.DimOf(target), count = std::max<std::int64_t>(group.count, 1);
  for (std::int64_t entry = 0; entry < problem.entries; ++entry) {
    for (std::int64_t k = 0; k < kept; ++k) {
      std::vector<Vector> formulas, weights;
      for (std::int64_t r = 0; r < reduced; ++r) {
        const std::int64_t i = by_both ? r / problem.columns : by_rows ? k : r;
        const std::int64_t j = by_both ? r % problem.columns : by_rows ? r : k;
        formulas.push_back(At(problem, group.formula, entry, i, j));
        if (group.weight != nullptr) weights.push_back(At(problem, group.weight, entry, i, j));
      }
      Vector out(static_cast<std::size_t>(dim * count)), size(out.size(), 1.0);
      for (std::int64_t d = 0; d < dim; ++d) {
        const auto c = static_cast<std::size_t>(d);
        const auto f = [&](std::size_t r) {
          return formulas[r].size() == 1 ? formulas[r][0] : formulas[r][c];
        };
        double top = -kInf, total = 0, mean = 0, weighted = 0, sizes = 0;
        bool has_nan = false;
        for (std::size_t r = 0; r < formulas.size(); ++r) {
          top = std::max(top, f(r));
          has_nan |= std::isnan(f(r));
        }
        const double shift = std::isinf(top) ? 0 : top;
        for (std::size_t r = 0; r < formulas.size(); ++r) {
          const double share = std::exp(f(r) - shift);
          total += share;
          if (group.weight == nullptr) continue;
          const double w = weights[r].size() == 1 ? weights[r][0] : weights[r][c];
          mean += share * w;
          weighted += share * w;
          sizes += share * std::abs(w);
        }
        const double lse = top == -kInf ? -kInf : shift + std::log(total);
        std::vector<std::size_t> order(formulas.size());
        for (std::size_t r = 0; r < order.size(); ++r) order[r] = r;
        const double sign = group.fold == Fold::max ? -1 : 1;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
          const double x = sign * f(a), y = sign * f(b);
          if (std::isnan(x) != std::isnan(y)) {
            return group.fold == Fold::kmin ? std::isnan(y) : std::isnan(x);
          }
          return x < y;
        });
        for (std::int64_t n = 0; n < count; ++n) {
          double& y = out[static_cast<std::size_t>(n * dim + d)];
          double& s = size[static_cast<std::size_t>(n * dim + d)];
          const auto at = static_cast<std::size_t>(n);
          switch (group.fold) {
            case Fold::sum:
              s = 0;
              for (std::size_t r = 0; r < formulas.size(); ++r) {
                y += f(r);
                s += 1 + std::abs(f(r));  // 1: what may have cancelled within f
              }
              break;
            case Fold::logsumexp:
              y = lse;
              s = 1 + std::abs(lse);
              break;
            case Fold::logsumexp_weight:
              y = shift + std::log(weighted);
              s = 1 + std::abs(y) + sizes / std::abs(weighted);
              break;
            case Fold::softmax_weight:
              if (target.result == Result::lse) {
                y = lse;
                s = 1 + std::abs(lse);
              } else {
                y = mean / total;
                s = sizes / total;
              }
              break;
            default:
              if (at >= order.size()) {
                y = target.result == Result::argument ? -1 : sign * kInf;
              } else {
                y = target.result == Result::argument ? static_cast<double>(order[at])
                                                      : f(order[at]);
                if (target.result == Result::value) s = 1 + std::abs(y);
              }
          }
        }
        (void)has_nan;
      }
      expected.values.insert(expected.values.end(), out.begin(), out.end());
      expected.sizes.insert(expected.sizes.end(), size.begin(), size.end());
    }
  }
  return expected;
}

}  // namespace logsum::testing
