// Scans where the linear domain ends: zeros, infinities, NaN, underflow in one sweep and in both;
// and what must not change a bit: threads, checkpoints, neighbours.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/scan.hpp"
#include "scan_problem.hpp"
#include "scan_tolerances.hpp"

namespace logsum::testing {
namespace {

class SpecialOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

template <class T>
struct Outputs {
  Array<typename ScanProblem<T>::Wide> logZ;
  Array<T> grad_Ms, grad_v0, grad_vT;
  bool operator==(const Outputs&) const = default;
};
template <class T>
Outputs<T> OutputsOf(ScanProblem<T>& problem, ScanOptions options = {}, Context context = {}) {
  problem.Run(options, context);
  return {problem.logZ, problem.grad_Ms, problem.grad_v0, problem.grad_vT};
}

template <class T>
ScanProblem<T> Ragged(double sigma, double zeros, std::mt19937& random) {
  ScanProblem<T> problem(RandomArcs(9, 30, random), 37, 21);
  std::normal_distribution<double> normal(0, sigma);
  std::uniform_real_distribution<double> uniform;
  problem.Fill([&] { return uniform(random) < zeros ? -kInf : normal(random); });
  Indices lengths;
  for (int n = 0; n < 21; ++n) lengths.push_back(n == 4 ? 0 : 37 - n % 7 * (n % 3));
  return std::move(problem.SetLengths(lengths));
}

TEST_P(SpecialOnEveryTarget, ThreadsAndCheckpointsChangeNothing) {
  std::mt19937 random(21);
  for (const double sigma : {3.0, 400.0}) {
    auto problem = Ragged<float>(sigma, 0.05, random);
    for (const Semiring semiring : {Semiring::log, Semiring::max}) {
      const auto once = OutputsOf(problem, {.semiring = semiring, .checkpoint = 0}, {.threads = 1});
      for (const int threads : {1, 2, 5}) {
        for (const std::int64_t checkpoint : {-1, 1, 2, 6, 36, 37, 50}) {
          EXPECT_TRUE(once == OutputsOf(problem, {semiring, checkpoint}, {.threads = threads}))
              << threads << " threads, every " << checkpoint;
        }
      }
    }
  }
}

TEST_P(SpecialOnEveryTarget, ZerosAreWrittenInManyWays) {
  std::mt19937 random(22);
  auto problem = Ragged<float>(3, 0.2, random);
  const auto infinite = OutputsOf(problem);
  for (Array<float>* const array : {&problem.Ms, &problem.v0, &problem.vT}) {
    for (std::int64_t i = 0; i < array->Size(); ++i) {
      if (array->Get(i) == -kInf) array->Set(i, i % 2 == 0 ? -1e38 : -1e30);
    }
  }
  EXPECT_TRUE(infinite == OutputsOf(problem));
}

TEST_P(SpecialOnEveryTarget, NoPath) {
  // Two states, each its own loop: nothing that begins in one ends in the other.
  for (const std::int64_t sequences : {1, 5, 20}) {
    ScanProblem<double> problem({2, {0, 1}, {0, 1}}, 30, sequences);
    for (std::int64_t n = 0; n < sequences; ++n) {
      problem.v0.Set(2 * n + 1, -kInf);
      problem.vT.Set(2 * n, n % 3 == 2 ? 0 : -1e38);
    }
    const ScanReport report = problem.Run();
    std::int64_t infeasible = 0;
    for (std::int64_t n = 0; n < sequences; ++n) {
      const bool some = n % 3 == 2;
      infeasible += some ? 0 : 1;
      EXPECT_EQ(problem.logZ.Get(n), some ? 0 : -kInf);
      for (std::int64_t t = 0; t < 30; ++t) {
        EXPECT_EQ(problem.grad_Ms.Get((t * sequences + n) * 2), some ? 1 : 0);
        EXPECT_EQ(problem.grad_Ms.Get((t * sequences + n) * 2 + 1), 0);
      }
    }
    EXPECT_EQ(report.repaired, infeasible);
    CheckSums(problem);
  }
  // Nothing at all: no states, no arcs.
  for (const std::int64_t states : {0, 3}) {
    ScanProblem<float> nothing({states, {}, {}}, 4, 3);
    CheckSums(nothing);
    nothing.Run({.semiring = Semiring::max});
    EXPECT_EQ(nothing.logZ.Get(2), -kInf);
    ScanProblem<float> at_once({states, {}, {}}, 0, 3);
    CheckSums(at_once);
  }
}

// NaN where a path goes makes a sequence NaN, and no other; where none goes, nothing.
TEST_P(SpecialOnEveryTarget, NanStaysInItsSequence) {
  std::mt19937 random(23);
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    auto problem = Ragged<double>(3, 0, random);
    const std::int64_t slots = problem.arcs.Size();
    const auto clean = OutputsOf(problem, {.semiring = semiring});
    // Sequence 3 in the middle of a path; 4 (of length 0) past its end; 5 behind a zero state.
    problem.Ms.Set((10 * 21 + 3) * slots + 2, kNaN);
    problem.Ms.Set((0 * 21 + 4) * slots + 2, kNaN);
    auto dirty = OutputsOf(problem, {.semiring = semiring});
    EXPECT_TRUE(std::isnan(dirty.logZ.Get(3)));
    for (std::int64_t n = 0; n < 21; ++n) {
      if (n == 3) continue;
      EXPECT_EQ(dirty.logZ.Get(n), clean.logZ.Get(n));
      for (std::int64_t t = 0; t < 37; ++t) {
        for (std::int64_t e = 0; e < slots; ++e) {
          const std::int64_t at = (t * 21 + n) * slots + e;
          ASSERT_EQ(dirty.grad_Ms.Get(at), clean.grad_Ms.Get(at));
        }
      }
    }
    for (std::int64_t t = problem.LengthOf(3); t < 37; ++t) {
      EXPECT_EQ(dirty.grad_Ms.Get((t * 21 + 3) * slots + 2), 0);
    }

    ScanProblem<double> loops({2, {0, 1}, {0, 1}}, 5, 1);
    loops.v0.Set(1, -kInf);
    loops.Ms.Set(3, kNaN);
    loops.Run({.semiring = semiring});
    EXPECT_EQ(loops.logZ.Get(0), 0);
    for (std::int64_t i = 0; i < loops.grad_Ms.Size(); ++i) {
      EXPECT_EQ(loops.grad_Ms.Get(i), i % 2 == 0 ? 1 : 0);
    }
  }
}

TEST_P(SpecialOnEveryTarget, InfinityDominates) {
  std::mt19937 random(24);
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    ScanProblem<float> problem(RandomArcs(5, 25, random), 12, 9);
    std::normal_distribution<double> normal(0, 2);
    problem.Fill([&] { return normal(random); });
    const std::int64_t slots = problem.arcs.Size(), slot = 7, n = 4;
    problem.Ms.Set((6 * 9 + n) * slots + slot, kInf);
    const bool reachable = Posterior(problem.Of(n)).logZ == kInf;
    ASSERT_TRUE(reachable);
    problem.Run({.semiring = semiring});
    for (std::int64_t m = 0; m < 9; ++m) {
      EXPECT_EQ(std::isinf(problem.logZ.Get(m)), m == n);
      for (std::int64_t t = 0; t < 12; ++t) {
        double sum = 0;
        for (std::int64_t e = 0; e < slots; ++e) {
          sum += problem.grad_Ms.Get((t * 9 + m) * slots + e);
        }
        EXPECT_NEAR(sum, 1, 1e-6);
      }
    }
    EXPECT_EQ(problem.grad_Ms.Get((6 * 9 + n) * slots + slot), 1);
    // Off every path it is nothing.
    ScanProblem<float> loops({2, {0, 1}, {0, 1}}, 5, 1);
    loops.v0.Set(1, -kInf);
    loops.Ms.Set(3, kInf);
    loops.Run({.semiring = semiring});
    EXPECT_EQ(loops.logZ.Get(0), 0);
  }
}

