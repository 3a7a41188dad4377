// Sums of products: factors that are multiplied in after, sums that are shared, masks.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "logsum/config.hpp"
#include "reduce_engine_check.hpp"

namespace logsum {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

Expression Keep(Expression mask, Expression x) { return E(Op::keep, {mask, x}); }

// Every division of a product into factors of i, of j, of neither and of pairs, and dimensions.
TEST(ReduceEngineSums, Products) {
  const auto run = [&]<class T>(T) {
    for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 7}, {40, 70}, {17, 300}, {270, 5}}) {
      Problem problem(rows, columns, sizeof(T) == 8);
      const auto x = problem.Variable(kI, 3, Normal(1)), y = problem.Variable(kJ, 3, Normal(2));
      const auto e = problem.Variable(kI, 1, Normal(3)), b = problem.Variable(kJ, 1, Normal(4));
      const auto p = problem.Variable(kP, 1, Normal(5)), q = problem.Variable(kP, 3, Normal(6));
      const auto w = Exp(-SqDist(x, y)), v = x - y;
      const auto positive = E(Op::relu, {e * b}), vector_mask = E(Op::relu, {x * y});
      for (const auto& formula : {(e * w) * (b * Square(w)),
                                  -(Number(2) * e * (w * b)),
                                  Keep(w, e * w * v * p),
                                  w * y,
                                  w * x,
                                  (w * x) * (e * y),
                                  e * b,
                                  e * e,
                                  b * p,
                                  w * q,
                                  p * q,
                                  Square(w) * e,
                                  -w,
                                  Square(v),
                                  v * w,
                                  (w * b) * (w * b),
                                  (e * w) * (e * w),
                                  Number(3) * w,
                                  e * w + b,
                                  Keep(positive, e * (b * w)),
                                  Keep(vector_mask, w * b),
                                  Keep(vector_mask, w * x * y),
                                  Keep(e, b * (e * w)),
                                  Keep(b, b * (e * w)),
                                  Keep(w, -(Keep(positive, w * b) * e))}) {
        for (const FormulaIndex kept : {kI, kJ, kP}) problem.Fold(Fold::sum, formula, kept);
      }
      Check<T>(problem, std::to_string(rows) + " x " + std::to_string(columns), 4 * kTolerance<T>,
               config().cpu_targets);
    }
  };
  run(float{});
  run(double{});
}

// The gradients of the tutorial's log-sum-exp: of seven products one is made for every pair, and
// both gradients of variables of j are of one sum.
TEST(ReduceEngineSums, AreShared) {
  Problem problem(61, 90);
  const auto x = problem.Variable(kI, 1, Normal(1)), y = problem.Variable(kJ, 1, Normal(2));
  const auto a = problem.Variable(kJ, 1, Normal(3)), p = problem.Variable(kP, 1, Normal(4));
  const auto e = problem.Variable(kI, 1, Normal(5)), lse = problem.Variable(kI, 1, Normal(6));
  const auto difference = p - a, exponential = Exp(x + y);
  const auto f = Square(difference) * exponential;
  const auto share = E(Op::probability, {f, lse, Number(0)}), adjoint = e * share;
  problem.Fold(Fold::sum, Keep(share, adjoint * f), kI);
  problem.Fold(Fold::sum, Keep(share, adjoint * f), kJ);
  problem.Fold(Fold::sum, Keep(share, -(Number(2) * difference * (adjoint * exponential))), kJ);
  Check<float>(problem, "tutorial", 20 * kTolerance<float>, config().cpu_targets);

  const auto program = reduce::Compile(problem.body.groups, problem.body.slots);
  EXPECT_EQ(program->tile.instructions.size(), 3u);  // exponential, formula, share
  ASSERT_EQ(program->pushes.size(), 3u);
  EXPECT_EQ(program->pushes[0].sharing, 1);
  EXPECT_EQ(program->pushes[1].sharing, 2);
  const auto one = problem.Run<float>(1);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(problem.Run<float>(threads), one);
}

