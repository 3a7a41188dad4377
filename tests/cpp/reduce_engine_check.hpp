// Results of the engine held against brute force.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "logsum/config.hpp"
#include "reduce_engine_problem.hpp"
#include "reduce_engine_reference.hpp"

namespace logsum::testing {

inline constexpr FormulaIndex kI = FormulaIndex::i, kJ = FormulaIndex::j,
                              kP = FormulaIndex::parameter;

// Sums of well-conditioned terms: each operation costs an ulp or a few of its terms' sizes.
template <class T>
inline constexpr double kTolerance = sizeof(T) == 4 ? 4e-6 : 1e-13;

// Runs the problem on the targets and holds results against the reference.
template <class T>
void Check(Problem& problem, const std::string& what, double tolerance = kTolerance<T>,
           const std::vector<std::string>& targets = {}, bool transposed = false) {
  std::vector<Expected> expected;
  int group = -1;
  std::vector<Terms> terms;
  for (const auto& target : problem.body.targets) {
    if (target.group != group) terms = TermsOf(problem, target.group);
    group = target.group;
    expected.push_back(BruteForce(problem, target, terms));
  }
  const auto check = [&](const std::string& target) {
    const auto got = problem.Run<T>(1, transposed);
    for (std::size_t t = 0; t < got.size(); ++t) {
      const auto& [values, sizes] = expected[t];
      ASSERT_EQ(got[t].size(), values.size()) << what;
      for (std::size_t k = 0; k < got[t].size(); ++k) {
        const double x = got[t][k], y = values[k];
        if (std::isnan(y) ? std::isnan(x) : x == y) continue;
        ASSERT_LE(std::abs(x - y), tolerance * sizes[k])
            << what << " " << target << ", output " << t << " entry " << k << ": " << x
            << " instead of " << y;
      }
    }
  };
  if (targets.empty()) return check("");
  for (const std::string& target : targets) {
    set_cpu_target(target);
    check(target);
  }
  set_cpu_target(targets.front());
}

}  // namespace logsum::testing
