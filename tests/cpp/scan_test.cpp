// Sums over paths and their gradients against long double, on every CPU target.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
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

class ScanOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

// By definition: the sum over all paths, one after the other.
struct Enumeration {
  explicit Enumeration(const Sequence& of) : sequence(of), sum(), arcs_sums() {
    arcs_sums.assign(static_cast<std::size_t>(of.length * of.arcs.Size()), LogSum());
    for (std::int64_t c = 0; c < of.arcs.num_states; ++c) {
      Extend(0, c, of.v0[static_cast<std::size_t>(c)]);
    }
  }

  void Extend(std::int64_t t, std::int64_t state, long double weight) {
    if (t == sequence.length) {
      const long double whole = Joined(weight, sequence.vT[static_cast<std::size_t>(state)]);
      sum.Add(whole);
      for (std::size_t i = 0; i < taken.size(); ++i) {
        arcs_sums[i * static_cast<std::size_t>(sequence.arcs.Size()) +
                  static_cast<std::size_t>(taken[i])]
            .Add(whole);
      }
      return;
    }
    for (std::int64_t e = 0; e < sequence.arcs.Size(); ++e) {
      const auto i = static_cast<std::size_t>(e);
      if (sequence.arcs.source[i] != state) continue;
      taken.push_back(e);
      Extend(t + 1, sequence.arcs.target[i], Joined(weight, sequence.Weight(t, e)));
      taken.pop_back();
    }
  }

  const Sequence& sequence;
  LogSum sum;
  std::vector<LogSum> arcs_sums;
  Indices taken;
};

TEST(ScanReference, IsTheSumOverAllPaths) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 2);
  for (int round = 0; round < 30; ++round) {
    ScanProblem<double> problem(RandomArcs(1 + round % 4, 1 + round % 7, random), round % 5, 1);
    problem.Fill([&] { return random() % 6 == 0 ? -kInf : normal(random); });
    const Sequence sequence = problem.Of(0);
    const Enumeration all(sequence);
    const Posterior posterior(sequence);
    if (all.sum.Value() == -kInf) {
      EXPECT_EQ(posterior.logZ, -kInf);
      continue;
    }
    EXPECT_NEAR(static_cast<double>(posterior.logZ - all.sum.Value()), 0, 1e-15);
    for (std::size_t i = 0; i < all.arcs_sums.size(); ++i) {
      const auto slots = static_cast<std::size_t>(problem.arcs.Size());
      EXPECT_NEAR(static_cast<double>(posterior.arcs[i / slots][i % slots]),
                  static_cast<double>(ShareOf(all.arcs_sums[i].Value(), all.sum.Value())), 1e-15);
    }
  }
}

// Shapes around the lanes of every target, lengths of every kind, zeros in places.
TEST_P(ScanOnEveryTarget, AgreesWithLongDouble) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, 3);
  for (const std::int64_t sequences : {1, 2, 3, 5, 8, 9, 17, 30}) {
    for (const std::int64_t steps : {0, 1, 2, 7, 40}) {
      const std::int64_t states = 1 + static_cast<std::int64_t>(random() % 12);
      ScanProblem<double> problem(RandomArcs(states, 4 * states, random), steps, sequences);
      problem.Fill([&] { return random() % 9 == 0 ? -kInf : normal(random); });
      if (sequences % 2 == 1) {
        Indices lengths;
        for (std::int64_t n = 0; n < sequences; ++n) {
          lengths.push_back(static_cast<std::int64_t>(random() % static_cast<unsigned>(steps + 1)));
        }
        problem.SetLengths(lengths);
      }
      CheckSums(problem);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(ScanOnEveryTarget, StorageTypes) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 3);
  const auto draw = [&] { return random() % 9 == 0 ? -kInf : normal(random); };
  const ArcList arcs = RandomArcs(7, 25, random);
  CheckSums(ScanProblem<float>(arcs, 20, 11).Fill(draw));
  CheckSums(ScanProblem<Half>(arcs, 20, 11).Fill(draw));
  CheckSums(ScanProblem<BFloat16>(arcs, 20, 11).Fill(draw));
  CheckSums(ScanProblem<double>(arcs, 20, 11).Fill(draw));
}

// Weights so spread that the linear domain is left, by steps and by whole sequences.
TEST_P(ScanOnEveryTarget, WeightsOfAnySize) {
  std::mt19937 random(4);
  for (const double sigma : {30.0, 300.0, 1e4, 1e6}) {
    std::normal_distribution<double> normal(0, sigma);
    ScanProblem<double> problem(RandomArcs(6, 20, random), 30, 9);
    problem.Fill([&] { return normal(random); });
    CheckSums(problem);
    ScanProblem<float> single(RandomArcs(6, 20, random), 30, 9);
    CheckSums(single.Fill([&] { return normal(random); }));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ScanOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
