// Tangents of CTC losses and gradients against differences of the long double reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "ctc_reference.hpp"
#include "logsum/config.hpp"
#include "logsum/ctc.hpp"
#include "view.hpp"

namespace logsum::testing {
namespace {

template <class T>
struct Tangents {
  Array<typename CtcProblem<T>::Wide> losses;
  Array<T> grad;

  Tangents(CtcProblem<T>& problem, const Tensor& direction, Context context = {})
      : losses({problem.N}), grad({problem.T_, problem.N, problem.C}) {
    grad.Fill([] { return 77; });
    Integers<> targets(Concatenated(problem.targets)), lengths(problem.input_lengths);
    Integers<> sizes(LengthsOf(problem.targets));
    Tensor to = losses, of = grad;
    ctc_loss_tangent(problem.log_probs, targets, lengths, sizes, direction, &to, &of,
                     problem.options, context);
  }
};

// The loss and the gradient `step` along a direction; what is impossible stays so.
struct Moved {
  long double loss;
  LongRows grad;

  template <class T>
  Moved(CtcProblem<T>& problem, std::int64_t n, Array<T>& direction, long double step) {
    CtcSequenceOf sequence{{}, problem.targets[static_cast<std::size_t>(n)], problem.options.blank};
    const bool from_logits = problem.options.from_logits;
    for (std::int64_t t = 0; t < problem.input_lengths[static_cast<std::size_t>(n)]; ++t) {
      LongRow row;
      for (std::int64_t c = 0; c < problem.C; ++c) {
        const std::int64_t at = problem.At(t, n, c);
        const long double x = problem.log_probs.Get(at);
        row.push_back(x == -kLongInf ? x : x + step * direction.Get(at));
      }
      sequence.frames.push_back(from_logits ? LogSoftmax(row) : row);
    }
    const bool is_max = problem.options.semiring == Semiring::max;
    const CtcExact exact(sequence, is_max);
    loss = -exact.score;
    grad.assign(sequence.frames.size(), LongRow(static_cast<std::size_t>(problem.C), 0));
    if (exact.score == -kLongInf) return;
    // The best alignment does not move: only the softmax does.
    for (std::size_t t = 0; t < grad.size(); ++t) {
      for (std::size_t c = 0; c < grad[t].size(); ++c) {
        grad[t][c] = (from_logits ? std::exp(sequence.frames[t][c]) : 0) -
                     (is_max ? 0 : exact.posteriors[t][c]);
      }
    }
  }
};

template <class T>
void CheckTangents(CtcProblem<T>& problem, Array<T>& direction, double within) {
  for (const std::string& target : config().cpu_targets) {
    set_cpu_target(target);
    Tangents<T> found(problem, direction, {.threads = 1});
    for (std::int64_t n = 0; n < problem.N; ++n) {
      SCOPED_TRACE(problem.Where(n) + ", " + target);
      const long double step = 1e-6L;
      const Moved up(problem, n, direction, step), down(problem, n, direction, -step);
      const bool possible = std::isfinite(up.loss);
      const long double slope = possible ? (up.loss - down.loss) / (2 * step) : 0;
      ASSERT_NEAR(found.losses.Get(n), static_cast<double>(slope),
                  within * static_cast<double>(problem.T_ + 1));
      const double weight = problem.options.weights == nullptr ? 1 : problem.WeightOf(n);
      for (std::int64_t t = 0; t < problem.T_; ++t) {
        for (std::int64_t c = 0; c < problem.C; ++c) {
          const auto frame = static_cast<std::size_t>(t), label = static_cast<std::size_t>(c);
          const long double change =
              possible && frame < up.grad.size()
                  ? (up.grad[frame][label] - down.grad[frame][label]) / (2 * step)
                  : 0;
          ASSERT_NEAR(found.grad.Get(problem.At(t, n, c)), weight * static_cast<double>(change),
                      within * (1 + std::abs(weight)))
              << "frame " << t << ", label " << c;
        }
      }
    }
  }
  set_cpu_target("");
}

// Differences err by the step's square times a third derivative, 1e-12 times some tens.
template <class T>
void CheckAll(double within) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 1.5);
  for (const std::int64_t C : {2, 3, 9, 33, 70}) {
    for (const std::int64_t frames : {0, 1, 8, 17}) {
      const std::int64_t blank = C / 2;
      std::vector<Labels> targets;
      for (const std::int64_t L : {0, 1, 4, 9})
        targets.push_back(RandomTarget(L, C, blank, random));
      CtcProblem<T> problem(frames, C, targets);
      problem.input_lengths[1] -= frames / 3;
      problem.Fill([&] { return random() % 12 == 0 ? -kInf : normal(random); });
      Array<T> direction({frames, 4, C});
      direction.Fill([&] { return normal(random); });
      for (const bool from_logits : {false, true}) {
        for (const Semiring semiring : {Semiring::log, Semiring::max}) {
          problem.options = {.blank = blank, .from_logits = from_logits, .semiring = semiring};
          CheckTangents(problem, direction, within);
          if (::testing::Test::HasFailure()) return;
        }
      }
    }
  }
}

