// Scores of all states, best paths and covariances against long double, on every CPU target.
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

class ScoresOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

template <class T>
ScanProblem<T> Problem(std::int64_t sequences, std::int64_t steps, double sigma,
                       std::mt19937& random) {
  const std::int64_t states = 3 + static_cast<std::int64_t>(random() % 9);
  ScanProblem<T> problem(RandomArcs(states, 3 * states, random), steps, sequences);
  std::normal_distribution<double> normal(0, sigma);
  problem.Fill([&] { return random() % 9 == 0 ? -kInf : normal(random); });
  Indices lengths;
  for (std::int64_t n = 0; n < sequences; ++n) {
    lengths.push_back(static_cast<std::int64_t>(random() % static_cast<unsigned>(steps + 1)));
  }
  return std::move(problem.SetLengths(lengths));
}

template <class T>
void CheckScores(ScanProblem<T>& problem, double sigma) {
  using Wide = typename ScanProblem<T>::Wide;
  const std::int64_t states = problem.arcs.num_states;
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    const bool is_max = semiring == Semiring::max;
    Array<Wide> alpha({problem.steps + 1, problem.sequences, states}), beta = alpha;
    Tensor forward = alpha, backward = beta;
    forward_scores(problem.Ms, problem.graph, problem.v0, problem.Lengths(), forward,
                   {.semiring = semiring});
    backward_scores(problem.Ms, problem.graph, problem.vT, problem.Lengths(), backward,
                    {.semiring = semiring});
    for (std::int64_t n = 0; n < problem.sequences; ++n) {
      const Sequence sequence = problem.Of(n);
      const auto want_alpha = sequence.Forward(is_max), want_beta = sequence.Backward(is_max);
      for (std::int64_t t = 0; t <= problem.steps; ++t) {
        for (std::int64_t c = 0; c < states; ++c) {
          const std::int64_t at = (t * problem.sequences + n) * states + c;
          const auto check = [&](double got, const Sequence::Rows& rows) {
            const bool inside = t <= sequence.length;
            const double want =
                inside ? static_cast<double>(
                             rows[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)])
                       : -kInf;
            if (std::isinf(want)) {
              ASSERT_EQ(got, want) << t << " " << n << " " << c;
            } else {
              ASSERT_NEAR(got, want,
                          ScanError(sequence.length, 6 * sigma) +
                              std::abs(want) * 1.001 * kHalfSpacing<Wide>)
                  << t << " " << n << " " << c;
            }
          };
          check(alpha.Get(at), want_alpha);
          check(beta.Get(at), want_beta);
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(ScoresOnEveryTarget, ForwardAndBackward) {
  std::mt19937 random(11);
  for (const std::int64_t sequences : {1, 3, 8, 13}) {
    for (const double sigma : {2.0, 1000.0}) {
      auto wide = Problem<double>(sequences, 12, sigma, random);
      CheckScores(wide, sigma);
      auto single = Problem<float>(sequences, 12, sigma, random);
      CheckScores(single, sigma);
      auto half = Problem<BFloat16>(sequences, 5, sigma, random);
      CheckScores(half, sigma);
      if (HasFatalFailure()) return;
    }
  }
}

struct Best {
  explicit Best(const ScanProblem<double>& problem)
      : score({problem.sequences}),
        states({problem.steps + 1, problem.sequences}),
        arcs({problem.steps, problem.sequences}) {}
  void Find(ScanProblem<double>& problem, Context context = {}) {
    Tensor s = score, c = states, e = arcs;
    viterbi(problem.Ms, problem.graph, problem.v0, problem.vT, problem.Lengths(), s, c, e, context);
  }
  std::int64_t State(std::int64_t t, std::int64_t n) const {
    return states.values[static_cast<std::size_t>(t) * Width() + static_cast<std::size_t>(n)];
  }
  std::int64_t Arc(std::int64_t t, std::int64_t n) const {
    return arcs.values[static_cast<std::size_t>(t) * Width() + static_cast<std::size_t>(n)];
  }
  std::size_t Width() const { return static_cast<std::size_t>(score.Size()); }

  Array<double> score;
  IndexArray states, arcs;
};

// The path is the one that the definition of viterbi names: by dynamic programming in whole
// numbers, where nothing rounds and ties abound.
void CheckPath(ScanProblem<double>& problem, const Best& best, std::int64_t n) {
  const Sequence sequence = problem.Of(n);
  const auto alpha = sequence.Forward(true);
  const std::int64_t length = sequence.length, states = problem.arcs.num_states;
  LogSum top(true);
  std::int64_t state = -1;
  for (std::int64_t c = 0; c < states; ++c) {
    const auto i = static_cast<std::size_t>(c);
    const long double x = Joined(alpha.back()[i], sequence.vT[i]);
    if (x > top.Value()) state = c;
    top.Add(x);
  }
  const double score = static_cast<double>(top.Value());
  ASSERT_EQ(best.score.Get(n), score);
  for (std::int64_t t = length; t <= problem.steps; ++t) {
    ASSERT_EQ(best.State(t, n), t == length ? state : -1);
    if (t < problem.steps) {
      ASSERT_EQ(best.Arc(t, n), -1);
    }
  }
  for (std::int64_t t = length; t-- > 0;) {
    std::int64_t slot = -1;
    for (std::int64_t e = 0; state >= 0 && slot < 0 && e < problem.arcs.Size(); ++e) {
      const auto i = static_cast<std::size_t>(e), step = static_cast<std::size_t>(t);
      const auto from = static_cast<std::size_t>(problem.arcs.source[i]);
      const bool is_best =
          problem.arcs.target[i] == state && Joined(alpha[step][from], sequence.Weight(t, e)) ==
                                                 alpha[step + 1][static_cast<std::size_t>(state)];
      if (is_best) slot = e;
    }
    if (slot >= 0) state = problem.arcs.source[static_cast<std::size_t>(slot)];
    ASSERT_EQ(best.Arc(t, n), slot);
    ASSERT_EQ(best.State(t, n), state);
  }
}

TEST_P(ScoresOnEveryTarget, BestPathsTakeTheLowestArcs) {
  std::mt19937 random(12);
  for (const std::int64_t sequences : {1, 2, 7, 8, 20}) {
    for (const std::int64_t steps : {0, 1, 9, 40}) {
      auto problem = Problem<double>(sequences, steps, 1, random);
      problem.Fill([&] { return random() % 7 == 0 ? -1e38 : static_cast<double>(random() % 4); });
      Best best(problem);
      best.Find(problem);
      Best again(problem);
      again.Find(problem, {.threads = 2});
      EXPECT_EQ(best.states.values, again.states.values);
      problem.Run({.semiring = Semiring::max, .checkpoint = 3});
      for (std::int64_t n = 0; n < sequences; ++n) {
        CheckPath(problem, best, n);
        if (HasFatalFailure()) return;
        ASSERT_EQ(problem.logZ.Get(n), best.score.Get(n));
        // The gradient is the path's indicator.
        const std::int64_t slots = problem.arcs.Size(), states = problem.arcs.num_states;
        for (std::int64_t t = 0; t < steps; ++t) {
          for (std::int64_t e = 0; e < slots; ++e) {
            ASSERT_EQ(problem.grad_Ms.Get((t * sequences + n) * slots + e),
                      best.Arc(t, n) == e ? 1 : 0);
          }
        }
        for (std::int64_t c = 0; c < states; ++c) {
          const bool some = best.score.Get(n) > -kInf;
          ASSERT_EQ(problem.grad_v0.Get(n * states + c), some && best.State(0, n) == c ? 1 : 0);
          ASSERT_EQ(problem.grad_vT.Get(n * states + c),
                    some && best.State(problem.LengthOf(n), n) == c ? 1 : 0);
        }
      }
    }
  }
}

// E f and cov(f, .) by the definition, summed over all pairs of an arc (or end) with another: from
// the derivative of the posterior by a central difference in long double.
TEST_P(ScoresOnEveryTarget, Covariances) {
  std::mt19937 random(13);
  std::normal_distribution<double> normal(0, 1);
  int seen = 0;
  for (const std::int64_t sequences : {1, 3, 8, 11}) {
    auto problem = Problem<double>(sequences, 6, 2, random);
    auto direction = problem;
    direction.Fill([&] { return normal(random); });
    const std::int64_t slots = problem.arcs.Size(), states = problem.arcs.num_states;
    Array<double> mean({sequences}), cov_Ms = problem.grad_Ms, cov_v0 = problem.grad_v0,
                                     cov_vT = problem.grad_vT;
    Tensor d = direction.Ms, d0 = direction.v0, dT = direction.vT;
    Tensor m = mean, c = cov_Ms, c0 = cov_v0, cT = cov_vT;
    logZ_covariance(problem.Ms, problem.graph, problem.v0, problem.vT, problem.Lengths(),
                    {.Ms = &d, .v0 = &d0, .vT = &dT}, &m, &c, &c0, &cT);
    for (std::int64_t n = 0; n < sequences; ++n) {
      const Sequence sequence = problem.Of(n), along = direction.Of(n);
      const double step = 0x1p-12;
      const auto moved = [&](double by) {
        Sequence other = sequence;
        const auto move = [&](std::vector<double>& x, const std::vector<double>& dx) {
          for (std::size_t i = 0; i < x.size(); ++i) x[i] += by * dx[i];
        };
        move(other.weights, along.weights);
        move(other.v0, along.v0);
        move(other.vT, along.vT);
        return Posterior(other);
      };
      const Posterior plus = moved(step), minus = moved(-step);
      if (plus.logZ == -kInf) {
        EXPECT_EQ(mean.Get(n), 0);
        continue;
      }
      ++seen;
      // The difference's error is step^2 times a third derivative.
      const double within = 2e-5;
      const auto slope = [&](long double a, long double b) {
        return static_cast<double>((a - b) / (2 * step));
      };
      ASSERT_NEAR(mean.Get(n), slope(plus.logZ, minus.logZ), within);
      for (std::int64_t t = 0; t < sequence.length; ++t) {
        for (std::int64_t e = 0; e < slots; ++e) {
          const auto i = static_cast<std::size_t>(t), j = static_cast<std::size_t>(e);
          ASSERT_NEAR(cov_Ms.Get((t * sequences + n) * slots + e),
                      slope(plus.arcs[i][j], minus.arcs[i][j]), within);
        }
      }
      for (std::int64_t s = 0; s < states; ++s) {
        const auto i = static_cast<std::size_t>(s);
        ASSERT_NEAR(cov_v0.Get(n * states + s),
                    slope(plus.states.front()[i], minus.states.front()[i]), within);
        ASSERT_NEAR(cov_vT.Get(n * states + s),
                    slope(plus.states.back()[i], minus.states.back()[i]), within);
      }
    }
  }
  EXPECT_GE(seen, 12);
}

// Along a constant direction f is the length plus two on every path, however long: it has no
// covariance. Impossible arcs do not matter, whatever their direction.
TEST_P(ScoresOnEveryTarget, CovarianceOfAConstantIsZero) {
  std::mt19937 random(14);
  auto problem = Problem<float>(9, 300, 4, random);
  auto direction = problem;
  direction.Fill([] { return 1; });
  for (std::int64_t i = 0; i < problem.Ms.Size(); ++i) {
    if (problem.Ms.Get(i) == -kInf) direction.Ms.Set(i, i % 2 == 0 ? kNaN : kInf);
  }
  for (std::int64_t i = 0; i < problem.v0.Size(); ++i) {
    if (problem.v0.Get(i) == -kInf) direction.v0.Set(i, kNaN);
    if (problem.vT.Get(i) == -kInf) direction.vT.Set(i, -kInf);
  }
  Array<float> mean({9}), cov = problem.grad_Ms;
  Tensor d = direction.Ms, d0 = direction.v0, dT = direction.vT, m = mean, c = cov;
  logZ_covariance(problem.Ms, problem.graph, problem.v0, problem.vT, problem.Lengths(),
                  {.Ms = &d, .v0 = &d0, .vT = &dT}, &m, &c, nullptr, nullptr);
  int seen = 0;
  for (std::int64_t n = 0; n < 9; ++n) {
    const bool some = Posterior(problem.Of(n)).logZ > -kInf;
    seen += some ? 1 : 0;
    EXPECT_NEAR(mean.Get(n), some ? static_cast<double>(problem.LengthOf(n) + 2) : 0, 1e-4);
  }
  EXPECT_GE(seen, 3);
  for (std::int64_t i = 0; i < cov.Size(); ++i) ASSERT_NEAR(cov.Get(i), 0, 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Targets, ScoresOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
