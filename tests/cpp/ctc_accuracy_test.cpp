// How accurate CTC losses and gradients are, and losses near zero.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "ctc_reference.hpp"
#include "logsum/config.hpp"
#include "logsum/ctc.hpp"

namespace logsum::testing {
namespace {

// Half an ulp of a float32 loss whatever its size; gradients in double, then rounded.
template <class T>
void CheckAccuracy(double of_loss, double of_gradient) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 2);
  for (const auto& [frames, L, C] : std::vector<std::array<std::int64_t, 3>>{
           {100, 20, 29}, {400, 60, 29}, {400, 60, 200}, {50, 5, 5000}, {1000, 100, 5}}) {
    for (const bool from_logits : {false, true}) {
      CtcProblem<T> problem(frames, C, {RandomTarget(L, C, 0, random)});
      problem.options.from_logits = from_logits;
      problem.Fill([&] { return normal(random) - (from_logits ? 0 : 3); });
      const CtcSequenceOf sequence = problem.Of(0);
      const CtcExact exact(sequence);
      const auto want = static_cast<double>(-exact.score);
      for (auto& result : problem.RunOnEveryTarget()) {
        EXPECT_NEAR(result.losses.Get(0), want, std::abs(want) * of_loss);
        EXPECT_NEAR(result.alone.Get(0), want, std::abs(want) * of_loss);
        double worst = 0;
        for (std::int64_t i = 0; i < problem.grad.Size(); ++i) {
          const auto t = static_cast<std::size_t>(i / C), c = static_cast<std::size_t>(i % C);
          const long double p = from_logits ? std::exp(sequence.frames[t][c]) : 0;
          const auto gradient = static_cast<double>(p - exact.posteriors[t][c]);
          worst = std::max(worst, std::abs(result.grad.Get(i) - gradient));
        }
        EXPECT_LE(worst, of_gradient);
      }
    }
  }
}

TEST(CtcAccuracy, Single) { CheckAccuracy<float>(6e-8, 6e-8); }
TEST(CtcAccuracy, Double) { CheckAccuracy<double>(1e-14, 1e-12); }

// From logits: 4 T 2^-53, absolute, and never negative.
template <class T>
void CheckNearZero() {
  for (const std::int64_t frames : {2, 9, 40, 333}) {
    for (const std::int64_t C : {2, 5, 9, 40, 100}) {
      for (const double sure : {10.0, 17.0, 25.0, 36.0, 40.0, 60.0, 300.0, 800.0}) {
        CtcProblem<T> problem(frames, C, {{1}, {}});
        problem.options.from_logits = true;
        for (std::int64_t i = 0; i < problem.log_probs.Size(); ++i) {
          const std::int64_t said = i / C % 2 == 0 ? 1 : 0;
          problem.log_probs.Set(i, i % C == said ? sure : 0);
        }
        auto results = problem.RunOnEveryTarget();
        for (std::int64_t n = 0; n < 2; ++n) {
          const long double exact = -CtcExact(problem.Of(n)).score;
          for (auto& result : results) {
            for (const double loss : {result.losses.Get(n), result.alone.Get(n)}) {
              EXPECT_GE(loss, 0);
              EXPECT_FALSE(std::signbit(loss));
              const double stored =
                  static_cast<double>(exact) * kHalfSpacing<typename CtcProblem<T>::Wide>;
              EXPECT_NEAR(loss, static_cast<double>(exact),
                          4 * static_cast<double>(frames) * 0x1p-53 + stored)
                  << frames << " frames, " << C << " labels, " << sure << ", " << result.target;
            }
          }
        }
      }
    }
  }
}

TEST(CtcAccuracy, NearZeroFromLogits) {
  CheckNearZero<double>();
  CheckNearZero<float>();

  CtcProblem<double> known(2, 2, {{1}});
  known.options.from_logits = true;
  known.log_probs = Array<double>::Of({2, 1, 2}, {0, 17, 0, 17});
  for (auto& result : known.RunOnEveryTarget()) {
    EXPECT_NEAR(result.losses.Get(0), 1.7139e-15, 8 * 0x1p-53);
    EXPECT_GT(result.losses.Get(0), 0);
  }
}

// From log probabilities the loss is that of the numbers given, below zero if these say so.
TEST(CtcAccuracy, FromLogProbsNothingIsClamped) {
  CtcProblem<double> problem(3, 2, {{1}});
  problem.log_probs = Array<double>::Of({3, 1, 2}, {-kInf, 1e-9, -kInf, 1e-9, -kInf, 1e-9});
  for (auto& result : problem.Check()) EXPECT_NEAR(result.losses.Get(0), -3e-9, 1e-16);
}

// Frames' gradients from logits sum to zero.
TEST(CtcAccuracy, GradientsFromLogitsSumToZero) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, 20);
  for (const std::int64_t C : {4, 29, 90}) {
    CtcProblem<double> problem(50, C, {RandomTarget(9, C, 0, random)});
    problem.options.from_logits = true;
    problem.Fill([&] { return normal(random); });
    for (auto& result : problem.RunOnEveryTarget()) {
      for (std::int64_t t = 0; t < 50; ++t) {
        double sum = 0;
        for (std::int64_t c = 0; c < C; ++c) sum += result.grad.Get(t * C + c);
        EXPECT_NEAR(sum, 0, 1e-14);
      }
    }
  }
}

}  // namespace
}  // namespace logsum::testing
