// Greedy decoding and prefix search against all label sequences.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "array.hpp"
#include "ctc_problem.hpp"
#include "ctc_reference.hpp"
#include "logsum/ctc.hpp"
#include "view.hpp"

namespace logsum::testing {
namespace {

template <class T = double>
struct Decoded {
  using Wide = typename CtcProblem<T>::Wide;
  Integers<> labels, sizes;
  Array<Wide> scores;
  std::int64_t frames;

  Decoded(const Tensor& log_probs, const Labels& input_lengths, CtcDecodeOptions options,
          Context context = {})
      : labels({log_probs.shape[1], log_probs.shape[0]}, {}),
        sizes({log_probs.shape[1]}, {}),
        scores({log_probs.shape[1]}),
        frames(log_probs.shape[0]) {
    Integers<> lengths(input_lengths);
    Tensor to = labels, size = sizes, score = scores;
    ctc_decode(log_probs, lengths, to, size, score, options, context);
  }
  // The labels of one sequence; those behind it must be -1.
  Labels Of(std::int64_t n) {
    const auto begin = labels.values().begin() + n * frames;
    const std::int64_t size = sizes.values()[static_cast<std::size_t>(n)];
    EXPECT_TRUE(std::all_of(begin + size, begin + frames, [](auto label) { return label == -1; }));
    return {begin, begin + size};
  }
};

struct Random {
  std::mt19937 random{1};
  std::normal_distribution<double> normal{0, 2};
  Array<double> Frames(std::int64_t T, std::int64_t N, std::int64_t C) {
    Array<double> log_probs({T, N, C});
    log_probs.Fill([&] { return random() % 8 == 0 ? -kInf : normal(random); });
    return log_probs;
  }
};

LongRows FramesOf(Array<double>& log_probs, std::int64_t N, std::int64_t C, std::int64_t n,
                  std::int64_t count) {
  LongRows frames;
  for (std::int64_t t = 0; t < count; ++t) {
    LongRow row;
    for (std::int64_t c = 0; c < C; ++c) row.push_back(log_probs.Get((t * N + n) * C + c));
    frames.push_back(row);
  }
  return frames;
}

// With a beam that keeps every prefix the search is exact.
TEST(CtcDecode, AWideBeamFindsTheBestOfAll) {
  Random draw;
  const std::int64_t N = 5;
  for (int round = 0; round < 60; ++round) {
    const std::int64_t T = round % 7, C = 2 + round % 3, blank = round % C;
    Array<double> log_probs = draw.Frames(T, N, C);
    Labels lengths;
    for (std::int64_t n = 0; n < N; ++n) lengths.push_back(n == 0 ? T : T - T * n / 6);
    Decoded<> found(log_probs, lengths, {.blank = blank, .beam = 5000});
    for (std::int64_t n = 0; n < N; ++n) {
      std::map<Labels, long double> sums;
      const LongRows frames = FramesOf(log_probs, N, C, n, lengths[static_cast<std::size_t>(n)]);
      ForEachAlignment(frames, [&](const Labels& alignment, long double score) {
        auto [entry, is_new] = sums.try_emplace(Collapsed(alignment, blank), -kLongInf);
        entry->second = LogJoin(entry->second, score);
      });
      long double best = -kLongInf;
      Labels labels;
      for (const auto& [key, sum] : sums) {
        if (sum > best) {
          best = sum;
          labels = key;
        }
      }
      EXPECT_EQ(found.Of(n), labels);
      const auto want = static_cast<double>(best);
      if (std::isfinite(want)) {
        EXPECT_NEAR(found.scores.Get(n), want, 1e-14 * (1 + std::abs(want)));
      } else {
        EXPECT_EQ(found.scores.Get(n), want);
      }
    }
  }
}

// Whatever the beam: the score is a lower bound of what the loss of these labels says.
TEST(CtcDecode, NarrowBeamsGiveLowerBounds) {
  Random draw;
  const std::int64_t T = 40, N = 3, C = 6;
  for (const std::int64_t beam : {1, 2, 3, 8, 100}) {
    Array<double> log_probs = draw.Frames(T, N, C);
    Decoded<> found(log_probs, {40, 39, 17}, {.beam = beam});
    Decoded<> threads(log_probs, {40, 39, 17}, {.beam = beam}, {.threads = 2});
    EXPECT_TRUE(found.labels == threads.labels);
    for (std::int64_t n = 0; n < N; ++n) {
      const LongRows frames = FramesOf(log_probs, N, C, n, std::array{40, 39, 17}[n]);
      const CtcExact exact({frames, found.Of(n), 0});
      EXPECT_LE(found.scores.Get(n), static_cast<double>(exact.score) + 1e-12);
    }
  }
}

// A prefix that a beam drops and makes again is the same one: its masses, and those of its
// children that were kept, meet.
TEST(CtcDecode, ADroppedPrefixComesAgain) {
  Random draw;
  for (int round = 0; round < 400; ++round) {
    const std::int64_t T = 3 + round % 6, C = 2 + round % 2, beam = 1 + round % 4;
    Array<double> log_probs = draw.Frames(T, 1, C);
    Decoded<> found(log_probs, {T}, {.beam = beam});
    // The same search by keys: a map of the prefixes that are kept.
    struct Mass {
      long double blank, label;
    };
    std::map<Labels, Mass> kept = {{{}, {0, -kLongInf}}};
    const LongRows frames = FramesOf(log_probs, 1, C, 0, T);
    for (const LongRow& frame : frames) {
      std::map<Labels, Mass> next;
      for (const auto& [prefix, mass] : kept) {
        const long double all = LogJoin(mass.blank, mass.label);
        const auto at = [&](const Labels& key) -> Mass& {
          return next.try_emplace(key, Mass{-kLongInf, -kLongInf}).first->second;
        };
        at(prefix).blank = LogJoin(at(prefix).blank, LogTimes(all, frame[0]));
        for (std::int64_t c = 1; c < C; ++c) {
          const long double score = frame[static_cast<std::size_t>(c)];
          const bool repeats = !prefix.empty() && prefix.back() == c;
          if (repeats) {
            at(prefix).label = LogJoin(at(prefix).label, LogTimes(mass.label, score));
          }
          Labels longer = prefix;
          longer.push_back(c);
          at(longer).label = LogJoin(at(longer).label, LogTimes(repeats ? mass.blank : all, score));
        }
      }
      std::vector<std::pair<long double, Labels>> order;
      for (const auto& [prefix, mass] : next) {
        const long double all = LogJoin(mass.blank, mass.label);
        if (all != -kLongInf) order.emplace_back(all, prefix);
      }
      std::sort(order.begin(), order.end(),
                [](const auto& a, const auto& b) { return a.first > b.first; });
      if (order.size() > static_cast<std::size_t>(beam)) {
        order.resize(static_cast<std::size_t>(beam));
      }
      kept.clear();
      for (const auto& [all, prefix] : order) kept.emplace(prefix, next.at(prefix));
    }
    long double best = -kLongInf;
    Labels labels;
    for (const auto& [prefix, mass] : kept) {
      const long double all = LogJoin(mass.blank, mass.label);
      if (all > best) {
        best = all;
        labels = prefix;
      }
    }
    EXPECT_EQ(found.Of(0), labels);
    if (best == -kLongInf) {
      EXPECT_EQ(found.scores.Get(0), -kInf);
    } else {
      EXPECT_NEAR(found.scores.Get(0), static_cast<double>(best), 1e-13);
    }
  }
}

TEST(CtcDecode, Greedy) {
  // Ties go to the lowest label; repeats merge unless a blank is between.
  auto log_probs = Array<float>::Of(
      {7, 1, 3}, {0, -1, -1, -1, 0, 0, -2, 0, -1, 0, 0, -1, -3, 0, 0, -1, -1, 0, -4, -5, -2});
  Decoded<float> found(log_probs, {7}, {});
  EXPECT_EQ(found.Of(0), (Labels{1, 1, 2}));
  EXPECT_EQ(found.scores.Get(0), -2);
  Decoded<float> last(log_probs, {7}, {.blank = 2});
  EXPECT_EQ(last.Of(0), (Labels{0, 1, 0, 1}));
  Decoded<float> none(log_probs, {0}, {});
  EXPECT_EQ(none.Of(0), Labels{});
  EXPECT_EQ(none.scores.Get(0), 0);
}

TEST(CtcDecode, ZerosNaNAndInfinity) {
  for (const std::int64_t beam : {0, 3}) {
    Array<double> log_probs({4, 4, 3});
    for (std::int64_t i = 0; i < 48; ++i) log_probs.Set(i, static_cast<double>(-(i % 3)));
    for (std::int64_t c = 0; c < 3; ++c) log_probs.Set((2 * 4 + 1) * 3 + c, -kInf);
    log_probs.Set((3 * 4 + 2) * 3 + 2, kNaN);
    log_probs.Set(3 * 3 + 2, kInf);
    Decoded<> found(log_probs, {4, 4, 4, 4}, {.beam = beam});
    EXPECT_TRUE(std::isfinite(found.scores.Get(0)));
    EXPECT_EQ(found.scores.Get(1), -kInf);
    EXPECT_TRUE(std::isnan(found.scores.Get(2)));
    EXPECT_TRUE(std::isnan(found.scores.Get(3)));
    for (const std::int64_t n : {1, 2, 3}) EXPECT_EQ(found.Of(n), Labels{});
    // Past the length nothing is read.
    Decoded<> shorter(log_probs, {4, 2, 3, 0}, {.beam = beam});
    for (std::int64_t n = 0; n < 4; ++n) EXPECT_TRUE(std::isfinite(shorter.scores.Get(n)));
  }
}

TEST(CtcDecode, ViewsAndTypes) {
  Random draw;
  Array<double> memory = draw.Frames(24, 6, 10);
  const View view = View(memory).EverySecond(0).EverySecond(1).EverySecond(2).Reverse(2);
  Array<double> copy({12, 3, 5});
  for (std::int64_t i = 0; i < copy.Size(); ++i) copy.Set(i, view.At<double>(i));
  for (const std::int64_t beam : {0, 4}) {
    Decoded<> want(copy, {12, 11, 3}, {.beam = beam}), got(view, {12, 11, 3}, {.beam = beam});
    EXPECT_TRUE(want.labels == got.labels);
    EXPECT_TRUE(want.scores == got.scores);
    Array<Half> half({12, 3, 5});
    Array<float> single({12, 3, 5});
    for (std::int64_t i = 0; i < copy.Size(); ++i) {
      half.Set(i, copy.Get(i));
      single.Set(i, half.Get(i));
    }
    Decoded<Half> of_half(half, {12, 11, 3}, {.beam = beam});
    Decoded<float> of_single(single, {12, 11, 3}, {.beam = beam});
    EXPECT_TRUE(of_half.labels == of_single.labels);
    EXPECT_TRUE(of_half.scores == of_single.scores);
  }
}

}  // namespace
}  // namespace logsum::testing
