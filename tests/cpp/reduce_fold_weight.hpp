// What the tests of weighted folds share: shapes, formulas, and what a mean should be.
#pragma once

#include <utility>

#include "reduce_fold.hpp"

namespace logsum::reduce {

inline FoldShape ShapeOf(Fold fold, bool rows, std::int64_t dim, bool weighted = false) {
  return {.fold = fold,
          .kept = rows ? FormulaIndex::i : FormulaIndex::j,
          .dim = dim,
          .weighted = weighted};
}

template <class Real>
PairValues<Real> Formula(double scale) {
  return {[=](auto, auto r, auto c) { return Real(scale * (Scattered(9, r, c) - 0.5)); }};
}

template <class Real>
struct Exact {
  long double lse, sum, sizes, total;  // sum, sizes: of the weights under e^(F - max); total: 1 s
  long double max;
};

template <class Real>
Exact<Real> ExactOf(const std::vector<Real>& formula, const std::vector<Real>& weight) {
  long double max = -kInf<long double>, total = 0, sum = 0, sizes = 0;
  for (const Real f : formula) max = std::max<long double>(max, f);
  for (std::size_t k = 0; k < formula.size(); ++k) {
    if (formula[k] == -kInf<Real>) continue;
    const long double p = std::exp(formula[k] - max);
    total += p;
    sum += p * weight[k];
    sizes += p * std::fabs(static_cast<long double>(weight[k]));
  }
  return {max + std::log(total), sum, sizes, total, max};
}

// 36 u as for a log-sum-exp and 1 u for products, of sums of sizes.
inline constexpr long double kUnitsLost = 38;

template <class Real>
void ExpectMean(Real got, const Exact<Real>& exact) {
  if (exact.max == -kInf<long double>) {
    EXPECT_EQ(got, 0);
    return;
  }
  const long double mean = exact.sum / exact.total, size = exact.sizes / exact.total;
  ASSERT_LE(std::fabs(got - mean), HalfUlp(got) + 2 * kUnitsLost * kUnit<Real> * size);
}

}  // namespace logsum::reduce
