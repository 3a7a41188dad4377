// The best alignments against all alignments.
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

struct Alignments {
  Integers<> labels;
  Array<double> scores;

  explicit Alignments(CtcProblem<double>& problem, Context context = {})
      : labels({problem.N, problem.T_}, {}), scores({problem.N}) {
    Integers<> targets(Concatenated(problem.targets)), lengths(problem.input_lengths);
    Integers<> sizes(LengthsOf(problem.targets));
    Tensor to = labels, score = scores;
    ctc_align(problem.log_probs, targets, lengths, sizes, to, score, problem.options.blank,
              context);
  }
  Labels Of(std::int64_t n, std::int64_t frames) {
    const std::int64_t T = static_cast<std::int64_t>(labels.values().size()) /
                           std::max<std::int64_t>(scores.Size(), 1);
    const auto begin = labels.values().begin() + n * T;
    return {begin, begin + frames};
  }
};

// The states of an alignment of blank, label, blank, ..., one a frame; of all that say the same
// labels the one of the tie's rule: see Better.
using States = std::vector<std::int64_t>;

// All paths of states whose labels are these, by going on in every way.
template <class Visit>
void ForEachPath(const CtcSequenceOf& sequence, const Visit& visit) {
  const std::size_t T = sequence.frames.size();
  States path;
  const auto extend = [&](const auto& self, std::int64_t state, long double score) -> void {
    score = LogTimes(score, sequence.At(path.size(), state));
    path.push_back(state);
    if (path.size() == T) {
      if (state >= sequence.NumStates() - 2) visit(path, score);
    } else {
      self(self, state, score);
      if (state + 1 < sequence.NumStates()) self(self, state + 1, score);
      if (state + 2 < sequence.NumStates() && sequence.MaySkipTo(state + 2)) {
        self(self, state + 2, score);
      }
    }
    path.pop_back();
  };
  if (T == 0) return;
  extend(extend, 0, 0);
  if (sequence.NumStates() > 1) extend(extend, 1, 0);
}

// viterbi's rule among equal scores: the lowest last state, then going back stay, step, skip.
bool Better(const States& a, const States& b) {
  if (a.back() != b.back()) return a.back() < b.back();
  for (std::size_t t = a.size() - 1; t-- > 0;) {
    if (a[t] != b[t]) return a[t] > b[t];
  }
  return false;
}

// Small integers, so that ties are many and exact.
TEST(CtcAlign, IsTheBestOfAllAndTheFirstAmongEqual) {
  std::mt19937 random(1);
  for (int round = 0; round < 150; ++round) {
    const auto T = static_cast<std::int64_t>(random() % 7);
    const auto C = 2 + static_cast<std::int64_t>(random() % 3);
    const auto blank = static_cast<std::int64_t>(random() % static_cast<unsigned>(C));
    const unsigned kinds = 1 + random() % 4;
    std::vector<Labels> targets;
    for (int n = 0; n < 4; ++n) {
      targets.push_back(RandomTarget(static_cast<std::int64_t>(random() % 4), C, blank, random));
    }
    CtcProblem<double> problem(T, C, targets);
    problem.options.blank = blank;
    for (std::int64_t& length : problem.input_lengths) {
      length -= static_cast<std::int64_t>(random() % static_cast<unsigned>(T + 1)) / 2;
    }
    problem.Fill(
        [&] { return random() % 7 == 0 ? -kInf : -static_cast<double>(random() % kinds); });
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      Alignments found(problem, {.threads = 1});
      for (std::int64_t n = 0; n < 4; ++n) {
        SCOPED_TRACE(problem.Where(n) + ", " + target);
        const CtcSequenceOf sequence = problem.Of(n);
        States best;
        long double score = -kLongInf;
        ForEachPath(sequence, [&](const States& path, long double of_path) {
          if (of_path > score || (of_path == score && !best.empty() && Better(path, best))) {
            best = path;
            score = of_path;
          }
        });
        const bool trivial = sequence.frames.empty() && sequence.labels.empty();
        EXPECT_EQ(found.scores.Get(n), trivial ? 0 : static_cast<double>(score));
        Labels want(static_cast<std::size_t>(T), -1);
        for (std::size_t t = 0; t < best.size() && score != -kLongInf; ++t) {
          want[t] = sequence.LabelOf(best[t]);
        }
        EXPECT_EQ(found.Of(n, T), want);
        if (HasFailure()) return;
      }
    }
    set_cpu_target("");
  }
}