// Where the mask is zero nothing counts, whichever factor is infinite or undefined there.
TEST(ReduceEngineSums, MaskedTerms) {
  for (const auto& [rows, columns] : {std::pair{40, 70}, {7, 300}, {300, 7}}) {
    Problem problem(rows, columns);
    const auto a = problem.Variable(kI, 1, [n = 0]() mutable { return n++ % 3; });
    const auto b = problem.Variable(kJ, 1, [n = 0]() mutable { return n++ % 5 == 0 ? 0 : 1.5; });
    const auto undefined_at_zeros = [&](FormulaIndex index, const formula::Vector& of) {
      return problem.Variable(index, 1, [normal = Normal(1), of, n = std::size_t{0}]() mutable {
        const double x = normal();
        return of[n++] != 0 ? x : n % 2 == 0 ? kNaN : x < 0 ? -kInf : kInf;
      });
    };
    const formula::Vector of_a = problem.values[0], of_b = problem.values[1];
    const auto e = undefined_at_zeros(kI, of_a), s = undefined_at_zeros(kJ, of_b);
    const auto x = problem.Variable(kI, 1, Normal(3)), y = problem.Variable(kJ, 3, Normal(4));
    const auto w = E(Op::relu, {a * b}), infinite = E(Op::inverse, {w});
    for (const auto& formula :
         {e * w * s, e * (w * infinite) * s, w * infinite * y, e * w * (s * infinite * Exp(x + y)),
          Square(w) * e * (s * y), e * s * Exp(x + y), infinite * Exp(x + y) * s}) {
      for (const FormulaIndex kept : {kI, kJ, kP}) {
        problem.Fold(Fold::sum, Keep(w, formula), kept);
      }
    }
    Check<float>(problem, "masked", 4 * kTolerance<float>, config().cpu_targets);
  }
}

// Where terms take part, an infinite factor is infinite or undefined as in their sum.
TEST(ReduceEngineSums, InfiniteFactors) {
  Problem problem(40, 70);
  const auto positive = [normal = Normal(1)]() mutable { return 0.1 + std::abs(normal()); };
  const auto e = problem.Variable(kI, 1, positive), s = problem.Variable(kJ, 1, positive);
  const auto x = problem.Variable(kI, 1, Normal(3)), y = problem.Variable(kJ, 1, Normal(4));
  problem.values[0][3] = kInf;
  problem.values[0][4] = 0;
  problem.values[1][11] = kInf;
  problem.values[1][12] = -kInf;
  problem.values[1][40] = kNaN;
  problem.values[1][41] = 0;
  const auto w = Exp(x + y);
  for (const FormulaIndex kept : {kI, kJ, kP}) {
    problem.Fold(Fold::sum, e * w * s, kept);
    problem.Fold(Fold::sum, Keep(w, Square(w) * s), kept);
    problem.Fold(Fold::sum, Keep(w, w * e), kept);
  }
  Check<float>(problem, "infinite", 4 * kTolerance<float>, config().cpu_targets);
}

// Sums that overflow before they are multiplied by what makes them small again.
TEST(ReduceEngineSums, Overflow) {
  Problem problem(50, 80);
  const auto x = problem.Variable(kI, 1, [] { return 44.0; });
  const auto y = problem.Variable(kJ, 1, [] { return 44.0; });
  const auto e = problem.Variable(kI, 1, [] { return 1e-30; });
  const auto s = problem.Variable(kJ, 1, [] { return -1e-30; });
  const auto w = Exp(x + y);  // 1.7e38
  for (const FormulaIndex kept : {kI, kJ, kP}) {
    problem.Fold(Fold::sum, w * e, kept);
    problem.Fold(Fold::sum, Keep(w, w * s), kept);
    problem.Fold(Fold::sum, e * w * (w * s) * e, kept);
  }
  Check<float>(problem, "overflow", 40 * kTolerance<float>, config().cpu_targets);
}

}  // namespace
}  // namespace logsum
