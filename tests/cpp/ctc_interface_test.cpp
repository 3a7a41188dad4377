// What ctc_loss accepts: any strides, both integer types, both layouts of targets; and what does
// not change a bit of its results.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
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
void CheckOrders() {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 3);
  for (const std::int64_t C : {6, 33, 70}) {
    for (const std::vector<int>& order : std::vector<std::vector<int>>{
             {0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
      CtcProblem<T> problem(
          20, C, {RandomTarget(5, C, 2, random), RandomTarget(9, C, 2, random), {}}, order);
      problem.input_lengths[1] = 18;
      problem.options.blank = 2;
      problem.Fill([&] { return normal(random); });
      for (const bool from_logits : {false, true}) {
        problem.options.from_logits = from_logits;
        problem.Check();
      }
    }
  }
}

TEST(CtcInterface, MemoryOrders) {
  CheckOrders<double>();
  CheckOrders<float>();
  CheckOrders<Half>();
  CheckOrders<BFloat16>();
}

// One call with all its arrays; the gradient only where it is asked for.
template <class T>
struct Outcome {
  Array<T> losses, grad;

  Outcome(const Tensor& log_probs, const std::vector<Labels>& targets, const Labels& lengths,
          CtcOptions options, Context context = {.threads = 1})
      : losses({log_probs.shape[1]}),
        grad({log_probs.shape[0], log_probs.shape[1], log_probs.shape[2]}) {
    Integers<> labels(Concatenated(targets)), inputs(lengths), sizes(LengthsOf(targets));
    Tensor to = losses, of = grad;
    ctc_loss(log_probs, labels, inputs, sizes, to, &of, options, context);
  }
};

// Reversed, thinned and broadcast views against contiguous copies of what they show.
template <class T>
void CheckViews() {
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, 3);
  const std::int64_t frames = 21, N = 4, C = 10;
  std::vector<Labels> targets;
  for (int n = 0; n < N; ++n) targets.push_back(RandomTarget(2 * n, C, 9, random));
  const Labels lengths = {21, 20, 19, 5};
  Array<T> memory({2 * frames, 2 * N, 2 * C});
  memory.Fill([&] { return normal(random); });
  const View thin = View(memory).EverySecond(0).EverySecond(1).EverySecond(2);
  std::vector<View> views = {thin};
  for (const std::size_t axis : {0, 1, 2}) views.push_back(View(thin).Reverse(axis));
  views.push_back(View(thin).Reverse(0).Reverse(1).Reverse(2));
  views.push_back(View(thin).Repeat(0, frames));
  views.push_back(View(thin).Repeat(1, N));
  views.push_back(View(thin).Repeat(2, C));
  views.push_back(View(thin).Repeat(0, frames).Repeat(1, N));
  for (const bool from_logits : {false, true}) {
    const CtcOptions options = {.blank = 9, .from_logits = from_logits};
    for (const View& view : views) {
      Array<T> copy({frames, N, C});
      for (std::int64_t i = 0; i < copy.Size(); ++i) {
        copy.Set(i, ToFloat(view.template At<T>(i)));
      }
      Outcome<T> want(copy, targets, lengths, options), got(view, targets, lengths, options);
      EXPECT_TRUE(want.losses == got.losses);
      EXPECT_TRUE(want.grad == got.grad);
    }
  }
}

TEST(CtcInterface, Views) {
  CheckViews<double>();
  CheckViews<float>();
}