TEST_P(SpecialOnEveryTarget, HugeFiniteWeights) {
  std::mt19937 random(25);
  for (const double size : {1e8, 1e12, 1e29}) {
    ScanProblem<double> problem(RandomArcs(4, 12, random), 10, 5);
    CheckSums(problem.Fill([&] {
      return size * (static_cast<double>(random() % 5) - 2) + static_cast<double>(random() % 3);
    }));
  }
  ScanProblem<float> largest(RandomArcs(4, 12, random), 10, 5);
  largest.Fill([&] { return random() % 2 == 0 ? 3e38 : 2e38; });
  largest.Run();
  for (std::int64_t n = 0; n < 5; ++n) EXPECT_GE(largest.logZ.Get(n), 3e38);
}

// A model that is confidently wrong: the only path takes what is unlikely at every step.
TEST_P(SpecialOnEveryTarget, OnlyUnlikelyPaths) {
  for (const double unlikely : {-3.0, -40.0, -300.0, -5000.0}) {
    ScanProblem<float> problem({3, {0, 0, 1, 2}, {0, 1, 1, 2}}, 60, 10);
    // State 2 loops at no cost but ends nothing; 0 goes to 1 once, at any step.
    for (std::int64_t i = 0; i < problem.Ms.Size(); ++i) {
      problem.Ms.Set(i, i % 4 == 3 ? 0 : unlikely);
    }
    for (std::int64_t n = 0; n < 10; ++n) {
      problem.v0.Set(3 * n + 1, -kInf);
      problem.vT.Set(3 * n, -kInf);
      problem.vT.Set(3 * n + 2, -kInf);
    }
    EXPECT_EQ(problem.Run().repaired, unlikely < -20 ? 10 : 0) << unlikely;
    CheckSums(problem);
  }
}

