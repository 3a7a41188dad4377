// CTC losses and their gradients against long double, on every CPU target.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "ctc_reference.hpp"
#include "logsum/config.hpp"
#include "logsum/ctc.hpp"

namespace logsum::testing {
namespace {

// By definition: the sum over all sequences of labels that say the target.
TEST(CtcReference, IsTheSumOverAllAlignments) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 2);
  for (int round = 0; round < 120; ++round) {
    const auto C = 1 + static_cast<std::int64_t>(random() % 4);
    const auto T = static_cast<std::size_t>(random() % 6);
    CtcSequenceOf sequence{{}, {}, static_cast<std::int64_t>(random() % static_cast<unsigned>(C))};
    if (C > 1) {
      sequence.labels =
          RandomTarget(static_cast<std::int64_t>(random() % 4), C, sequence.blank, random);
    }
    for (std::size_t t = 0; t < T; ++t) {
      LongRow row(static_cast<std::size_t>(C));
      for (long double& x : row) x = random() % 6 == 0 ? -kLongInf : normal(random);
      sequence.frames.push_back(LogSoftmax(row));
    }
    long double sum = -kLongInf, best = -kLongInf;
    LongRows shares(T, LongRow(static_cast<std::size_t>(C), -kLongInf));
    ForEachAlignment(sequence.frames, [&](const Labels& alignment, long double score) {
      if (Collapsed(alignment, sequence.blank) != sequence.labels) return;
      sum = LogJoin(sum, score);
      best = std::max(best, score);
      for (std::size_t t = 0; t < T; ++t) {
        long double& share = shares[t][static_cast<std::size_t>(alignment[t])];
        share = LogJoin(share, score);
      }
    });
    const CtcExact exact(sequence);
    const auto close = [](long double got, long double want) {
      return got == want || std::fabs(got - want) < 1e-17L * (1 + std::fabs(want));
    };
    EXPECT_TRUE(close(exact.score, sum));
    EXPECT_TRUE(close(CtcExact(sequence, true).score, best));
    for (std::size_t t = 0; t < T && sum != -kLongInf; ++t) {
      for (std::size_t c = 0; c < static_cast<std::size_t>(C); ++c) {
        EXPECT_TRUE(close(exact.posteriors[t][c], std::exp(shares[t][c] - sum)));
      }
    }
  }
}

// A batch of all kinds of lengths: none, just enough, too many, frames left over.
template <class T>
CtcProblem<T> MixedBatch(std::int64_t frames, std::int64_t C, std::int64_t blank,
                         std::int64_t longest, std::mt19937& random) {
  std::vector<Labels> targets;
  for (const std::int64_t length : {std::int64_t{0}, std::int64_t{1}, longest / 2, longest}) {
    targets.push_back(RandomTarget(C == 1 ? 0 : length, C, blank, random));
  }
  CtcProblem<T> problem(frames, C, targets);
  problem.options.blank = blank;
  for (std::int64_t& length : problem.input_lengths) {
    if (random() % 2 == 0) length -= static_cast<std::int64_t>(random() % 9);
    length = std::max<std::int64_t>(length, 0);
  }
  return problem;
}

template <class T>
void CheckBoth(CtcProblem<T>&& problem, double sigma, std::mt19937& random) {
  std::normal_distribution<double> normal(-1, sigma);
  problem.Fill([&] { return normal(random); });
  for (const bool from_logits : {false, true}) {
    problem.options.from_logits = from_logits;
    problem.Check();
  }
}

// Alphabets around what is read whole, what fits registers, and the lanes of all targets.
TEST(CtcLoss, Alphabets) {
  std::mt19937 random(2);
  for (const std::int64_t C : {1, 2, 3, 4, 5, 7, 8, 9, 16, 20, 31, 32, 33, 63, 64, 65, 200}) {
    for (const std::int64_t blank : {std::int64_t{0}, C / 2, C - 1}) {
      CheckBoth(MixedBatch<double>(19, C, blank, 9, random), 2, random);
      CheckBoth(MixedBatch<float>(18, C, blank, 9, random), 2, random);
      if (HasFailure()) return;
    }
  }
  CheckBoth(MixedBatch<float>(20, 5000, 2500, 10, random), 2, random);
}

