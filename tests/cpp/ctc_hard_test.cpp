// CTC where the linear domain ends: confidently wrong models, numbers that underflow from both
// sides, and the certificate that must see all of it.
#include <gtest/gtest.h>

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

// Frames of one sequence, a row of log probabilities for each.
CtcProblem<double> ProblemOf(const std::vector<std::vector<double>>& frames, const Labels& target) {
  const auto T = static_cast<std::int64_t>(frames.size());
  CtcProblem<double> problem(T, static_cast<std::int64_t>(frames[0].size()), {target});
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t c = 0; c < problem.C; ++c) {
      problem.log_probs.Set(t * problem.C + c,
                            frames[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)]);
    }
  }
  return problem;
}

// Forward scores are large where backward scores are zero, and the other way round; nothing
// underflows but the products where the two meet.
TEST(CtcCertificate, ProductsUnderflowWhereTheSweepsMeet) {
  for (const double low : {-350.0, -400.0, -700.0}) {
    std::vector<std::vector<double>> frames(8, {0, low, -kInf});
    frames.resize(16, {0, -kInf, low});
    ProblemOf(frames, {1, 2}).Check();
  }
}

// The last frame is the first of its block, so that the backward sweep rescales what it has just
// rounded up.
TEST(CtcCertificate, TheLastFrameIsRescaledAtOnce) {
  for (const std::int64_t T : {9, 17, 25}) {
    for (const double low : {-300.0, -400.0, -650.0}) {
      std::vector<std::vector<double>> frames(static_cast<std::size_t>(T - 1), {0, low, low});
      frames.push_back({-700, 0, -700});
      ProblemOf(frames, {1, 2}).Check();
    }
  }
}

// Every frame's scores drawn from few, far apart: paths die early in one sweep and late in the
// other at every distance.
TEST(CtcCertificate, RandomScalesOnSmallLattices) {
  constexpr std::array kFar = {0.0, -1.0, -60.0, -130.0, -250.0, -400.0, -700.0, -720.0, -1500.0};
  std::mt19937 random(31);
  for (int round = 0; round < 60; ++round) {
    const auto T = static_cast<std::int64_t>(std::array{7, 8, 9, 16, 17, 24, 25, 33}[random() % 8]);
    std::vector<Labels> targets;
    for (int n = 0; n < 20; ++n) {
      targets.push_back(RandomTarget(1 + static_cast<std::int64_t>(random() % 4), 4, 0, random));
    }
    CtcProblem<double> problem(T, 4, targets);
    // Few or many kinds of numbers, with or without zeros, lasting for some frames.
    const std::size_t kinds = 2 + random() % (kFar.size() - 1);
    const bool zeros = random() % 2 == 0;
    const unsigned lasting = 1 + random() % 12;
    std::vector<double> row(static_cast<std::size_t>(4 * problem.N));
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (t == 0 || random() % lasting == 0) {
          row[i] = zeros && random() % 4 == 0 ? -kInf : kFar[random() % kinds];
        }
        problem.log_probs.Set(t * 4 * problem.N + static_cast<std::int64_t>(i), row[i]);
      }
    }
    problem.Check();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace logsum::testing
