// What the engine should compute: folds by brute force, in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "formula_evaluate.hpp"
#include "reduce_engine_problem.hpp"

namespace logsum::testing {

// What an entry of a result should be, and the size of the terms that it is made of.
struct Expected {
  Vector values, sizes;
};

// What an entry of a result folds: a group's formula, and its weight if there is one, at each pair.
struct Terms {
  std::vector<Vector> formulas, weights;
};

// The terms of all entries of a group's results, in their order.
inline std::vector<Terms> TermsOf(const Problem& problem, int number) {
  const auto& group = problem.body.groups[static_cast<std::size_t>(number)];
  const bool by_rows = group.kept == FormulaIndex::i;
  const bool by_both = group.kept == FormulaIndex::parameter;
  const std::int64_t kept = problem.SizeOf(group.kept);
  const std::int64_t reduced = by_both   ? problem.rows * problem.columns
                               : by_rows ? problem.columns
                                         : problem.rows;
  std::vector<Terms> all;
  for (std::int64_t entry = 0; entry < problem.entries; ++entry) {
    for (std::int64_t k = 0; k < kept; ++k) {
      Terms& terms = all.emplace_back();
      for (std::int64_t r = 0; r < reduced; ++r) {
        const std::int64_t i = by_both ? r / problem.columns : by_rows ? k : r;
        const std::int64_t j = by_both ? r % problem.columns : by_rows ? r : k;
        const formula::Point point = problem.PointAt(entry, i, j);
        terms.formulas.push_back(formula::Evaluate(group.formula, point));
        if (group.weight != nullptr) {
          terms.weights.push_back(formula::Evaluate(group.weight, point));
        }
      }
    }
  }
  return all;
}

// `all`: the terms of the target's group.
inline Expected BruteForce(const Problem& problem, const reduce::Target& target,
                           const std::vector<Terms>& all) {
  const auto& group = problem.body.groups[static_cast<std::size_t>(target.group)];
  const bool has_shares = group.fold == Fold::logsumexp || group.weight != nullptr;
  const bool has_order =
      group.fold == Fold::min || group.fold == Fold::max || group.fold == Fold::kmin;
  Expected expected;
  const std::int64_t dim = problem.DimOf(target), count = std::max<std::int64_t>(group.count, 1);
  for (const Terms& terms : all) {
    const std::vector<Vector>&formulas = terms.formulas, &weights = terms.weights;
    Vector out(static_cast<std::size_t>(dim * count)), size(out.size(), 1.0);
    for (std::int64_t d = 0; d < dim; ++d) {
      const auto c = static_cast<std::size_t>(d);
      const auto f = [&](std::size_t r) {
        return formulas[r].size() == 1 ? formulas[r][0] : formulas[r][c];
      };
      double top = -kInf, total = 0, mean = 0, weighted = 0, sizes = 0;
      for (std::size_t r = 0; has_shares && r < formulas.size(); ++r) top = std::max(top, f(r));
      const double shift = std::isinf(top) ? 0 : top;
      for (std::size_t r = 0; has_shares && r < formulas.size(); ++r) {
        const double share = std::exp(f(r) - shift);
        total += share;
        if (group.weight == nullptr) continue;
        const double w = weights[r].size() == 1 ? weights[r][0] : weights[r][c];
        mean += share * w;
        weighted += share * w;
        sizes += share * std::abs(w);
      }
      const double lse = top == -kInf ? -kInf : shift + std::log(total);
      std::vector<std::size_t> order(has_order ? formulas.size() : 0);
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
              y = target.result == Result::argument ? static_cast<double>(order[at]) : f(order[at]);
              if (target.result == Result::value) s = 1 + std::abs(y);
            }
        }
      }
    }
    expected.values.insert(expected.values.end(), out.begin(), out.end());
    expected.sizes.insert(expected.sizes.end(), size.begin(), size.end());
  }
  return expected;
}

}  // namespace logsum::testing