// Results into views: the same numbers, and nothing beside them is touched.
TEST(CtcInterface, ResultsIntoViews) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 3);
  const std::int64_t frames = 19, N = 3;
  for (const std::int64_t C : {9, 80}) {
    const std::vector<Labels> targets = {
        RandomTarget(3, C, 0, random), RandomTarget(8, C, 0, random), {}};
    Array<double> log_probs({frames, N, C});
    log_probs.Fill([&] { return normal(random); });
    Integers<> labels(Concatenated(targets)), lengths({19, 15, 0}), sizes(LengthsOf(targets));
    for (const bool from_logits : {false, true}) {
      const CtcOptions options = {.from_logits = from_logits};
      Outcome<double> want(log_probs, targets, {19, 15, 0}, options);
      Array<double> memory({2 * frames, 2 * N, 2 * C}), wide({2 * N});
      memory.Fill([] { return 5; });
      wide.Fill([] { return 5; });
      const View view = View(memory).EverySecond(0).EverySecond(1).EverySecond(2).Reverse(2);
      const View sums = View(wide).EverySecond(0).Reverse(0);
      Tensor to = sums, of = view;
      ctc_loss(log_probs, labels, lengths, sizes, to, &of, options);
      for (std::int64_t n = 0; n < N; ++n) {
        EXPECT_EQ(sums.At<double>(n), want.losses.Get(n));
        sums.At<double>(n) = 5;
      }
      for (std::int64_t i = 0; i < want.grad.Size(); ++i) {
        // Vectors may fuse a product and a difference.
        EXPECT_NEAR(view.At<double>(i), want.grad.Get(i), 0x1p-52);
        view.At<double>(i) = 5;
      }
      EXPECT_EQ(std::count(memory.data(), memory.data() + memory.Size(), 5), memory.Size());
      EXPECT_EQ(std::count(wide.data(), wide.data() + wide.Size(), 5), wide.Size());
    }
  }
}

template <class I>
void CheckIntegers() {
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 3);
  const std::int64_t frames = 12, N = 4, C = 7;
  const std::vector<Labels> targets = {{1, 2, 2}, {}, {6, 5, 4, 3, 1}, {2}};
  const Labels lengths = {12, 3, 9, 1};
  Array<float> log_probs({frames, N, C});
  log_probs.Fill([&] { return normal(random); });
  Outcome<float> want(log_probs, targets, lengths, {});
  // Padding is never read, whatever it says; nor what a view leaves out.
  Labels padded(static_cast<std::size_t>(N * 2 * 6), -99999);
  Labels spread_inputs(8, -5), spread_sizes(8, 1000);
  for (std::size_t n = 0; n < targets.size(); ++n) {
    for (std::size_t i = 0; i < targets[n].size(); ++i) padded[n * 12 + 2 * i] = targets[n][i];
    spread_inputs[2 * n] = lengths[n];
    spread_sizes[2 * n] = static_cast<std::int64_t>(targets[n].size());
  }
  Integers<I> rows({N, 12}, padded), flat(Concatenated(targets));
  Integers<I> inputs(spread_inputs), sizes(spread_sizes);
  const View labels = View(rows).EverySecond(1);
  const View all_inputs = View(inputs).EverySecond(0), all_sizes = View(sizes).EverySecond(0);
  const View reversed = View(flat).Reverse(0);
  for (const Tensor& of_targets : {Tensor(labels), Tensor(flat), Tensor(reversed)}) {
    if (of_targets.strides[0] == -1) {
      std::reverse(flat.values().begin(), flat.values().end());
    }
    Array<float> losses({N}), grad({frames, N, C});
    Tensor to = losses, of = grad;
    ctc_loss(log_probs, of_targets, all_inputs, all_sizes, to, &of);
    EXPECT_TRUE(losses == want.losses);
    EXPECT_TRUE(grad == want.grad);
  }
}

TEST(CtcInterface, IntegersOfBothTypesPaddedAndConcatenated) {
  CheckIntegers<std::int32_t>();
  CheckIntegers<std::int64_t>();
}

