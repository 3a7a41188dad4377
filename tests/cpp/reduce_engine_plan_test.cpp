// How the engine cuts work: threads, rounds, batches, empty axes, and values that depend on places.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "reduce_engine_check.hpp"

namespace logsum {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

TEST(ReduceEnginePlan, SameBitsForEveryThreadCount) {
  for (const auto& [rows, columns] : {std::pair{700, 900}, {1, 300'000}, {200'000, 2}}) {
    Problem problem(rows, columns);
    const auto x = problem.Variable(kI, 3, Normal(1)), y = problem.Variable(kJ, 3, Normal(2));
    const auto s = -SqDist(x, y);
    const auto check = [&](const char* what) {
      const auto one = problem.Run<float>(1);
      for (const int threads : {2, 3, 8}) EXPECT_EQ(problem.Run<float>(threads), one) << what;
      problem.body.groups.clear();
      problem.body.targets.clear();
    };
    problem.Fold(Fold::logsumexp, s, kI);
    check("rows");
    problem.Fold(Fold::logsumexp, s, kJ);
    check("columns");
    problem.Fold(Fold::sum, Exp(s), kP);
    check("one");
    problem.Fold(Fold::sum, Exp(s) * (x - y), kI);
    problem.Fold(Fold::sum, Exp(s) * (x - y), kJ);
    problem.Fold(Fold::sum, Exp(s), kP);
    check("both");
  }
}

TEST(ReduceEnginePlan, BothAxesInRounds) {
  Problem problem(2100, 1500);
  const auto x = problem.Variable(kI, 40, Normal(1, 0.1)),
             y = problem.Variable(kJ, 40, Normal(2, 0.1));
  const auto s = Exp(-SqDist(x, y));
  problem.Fold(Fold::sum, s * (x - y), kI);
  problem.Fold(Fold::sum, s * (x - y), kJ);
  problem.Fold(Fold::sum, s, kP);
  const auto one = problem.Run<float>(1);
  EXPECT_EQ(problem.Run<float>(3), one);
  const auto wide = problem.Run<double>(1);
  for (std::size_t t = 0; t < one.size(); ++t) {
    for (std::size_t k = 0; k < one[t].size(); ++k) {
      ASSERT_NEAR(one[t][k], wide[t][k], 2e-4 * (1 + (t == 2 ? 1e4 : 0))) << t << " " << k;
    }
  }
}

TEST(ReduceEnginePlan, Batches) {
  for (const std::int64_t entries : {3, 20}) {
    Problem problem(33, 50, true, entries);
    const auto x = problem.Variable(kI, 2, Normal(1)), y = problem.Variable(kJ, 2, Normal(2));
    const auto p = problem.Variable(kP, 1, Normal(3));
    problem.Fold(Fold::logsumexp, p * Dot(x, y), kI);
    Check<double>(problem, "rows");
    problem.Fold(Fold::sum, p * Dot(x, y), kJ);
    problem.Fold(Fold::sum, p * Dot(x, y), kP);
    Check<double>(problem, "all");
  }
}

TEST(ReduceEnginePlan, EmptyAxes) {
  for (const auto& [rows, columns] : {std::pair{0, 5}, {5, 0}, {0, 0}}) {
    Problem problem(rows, columns);
    const auto x = problem.Variable(kI, 2, Normal(1)), y = problem.Variable(kJ, 2, Normal(2));
    for (const FormulaIndex kept : {kI, kJ}) {
      problem.Fold(Fold::logsumexp, x + y, kept);
      problem.Fold(Fold::min, x + y, kept, {Result::value, Result::argument});
      problem.Fold(Fold::max, x + y, kept, {Result::value, Result::argument});
    }
    problem.Fold(Fold::sum, x + y, kP);
    Check<float>(problem, "empty");
  }
}

TEST(ReduceEnginePlan, Match) {
  Problem problem(41, 300);
  const auto x = problem.Variable(kI, 1, Normal(1));
  std::vector<std::int64_t> columns, rows;
  for (std::int64_t i = 0; i < 41 * 2; ++i) columns.push_back((i * 37) % 301 - 1);
  for (std::int64_t j = 0; j < 300; ++j) rows.push_back((j * 7) % 42 - 1);
  const auto at_column = problem.Match(kI, 2, columns), at_row = problem.Match(kJ, 1, rows);
  for (const FormulaIndex kept : {kI, kJ}) {
    problem.Fold(Fold::sum, at_column * x, kept);
    problem.Fold(Fold::sum, at_row * x, kept);
  }
  Check<float>(problem, "match");
}

}  // namespace
}  // namespace logsum
