// CTC of zeros, infinities, NaN and sequences that cannot be.
#include <gtest/gtest.h>

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

constexpr Semiring kSemirings[] = {Semiring::log, Semiring::max};

// True zeros here and there, also as -1e38, also in all of a frame: the loss is right, the gradient
// never NaN, and zero where the number is.
TEST(CtcSpecial, Zeros) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 2);
  for (const std::int64_t C : {3, 9, 33, 80}) {
    for (const unsigned share : {2u, 4u, 12u}) {
      for (const double zero : {-kInf, -1e38}) {
        std::vector<Labels> targets;
        for (int n = 0; n < 9; ++n) targets.push_back(RandomTarget(n % 4, C, 1, random));
        CtcProblem<float> problem(11, C, targets);
        problem.Fill([&] { return random() % share == 0 ? zero : normal(random); });
        for (const Semiring semiring : kSemirings) {
          for (const bool from_logits : {false, true}) {
            // The softmax of nothing but -1e38 is even, that of -inf is nothing.
            if (zero != -kInf && from_logits) continue;
            problem.options = {.blank = 1, .from_logits = from_logits, .semiring = semiring};
            for (auto& result : problem.Check()) {
              for (std::int64_t i = 0; i < problem.grad.Size(); ++i) {
                ASSERT_TRUE(problem.log_probs.Get(i) > -1e38 || result.grad.Get(i) == 0);
              }
            }
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

// No alignment: too few frames, or zeros on every path.
TEST(CtcSpecial, Impossible) {
  for (const Semiring semiring : kSemirings) {
    for (const bool from_logits : {false, true}) {
      CtcProblem<double> problem(6, 4, {{1, 2, 3, 1, 2, 3, 1}, {1, 1, 1, 1}, {2}, {3, 2}, {}, {1}});
      problem.options = {.from_logits = from_logits, .semiring = semiring};
      problem.Fill([] { return -1; });
      for (std::int64_t t = 0; t < 6; ++t) problem.log_probs.Set(problem.At(t, 2, 2), -kInf);
      problem.log_probs.Set(problem.At(5, 3, 0), -kInf);  // neither a blank nor 2 at the end
      problem.log_probs.Set(problem.At(5, 3, 2), -kInf);
      for (std::int64_t c = 0; c < 4; ++c) problem.log_probs.Set(problem.At(3, 4, c), -kInf);
      for (auto& result : problem.Check()) {
        for (std::int64_t n = 0; n < 6; ++n) {
          EXPECT_EQ(result.losses.Get(n) == kInf, n < 5);
          for (std::int64_t i = 0; i < 24; ++i) {
            const double gradient = result.grad.Get(problem.At(i / 4, n, i % 4));
            EXPECT_TRUE(n == 5 || gradient == 0);
          }
        }
      }
      problem.options.zero_infinity = true;
      for (auto& result : problem.Check()) {
        for (std::int64_t n = 0; n < 5; ++n) EXPECT_EQ(result.losses.Get(n), 0);
        EXPECT_GT(result.losses.Get(5), 0);
      }
    }
  }
}

// NaN and +inf spoil the sequence they are in, all of its frames, and no other.
TEST(CtcSpecial, NaNAndInfinityStayInTheirSequence) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 2);
  for (const std::int64_t C : {2, 9, 80}) {
    for (const double bad : {kNaN, kInf}) {
      for (const std::int64_t frame : {0, 7, 16}) {
        for (const Semiring semiring : kSemirings) {
          for (const bool from_logits : {false, true}) {
            CtcProblem<float> problem(17, C, {{1}, {1}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {}});
            problem.options = {.from_logits = from_logits, .semiring = semiring};
            problem.Fill([&] { return normal(random); });
            // A label that is not in the target, where there is one; the third has no alignment.
            problem.log_probs.Set(problem.At(frame, 1, C - 1), bad);
            problem.log_probs.Set(problem.At(frame, 2, C - 1), bad);
            for (auto& result : problem.RunOnEveryTarget()) {
              for (std::int64_t n = 0; n < 4; ++n) {
                const bool spoilt = n == 1 || n == 2;
                EXPECT_EQ(std::isnan(result.losses.Get(n)), spoilt);
                EXPECT_EQ(std::isnan(result.alone.Get(n)), spoilt);
                for (std::int64_t i = 0; i < 17 * C; ++i) {
                  const double gradient = result.grad.Get(problem.At(i / C, n, i % C));
                  ASSERT_EQ(std::isnan(gradient), spoilt);
                }
              }
            }
          }
        }
      }
    }
  }
}

// Frames past a sequence's length are never read, and their gradient is zero.
TEST(CtcSpecial, FramesPastTheLengthAreNotRead) {
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 2);
  for (const std::int64_t C : {5, 80}) {
    for (const Semiring semiring : kSemirings) {
      for (const bool from_logits : {false, true}) {
        CtcProblem<double> problem(20, C, {{1, 2}, {1, 1}, {}, {3}, {}});
        problem.input_lengths = {13, 8, 0, 0, 9};
        problem.options = {.from_logits = from_logits, .semiring = semiring};
        for (std::int64_t i = 0; i < problem.log_probs.Size(); ++i) {
          const std::int64_t t = i / C / 5, n = i / C % 5;
          const bool read = t < problem.input_lengths[static_cast<std::size_t>(n)];
          problem.log_probs.Set(i, read ? normal(random) : i % 2 == 0 ? kNaN : kInf);
        }
        problem.Check();
        if (HasFailure()) return;
      }
    }
  }
}

// Emissions below the smallest normal number are rounded up, and may still be what counts.
TEST(CtcSpecial, EmissionsBelowTheSmallestNormalNumber) {
  for (const double low : {-700.0, -708.3, -708.39, -708.4, -720.0, -745.0, -746.0, -2000.0}) {
    for (const bool everywhere : {false, true}) {
      CtcProblem<double> problem(12, 3, {{1}, {1, 2}});
      for (std::int64_t i = 0; i < problem.log_probs.Size(); ++i) {
        const bool is_low = i % 3 == 1 && (everywhere || i / 6 == 5);
        problem.log_probs.Set(i, is_low ? low : i % 3 == 2 ? -1 : 0);
      }
      problem.Check();
    }
  }
  // None of them matters: nothing to repair.
  CtcProblem<double> certain(12, 3, {{2}});
  for (std::int64_t i = 0; i < 36; ++i) certain.log_probs.Set(i, i % 3 == 1 ? -5000 : -1);
  for (const auto& result : certain.Check()) EXPECT_EQ(result.repaired, 0);
}

// Models that are sure of something else: repaired, and exact.
TEST(CtcSpecial, ConfidentlyWrong) {
  for (const double size : {100.0, 1000.0, 1e4}) {
    for (const std::int64_t frames : {30, 200}) {
      CtcProblem<double> problem(frames, 6, {{1, 2, 3, 4, 4, 2}, {5, 1, 5, 1}});
      std::mt19937 random(5);
      for (std::int64_t i = 0; i < problem.log_probs.Size(); ++i) {
        const std::int64_t said = (i / 12 / 5) % 2 == 0 ? 5 : 2;
        problem.log_probs.Set(i, i % 6 == said ? size : -size + 0.01 * (random() % 100));
      }
      problem.options.from_logits = true;
      for (const auto& result : problem.Check()) EXPECT_GT(result.repaired, 0);
    }
  }
}

template <class T>
void CheckNormal(double sigma, std::mt19937& random) {
  std::normal_distribution<double> normal(0, sigma);
  for (const bool from_logits : {false, true}) {
    for (const std::int64_t C : {5, 90}) {
      CtcProblem<T> problem(23, C, {{1, 2}, {3, 3, 1, 4}, {}});
      problem.options.from_logits = from_logits;
      problem.Fill([&] { return normal(random); }).Check();
    }
  }
}

TEST(CtcSpecial, LogitsOfAnySize) {
  std::mt19937 random(6);
  for (const double sigma : {30.0, 300.0, 1e4, 1e5, 1e6}) CheckNormal<double>(sigma, random);
  for (const double sigma : {30.0, 300.0, 1e4, 1e6, 1e9, 1e20}) CheckNormal<float>(sigma, random);
}

// Numbers that are far from their frame's largest, of which a double has fractions still; within
// 2^29, where targets without FMA end.
TEST(CtcSpecial, FarLogitsInDouble) {
  std::mt19937 random(7);
  for (const double sigma : {3e7, 1e9, 1e12}) CheckNormal<double>(sigma, random);
}

}  // namespace
}  // namespace logsum::testing