// Forward scores of the path underflow beside a state that leads nowhere, backward scores beside
// one that is never reached: together nothing of it would be left.
TEST_P(SpecialOnEveryTarget, UnderflowFromBothSides) {
  const auto check = [](std::int64_t steps, double each) {
    ScanProblem<double> problem({3, {0, 1, 2, 2}, {0, 1, 2, 0}}, steps, 3);
    for (std::int64_t i = 0; i < problem.Ms.Size(); ++i) {
      problem.Ms.Set(i, i % 4 == 2 ? each : i % 4 == 3 ? -kInf : 0);
    }
    for (std::int64_t n = 0; n < 3; ++n) {
      problem.v0.Set(3 * n + 1, -kInf);
      problem.vT.Set(3 * n, -kInf);
    }
    CheckSums(problem);
    const double want = each * static_cast<double>(steps);
    EXPECT_NEAR(problem.logZ.Get(0), want, 1e-15 * std::abs(want));
    EXPECT_NEAR(problem.grad_Ms.Get((steps / 2 * 3 + 1) * 4 + 2), 1, 1e-15);
    return problem.Run().repaired;
  };
  // Finely across the place where certainty ends.
  std::int64_t repaired = 0;
  for (int i = 0; i < 100; ++i) repaired += check(20, -20 - i * 0.7);
  EXPECT_GT(repaired, 30);
  EXPECT_LT(repaired, 270);
  for (const std::int64_t steps : {4, 100}) {
    for (const double each : {-5.0, -100.0, -400.0, -707.5, -708.5, -720.0}) check(steps, each);
  }
}

// Random search where flushes are the rule: whatever is certified must be right.
TEST_P(SpecialOnEveryTarget, CertificateUnderAttack) {
  std::mt19937 random(26);
  const double sizes[] = {0, 0, 0, -1, -20, -240, -500, -690, -707, -709, -745, -1200, -kInf};
  std::int64_t repaired = 0, total = 0;
  for (int round = 0; round < 400; ++round) {
    const std::int64_t states = 2 + static_cast<std::int64_t>(random() % 4);
    ScanProblem<double> problem(RandomArcs(states, 2 * states + 1, random),
                                1 + static_cast<std::int64_t>(random() % 12), 8);
    // Some rounds draw from the mild end only.
    const unsigned kinds = 4 + static_cast<unsigned>(random() % 10);
    problem.Fill([&] { return sizes[random() % std::min(kinds, 13u)]; });
    CheckSums(problem);
    if (HasFatalFailure()) {
      FAIL() << "round " << round;
    }
    repaired += problem.Run().repaired;
    total += 8;
  }
  // Both ways are taken often.
  EXPECT_GT(repaired, total / 10);
  EXPECT_LT(repaired, total * 9 / 10);
}

// Equal weights find drift: C (d)^T paths of weight 0, whose number is known.
TEST_P(SpecialOnEveryTarget, LongSequencesDoNotDrift) {
  const std::int64_t steps = 20000, states = 3;
  ArcList all{states, {}, {}};
  for (std::int64_t i = 0; i < states * states; ++i) {
    all.source.push_back(i / states);
    all.target.push_back(i % states);
  }
  for (const double weight : {0.0, -0.7, -1e4}) {
    ScanProblem<float> problem(all, steps, 2);
    problem.Fill([&] { return weight; });
    problem.Run();
    const double each = problem.Ms.Get(0);
    const double want =
        each * static_cast<double>(steps + 2) + std::log(3.0) * static_cast<double>(steps + 1);
    EXPECT_NEAR(problem.logZ.Get(0), want, std::abs(want) * 0x1p-24 * 1.01);
    for (std::int64_t i = 0; i < problem.grad_Ms.Size(); i += 101) {
      ASSERT_NEAR(problem.grad_Ms.Get(i), 1.0 / 9, 1e-8);
    }
    ScanProblem<double> wide(all, steps, 1);
    wide.Fill([&] { return each; });
    wide.Run();
    EXPECT_NEAR(wide.logZ.Get(0), want, std::abs(want) * 0x1p-52 + ScanError(steps, 1));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SpecialOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