TEST(CtcTangent, AgreesWithDifferences) { CheckAll<double>(2e-10); }

// Their own rounding: half an ulp of the results, and of what a softmax's terms are kept in.
TEST(CtcTangent, StorageTypes) {
  CheckAll<float>(1e-6);
  CheckAll<Half>(4e-3);
  CheckAll<BFloat16>(3e-2);
}

// Far apart, and with weights.
TEST(CtcTangent, ConfidentModelsAndWeights) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, 1);
  Array<float> weights = Array<float>::Of({2}, {-3, 0.5});
  const Tensor of_sequences = weights;
  for (const double size : {50.0, 2000.0}) {
    CtcProblem<double> problem(20, 6, {{1, 2, 2}, {3, 4}});
    problem.Fill([&] { return -size * static_cast<double>(random() % 3) + normal(random); });
    Array<double> direction({20, 2, 6});
    direction.Fill([&] { return normal(random); });
    for (const bool from_logits : {false, true}) {
      problem.options = {.from_logits = from_logits, .weights = &of_sequences};
      // A difference loses what the reference's logarithms round off.
      CheckTangents(problem, direction, 1e-9 + size * 1e-11);
    }
  }
}

// At impossible labels a direction takes no part, infinite or not; in frames past the end neither.
TEST(CtcTangent, InfiniteDirectionsAtZerosTakeNoPart) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 1);
  for (const std::int64_t C : {4, 70}) {
    CtcProblem<double> problem(12, C, {{1, 2}, {3, 3}, {1, 1, 1, 1, 1, 1, 1}, {2}});
    problem.input_lengths = {12, 10, 12, 12};
    problem.Fill([&] { return random() % 4 == 0 ? -kInf : normal(random); });
    for (std::int64_t t = 0; t < 12; ++t) problem.log_probs.Set(problem.At(t, 3, 2), -kInf);
    Array<double> plain({12, 4, C}), infinite({12, 4, C});
    plain.Fill([&] { return normal(random); });
    for (std::int64_t i = 0; i < plain.Size(); ++i) {
      const std::int64_t t = i / C / 4, n = i / C % 4;
      const bool counts = t < problem.input_lengths[static_cast<std::size_t>(n)] &&
                          problem.log_probs.Get(i) != -kInf && n != 3;
      infinite.Set(i, counts ? plain.Get(i) : i % 3 == 0 ? kInf : i % 3 == 1 ? -kInf : kNaN);
    }
    for (const bool from_logits : {false, true}) {
      for (const Semiring semiring : {Semiring::log, Semiring::max}) {
        problem.options = {.from_logits = from_logits, .semiring = semiring};
        Tangents<double> want(problem, plain), got(problem, infinite);
        EXPECT_TRUE(want.losses == got.losses);
        EXPECT_TRUE(want.grad == got.grad);
      }
    }
  }
}

TEST(CtcTangent, NaNStaysInItsSequence) {
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    for (const bool from_logits : {false, true}) {
      CtcProblem<double> problem(9, 3, {{1}, {2}, {1}});
      problem.options = {.from_logits = from_logits, .semiring = semiring};
      problem.Fill([] { return -1; });
      problem.log_probs.Set(problem.At(4, 1, 0), kNaN);
      Array<double> direction({9, 3, 3});
      direction.Fill([] { return 1; });
      Tangents<double> found(problem, direction);
      for (std::int64_t n = 0; n < 3; ++n) {
        EXPECT_EQ(std::isnan(found.losses.Get(n)), n == 1);
        for (std::int64_t i = 0; i < 27; ++i) {
          EXPECT_EQ(std::isnan(found.grad.Get(problem.At(i / 3, n, i % 3))), n == 1);
        }
      }
    }
  }
}

TEST(CtcTangent, ViewsThreadsAndNulls) {
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 1);
  CtcProblem<double> problem(13, 9, {{1, 2}, {3}, {}});
  problem.Fill([&] { return normal(random); });
  problem.options.from_logits = true;
  Array<double> memory({13, 9, 6});
  memory.Fill([&] { return normal(random); });
  const View view = View(memory).Swap(1, 2).EverySecond(1).Reverse(0);
  Array<double> direction({13, 3, 9});
  for (std::int64_t i = 0; i < direction.Size(); ++i) direction.Set(i, view.At<double>(i));
  Tangents<double> want(problem, direction), got(problem, view, {.threads = 2});
  EXPECT_TRUE(want.losses == got.losses);
  EXPECT_TRUE(want.grad == got.grad);
  Integers<> targets(Concatenated(problem.targets)), lengths(problem.input_lengths);
  Integers<> sizes(LengthsOf(problem.targets));
  Array<double> losses({3}), grad({13, 3, 9});
  Tensor to = losses, of = grad;
  ctc_loss_tangent(problem.log_probs, targets, lengths, sizes, view, &to, nullptr, problem.options);
  ctc_loss_tangent(problem.log_probs, targets, lengths, sizes, view, nullptr, &of, problem.options);
  EXPECT_TRUE(want.losses == losses);
  EXPECT_TRUE(want.grad == grad);
}

}  // namespace
}  // namespace logsum::testing