// Long ones: the score is the reference's, the path says the target and has that score.
TEST(CtcAlign, LongSequences) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, 4);
  for (const std::int64_t C : {4, 33, 90}) {
    for (const std::int64_t L : {0, 7, 8, 9, 40}) {
      CtcProblem<double> problem(130, C, {RandomTarget(L, C, 0, random), {}});
      problem.input_lengths = {127, 130};
      problem.Fill([&] { return normal(random); });
      Alignments found(problem), again(problem, {.threads = 2});
      EXPECT_TRUE(found.labels == again.labels);
      for (std::int64_t n = 0; n < 2; ++n) {
        const CtcSequenceOf sequence = problem.Of(n);
        const auto want = static_cast<double>(CtcExact(sequence, true).score);
        EXPECT_NEAR(found.scores.Get(n), want, 1e-13 * std::abs(want));
        const Labels path = found.Of(n, problem.input_lengths[static_cast<std::size_t>(n)]);
        EXPECT_EQ(Collapsed(path, 0), sequence.labels);
        long double score = 0;
        for (std::size_t t = 0; t < path.size(); ++t) {
          score += sequence.frames[t][static_cast<std::size_t>(path[t])];
        }
        EXPECT_NEAR(static_cast<double>(score), want, 1e-13 * std::abs(want));
      }
      EXPECT_EQ(found.labels.values()[127], -1);
    }
  }
}

TEST(CtcAlign, WithoutAnAlignment) {
  CtcProblem<double> problem(5, 3, {{1, 1, 1}, {1}, {2}, {1, 2}, {2}});
  problem.input_lengths = {4, 5, 5, 5, 0};
  problem.Fill([] { return -1; });
  for (std::int64_t t = 0; t < 5; ++t) problem.log_probs.Set(problem.At(t, 1, 1), -kInf);
  problem.log_probs.Set(problem.At(4, 2, 0), kNaN);
  Alignments found(problem);
  EXPECT_EQ(found.scores.Get(0), -kInf);
  EXPECT_EQ(found.scores.Get(1), -kInf);
  EXPECT_TRUE(std::isnan(found.scores.Get(2)));
  EXPECT_EQ(found.scores.Get(3), -5);
  EXPECT_EQ(found.scores.Get(4), -kInf);
  for (const std::int64_t n : {0, 1, 2, 4}) EXPECT_EQ(found.Of(n, 5), Labels(5, -1));
  EXPECT_EQ(Collapsed(found.Of(3, 5), 0), (Labels{1, 2}));
}

TEST(CtcAlign, IntoViews) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 4);
  CtcProblem<double> problem(11, 5, {{1, 2}, {3}, {4, 4}}, {2, 0, 1});
  problem.Fill([&] { return normal(random); });
  Alignments want(problem);
  Integers<> targets(Concatenated(problem.targets)), lengths(problem.input_lengths);
  Integers<> sizes(LengthsOf(problem.targets)), memory({22, 3}, {});
  Array<double> scores({6});
  const View labels = View(memory).EverySecond(0).Swap(0, 1).Reverse(1);
  const View sums = View(scores).EverySecond(0).Reverse(0);
  Tensor to = labels, score = sums;
  ctc_align(problem.log_probs, targets, lengths, sizes, to, score);
  for (std::int64_t n = 0; n < 3; ++n) {
    EXPECT_EQ(sums.At<double>(n), want.scores.Get(n));
    for (std::int64_t t = 0; t < 11; ++t) {
      EXPECT_EQ(labels.At<std::int64_t>(n * 11 + t),
                want.labels.values()[static_cast<std::size_t>(n * 11 + t)]);
    }
  }
}

}  // namespace
}  // namespace logsum::testing
