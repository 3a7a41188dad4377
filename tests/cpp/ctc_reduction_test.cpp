// Sums and means of losses, and their gradients, against the losses one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "logsum/ctc.hpp"

namespace logsum::testing {
namespace {

// An empty target counts as one label.
double ShareOf(const CtcProblem<double>& problem, std::int64_t n) {
  if (problem.options.reduction == CtcReduction::sum) return 1;
  const std::size_t length = problem.targets[static_cast<std::size_t>(n)].size();
  return 1 / (static_cast<double>(problem.N) * static_cast<double>(length == 0 ? 1 : length));
}

struct Reduced {
  Array<double> loss{{}}, grad;

  Reduced(CtcProblem<double>& problem, int threads) : grad({problem.T_, problem.N, problem.C}) {
    Tensor to = loss, of = grad;
    problem.Call(to, &of, {.threads = threads});
  }
};

void CheckReductions(CtcProblem<double>& problem) {
  problem.options.reduction = CtcReduction::none;
  problem.Run();
  for (const CtcReduction reduction : {CtcReduction::sum, CtcReduction::mean}) {
    problem.options.reduction = reduction;
    const Reduced got(problem, 1), by_two(problem, 2);
    double sum = 0;
    for (std::int64_t n = 0; n < problem.N; ++n) {
      sum += ShareOf(problem, n) * problem.losses.Get(n);
    }
    EXPECT_DOUBLE_EQ(got.loss.Get(0), sum);  // but for products that are fused with sums
    EXPECT_EQ(by_two.loss.Get(0), got.loss.Get(0));
    for (std::int64_t i = 0; i < problem.grad.Size(); ++i) {
      const double want = ShareOf(problem, i / problem.C % problem.N) * problem.grad.Get(i);
      // The weight comes into the quotient of a posterior: two roundings more.
      EXPECT_NEAR(got.grad.Get(i), want, 4 * std::abs(want) * 0x1p-53) << i;
      EXPECT_EQ(by_two.grad.Get(i), got.grad.Get(i)) << i;
    }
  }
}

TEST(CtcReduction, SumsAndMeans) {
  std::mt19937 random(21);
  std::normal_distribution<double> normal(0, 3);
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    for (const bool impossible : {false, true}) {
      CtcProblem<double> problem(12, 6, {{1, 2, 3}, {}, {4}, {5, 5}});
      if (impossible) problem.input_lengths[3] = 2;  // a repeat needs three frames
      problem.options = {.semiring = semiring, .zero_infinity = true};
      problem.Fill([&] { return normal(random); });
      CheckReductions(problem);
    }
  }
}

TEST(CtcReduction, OfInfiniteLosses) {
  CtcProblem<double> problem(4, 3, {{1}, {1, 2, 1, 2, 1}});
  problem.options.reduction = CtcReduction::mean;
  problem.Fill([] { return -1; });
  EXPECT_EQ(Reduced(problem, 1).loss.Get(0), std::numeric_limits<double>::infinity());
}

TEST(CtcReduction, OfNoSequences) {
  CtcProblem<double> none(5, 3, std::vector<Labels>{});
  none.options.reduction = CtcReduction::mean;
  EXPECT_EQ(Reduced(none, 1).loss.Get(0), 0);
}

}  // namespace
}  // namespace logsum::testing