// Few sequences are split into halves, many are a task each: the same bits with any number of
// threads, and as each sequence has alone, repaired ones included.
TEST(CtcInterface, ThreadsAndCompanyChangeNoBit) {
  std::mt19937 random(5);
  for (const std::int64_t N : {1, 3, 20}) {
    for (const double sigma : {2.0, 300.0}) {
      std::normal_distribution<double> normal(0, sigma);
      std::vector<Labels> targets;
      for (std::int64_t n = 0; n < N; ++n) targets.push_back(RandomTarget(n % 14, 12, 0, random));
      CtcProblem<double> problem(30, 12, targets);
      problem.Fill([&] { return random() % 20 == 0 ? -kInf : normal(random); });
      problem.options.from_logits = N == 3;
      const std::int64_t repaired = problem.Run({.threads = 1}).repaired;
      EXPECT_EQ(problem.RunAlone({.threads = 1}).repaired > 0, repaired > 0);
      EXPECT_TRUE(sigma < 100 || N == 1 || repaired > 0);
      const Array<double> grad = problem.grad, losses = problem.losses, alone = problem.alone;
      for (const int threads : {2, 3}) {
        EXPECT_EQ(problem.Run({.threads = threads}).repaired, repaired);
        problem.RunAlone({.threads = threads});
        EXPECT_TRUE(problem.grad == grad);
        EXPECT_TRUE(problem.losses == losses);
        EXPECT_TRUE(problem.alone == alone);
      }
      for (std::int64_t n = 0; n < std::min<std::int64_t>(N, 4); ++n) {
        CtcProblem<double> one(30, 12, {targets[static_cast<std::size_t>(n)]});
        one.options = problem.options;
        for (std::int64_t i = 0; i < 30 * 12; ++i) {
          one.log_probs.Set(i, problem.log_probs.Get(problem.At(i / 12, n, i % 12)));
        }
        one.Run({.threads = 2});
        one.RunAlone({.threads = 2});
        EXPECT_EQ(one.losses.Get(0), problem.losses.Get(n));
        EXPECT_EQ(one.alone.Get(0), problem.alone.Get(n));
        for (std::int64_t i = 0; i < 30 * 12; ++i) {
          ASSERT_EQ(one.grad.Get(i), problem.grad.Get(problem.At(i / 12, n, i % 12)));
        }
      }
    }
  }
}

TEST(CtcInterface, Weights) {
  std::mt19937 random(6);
  std::normal_distribution<double> normal(0, 3);
  Array<float> weights = Array<float>::Of({6}, {2.5, 9, -0.25, 9, 0, 9});
  const View view = View(weights).EverySecond(0);
  const Tensor to_use = view;
  for (const std::int64_t C : {5, 9, 80}) {
    CtcProblem<double> problem(17, C, {{1, 2}, {3, 3}, {4}});
    problem.Fill([&] { return normal(random); });
    for (const bool from_logits : {false, true}) {
      problem.options = {.from_logits = from_logits, .weights = &to_use};
      problem.Check();
    }
    // Far apart: the repair knows them too.
    problem.Fill([&] { return 200 * normal(random); });
    problem.Check();
  }
  Array<double> wide = Array<double>::Of({3}, {3, 4, 5});
  const Tensor of_double = wide;
  CtcProblem<double> problem(9, 5, {{1, 2}, {3, 3}, {4}});
  problem.Fill([&] { return normal(random); });
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    problem.options = {.semiring = semiring, .weights = nullptr};
    problem.Run();
    Array<double> unweighted = problem.grad;
    problem.options.weights = &of_double;
    problem.Run();
    for (std::int64_t i = 0; i < unweighted.Size(); ++i) {
      const double weight = static_cast<double>(3 + i / 5 % 3);
      EXPECT_NEAR(problem.grad.Get(i), weight * unweighted.Get(i), 1e-14);
    }
  }
}

TEST(CtcInterface, NothingAtAll) {
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    CtcProblem<float> none(5, 3, std::vector<Labels>{});
    none.options.semiring = semiring;
    none.Check();
    CtcProblem<float> no_frames(0, 3, {{}, {1}, {}});
    no_frames.options.semiring = semiring;
    no_frames.Check();
    EXPECT_EQ(no_frames.losses.Get(0), 0);
    EXPECT_EQ(no_frames.losses.Get(1), kInf);
    CtcProblem<float> only_blanks(40, 1, {{}});
    only_blanks.options.semiring = semiring;
    only_blanks.Fill([] { return -0.5; }).Check();
    EXPECT_EQ(only_blanks.losses.Get(0), 20);
  }
}

}  // namespace
}  // namespace logsum::testing