// Targets around the lanes of all targets, as long as their frames or nearly so.
TEST(CtcLoss, TargetLengths) {
  std::mt19937 random(3);
  for (const std::int64_t L : {1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33}) {
    for (const std::int64_t C : {3, 30, 90}) {
      std::vector<Labels> targets;
      for (int n = 0; n < 3; ++n) targets.push_back(RandomTarget(L, C, 0, random));
      for (const std::int64_t extra : {0, 3, 20}) {
        CtcProblem<double> problem(L + extra + L / 3, C, targets);
        CheckBoth(std::move(problem), 1, random);
        if (HasFailure()) return;
      }
    }
  }
}

// No frame, one, blocks of 8 and their neighbours: where the sweeps meet, and where they settle.
TEST(CtcLoss, FrameCounts) {
  std::mt19937 random(4);
  for (std::int64_t frames = 0; frames <= 42; ++frames) {
    for (const std::int64_t C : {6, 70}) {
      std::vector<Labels> targets;
      for (const std::int64_t L : {0, 1, 2, 7, 12}) {
        targets.push_back(RandomTarget(L, C, 3, random));
      }
      CtcProblem<double> problem(frames, C, targets);
      problem.options.blank = 3;
      CheckBoth(std::move(problem), 3, random);
      if (HasFailure()) return;
    }
  }
}

TEST(CtcLoss, StorageTypes) {
  std::mt19937 random(5);
  for (const std::int64_t C : {5, 29, 100}) {
    CheckBoth(MixedBatch<float>(50, C, 1, 12, random), 3, random);
    CheckBoth(MixedBatch<Half>(50, C, 1, 12, random), 3, random);
    CheckBoth(MixedBatch<BFloat16>(50, C, 1, 12, random), 3, random);
    CheckBoth(MixedBatch<double>(50, C, 1, 12, random), 3, random);
  }
}

// Alphabets that are read whole only because the target is as long, and such that are not.
TEST(CtcLoss, LongTargetsOfLargeAlphabets) {
  std::mt19937 random(9);
  for (const std::int64_t C : {90, 200}) {
    for (const std::int64_t L : {C - 1, C, C + 5}) {
      CheckBoth(CtcProblem<float>(2 * L, C, {RandomTarget(L, C, 0, random)}), 2, random);
      CtcProblem<double> tight(L + L / 2, C, {RandomTarget(L, C, 0, random)});
      CheckBoth(std::move(tight), 2, random);
    }
  }
}

// Models that know nothing, and such that know all, stay in the linear domain.
TEST(CtcLoss, OrdinaryModelsAreNotRepaired) {
  std::mt19937 random(10);
  std::normal_distribution<double> normal(0, 1);
  for (const double sure : {0.0, 3.0, 12.0}) {
    const Labels target = RandomTarget(100, 29, 0, random);
    CtcProblem<float> problem(800, 29, {target});
    problem.options.from_logits = true;
    // Each label takes eight frames, of which it has two.
    for (std::int64_t i = 0; i < problem.log_probs.Size(); ++i) {
      const std::int64_t t = i / 29,
                         right = t % 8 < 2 ? target[static_cast<std::size_t>(t / 8)] : 0;
      problem.log_probs.Set(i, normal(random) + (i % 29 == right ? sure : 0));
    }
    for (const auto& result : problem.Check()) EXPECT_EQ(result.repaired, 0);
  }
}

TEST(CtcLoss, LongSequences) {
  std::mt19937 random(6);
  CtcProblem<float> common(2000, 29, {RandomTarget(300, 29, 0, random)});
  common.options.from_logits = true;
  std::normal_distribution<double> normal(0, 3);
  common.Fill([&] { return normal(random); }).Check();

  CtcProblem<double> longest(20000, 3, {RandomTarget(40, 3, 2, random)});
  longest.options = {.blank = 2, .from_logits = true};
  longest.Fill([&] { return normal(random); }).Check();
}

// Scores of the best alignment.
TEST(CtcLoss, MaxSemiring) {
  std::mt19937 random(7);
  for (const std::int64_t C : {1, 2, 6, 33, 70}) {
    for (const std::int64_t frames : {0, 1, 8, 33}) {
      CtcProblem<double> problem = MixedBatch<double>(frames, C, C - 1, 8, random);
      problem.options.semiring = Semiring::max;
      CheckBoth(std::move(problem), 3, random);
      CtcProblem<Half> narrow = MixedBatch<Half>(frames, C, C - 1, 8, random);
      narrow.options.semiring = Semiring::max;
      CheckBoth(std::move(narrow), 3, random);
    }
  }
}

// The gradient is the alignment that ctc_align finds, and the softmax.
TEST(CtcLoss, MaxGradientIsTheAlignment) {
  std::mt19937 random(8);
  std::normal_distribution<double> normal(0, 3);
  for (const std::int64_t C : {2, 7, 40, 80}) {
    CtcProblem<double> problem = MixedBatch<double>(25, C, 0, 8, random);
    problem.Fill([&] { return normal(random); });
    problem.options.semiring = Semiring::max;
    Integers<> labels({problem.N, problem.T_}, {});
    Integers<> targets(Concatenated(problem.targets)), lengths(problem.input_lengths);
    Integers<> sizes(LengthsOf(problem.targets));
    Array<double> scores({problem.N});
    Tensor path = labels, score = scores;
    for (const bool from_logits : {false, true}) {
      problem.options.from_logits = from_logits;
      problem.Run();
      ctc_align(problem.log_probs, targets, lengths, sizes, path, score);
      for (std::int64_t n = 0; n < problem.N; ++n) {
        const CtcSequenceOf sequence = problem.Of(n);
        for (std::int64_t t = 0; t < problem.T_; ++t) {
          const std::int64_t said = labels.values()[static_cast<std::size_t>(n * problem.T_ + t)];
          for (std::int64_t c = 0; c < C; ++c) {
            const long double x =
                said >= 0 && from_logits
                    ? std::exp(
                          sequence.frames[static_cast<std::size_t>(t)][static_cast<std::size_t>(c)])
                    : 0;
            EXPECT_NEAR(problem.grad.Get(problem.At(t, n, c)),
                        static_cast<double>(x) - (said == c ? 1 : 0), 1e-14);
          }
        }
      }
    }
  }
}

// float32 gradients of whole alphabets are narrowed before they are put in place, unless something
// in a frame is a zero; float64's never are. Both are the same numbers, down to the sign of
// nothing.
TEST(CtcLoss, NarrowedGradients) {
  std::mt19937 random(21);
  std::normal_distribution<float> normal(0, 3);
  for (const std::int64_t C : {2, 7, 8, 20, 32, 41, 70}) {
    for (const std::int64_t frames : {5, 16, 43}) {
      for (const bool with_zeros : {false, true}) {
        std::vector<Labels> targets;
        for (const std::int64_t length : {0, 1, 2, 4}) {
          targets.push_back(RandomTarget(length, C, 0, random));
        }
        CtcProblem<float> narrow(frames, C, targets);
        narrow.Fill([&] { return with_zeros && random() % 50 == 0 ? -kInf : normal(random); });
        CtcProblem<double> wide(frames, C, targets);
        const std::int64_t size = narrow.grad.Size();
        for (std::int64_t i = 0; i < size; ++i) wide.log_probs.Set(i, narrow.log_probs.Get(i));
        // A weight's sign is the gradient's.
        Array<double> weights({narrow.N});
        for (std::int64_t n = 0; n < narrow.N; ++n) weights.Set(n, n % 2 == 0 ? 1.5 : -0.25);
        Tensor given = weights;
        for (const Tensor* const of : {static_cast<Tensor*>(nullptr), &given}) {
          narrow.options.weights = wide.options.weights = of;
          auto narrow_results = narrow.RunOnEveryTarget();
          auto wide_results = wide.RunOnEveryTarget();
          for (std::size_t k = 0; k < narrow_results.size(); ++k) {
            SCOPED_TRACE(narrow_results[k].target + ", C " + std::to_string(C));
            for (std::int64_t i = 0; i < size; ++i) {
              const double from = wide_results[k].grad.Get(i), to = narrow_results[k].grad.Get(i);
              ASSERT_EQ(static_cast<float>(from), to) << "element " << i;
              ASSERT_EQ(std::signbit(from), std::signbit(to)) << "element " << i;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace logsum::testing
