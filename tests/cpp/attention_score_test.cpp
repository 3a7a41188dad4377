// Score formulas on tiles against a scalar evaluator, and their gradients against differences.
#include "attention/score.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "attention_score_samples.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// A few operations on values up to a few times kSize, of an ulp or two each.
constexpr double kSize = 16;
template <class Real>
constexpr double kRounding = sizeof(Real) == 4 ? 0x1p-21 : 0x1p-50;
// Differences of doubles lose half their digits; sums of rounded derivatives come on top.
template <class Real>
constexpr double kDifference = sizeof(Real) == 4 ? 4e-6 : 2e-7;

// The scalar evaluator takes its time: of the pairs, in order, it sees one in so many, a number
// that divides no size, so that every query, key and head is seen.
constexpr std::size_t kEvery = 11;

template <class Real>
class AttentionScore : public ::testing::Test {
 protected:
  void TearDown() override { set_cpu_target(""); }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionScore, Reals);

TYPED_TEST(AttentionScore, Values) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.formula);
    auto scores = CaseOf<TypeParam>(sample);
    std::vector<double> expected(scores.s.size(), kNotANumber);
    scores.ForEachPair(kEvery, [&](std::size_t number, const formula::Point& point) {
      expected[number] = formula::Evaluate(scores.formula().value, point)[0];
    });
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      const auto values = scores.Evaluate();
      for (std::size_t k = 0; k < values.size(); k += kEvery) {
        const double x = values[k], y = expected[k];
        if (x == y) continue;
        ASSERT_LE(std::abs(x - y), kRounding<TypeParam> * (kSize + std::abs(y)))
            << target << ", pair " << k << ": " << x << " instead of " << y;
      }
    }
  }
}

TYPED_TEST(AttentionScore, Gradients) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.formula);
    auto scores = CaseOf<TypeParam>(sample);
    std::vector<Expected> of_scores(scores.s.size());
    std::vector<std::vector<Expected>> of_arrays;
    for (ScoreArray& array : scores.arrays()) {
      of_arrays.emplace_back(array.bytes.size() / SizeOf(array.dtype));
    }
    const auto& uses = scores.formula().uses;
    std::ranges::fill(scores.gradient, TypeParam{0});
    scores.ForEachPair(kEvery, [&](std::size_t number, formula::Point point) {
      TypeParam& weight = scores.gradient[number];
      const auto value = [&] { return formula::Evaluate(scores.formula().value, point)[0]; };
      weight = static_cast<TypeParam>(number % 3) - TypeParam{0.75};
      // As attention does: none where the score is -inf.
      if (value() == -kInfinity) weight = 0;
      if (weight == 0) return;
      const auto slope = [&](std::size_t slot) {
        constexpr double kStep = 0x1p-13;
        double& at = point.slots[slot][0];
        const double x = at;
        at = x + kStep;
        const double above = value();
        at = x - kStep;
        const double below = value();
        at = x;
        return static_cast<double>(weight) * (above - below) / (2 * kStep);
      };
      of_scores[number].Add(slope(attend::kScoreSlot));
      for (std::size_t k = 0; k < uses.size(); ++k) {
        const auto array = static_cast<std::size_t>(uses[k].array);
        if (!attend::IsFloating(scores.arrays()[array].dtype)) continue;
        const std::int64_t offset = scores.OffsetOf(uses[k], scores.PairOf(number));
        of_arrays[array][static_cast<std::size_t>(offset)].Add(slope(attend::kFirstUseSlot + k));
      }
    });
    // Where nothing flows anything may stand.
    for (std::size_t k = 0; k < scores.s.size(); ++k) {
      if (scores.gradient[k] != 0) continue;
      scores.s[k] = static_cast<TypeParam>(k % 2 == 0 ? kNotANumber : kInfinity);
    }
    const auto check = [](double x, const Expected& expected, const std::string& what) {
      const double bound = kDifference<TypeParam> * (expected.size + (expected.size > 0));
      ASSERT_LE(std::abs(x - expected.value), bound)
          << what << ": " << x << " instead of " << expected.value;
    };
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      std::vector<ScoreArray> gradients = GradientsOf(scores.arrays());
      const auto of_s = scores.Pull(gradients);
      for (std::size_t k = 0; k < of_s.size(); ++k) {
        check(of_s[k], of_scores[k], target + ", s of pair " + std::to_string(k));
      }
      for (std::size_t a = 0; a < gradients.size(); ++a) {
        if (gradients[a].bytes.empty()) continue;
        for (std::size_t k = 0; k < of_arrays[a].size(); ++k) {
          check(gradients[a].At(static_cast<std::int64_t>(k)), of_arrays[a][k],
                target + ", " + gradients[a].name + " " + std::to_string(k));
        }
      }
      std::vector<ScoreArray> nothing;
      const auto of_s_alone = scores.Pull(nothing);
      for (std::size_t k = 0; k < of_s.size(); ++k) {
        check(of_s_alone[k], of_scores[k], target + ", s alone of pair " + std::to_string(k));
      }
    }
  }
}

// A choice of -inf by what is known without s is known before s.
TEST(AttentionScoreMasks, TilesThatAreEmptyWithoutS) {
  const auto documents = [](std::int64_t k) { return k / 25; };
  const auto presence_of = [&](std::string formula) {
    ScoreCase<float> scores(std::move(formula), {ScoreArray("from", DType::i64, {2, 37}, documents),
                                                 ScoreArray("to", DType::i32, {150}, documents)});
    return scores.Presence();
  };
  for (const char* const formula : {
           "Where(from(b, i) == to(j), s * s, -inf)",
           "Where(j <= i, s, -inf)",
           "Where(i >= 37, s, -inf)",  // the last tile's lanes go on
           "Where((j > i) * (b == 1), s, -inf)",
           "Where(j < i, -inf, Where(j - i < 70, s, -inf))",
           "IfElse(i + j - 160, Where(h == 2, 0, -inf), -inf)",
           "Where(to(j) != 4, Where(h == 1, -inf, s), s - h)",
           "Where(h, -inf, s)",
           "-inf",
       }) {
    SCOPED_TRACE(formula);
    const auto presence = presence_of(formula);
    std::size_t empty = 0;
    for (const auto& tile : presence) {
      EXPECT_EQ(tile.may, tile.does) << tile.place.query << ", " << tile.place.key;
      empty += tile.does ? 0 : 1;
    }
    EXPECT_GT(empty, 0);
  }
  // Nothing is said where s, or what follows, decides.
  for (const char* const formula :
       {"Where(s > 9, s, -inf)", "Where(s > 9, s, Where(j < 0, s, -inf))", "s + Log(j < 0)",
        "Where(j < 0, s, -inf) + i", "s"}) {
    for (const auto& tile : presence_of(formula)) EXPECT_TRUE(tile.may) << formula;
  }
}

TEST(AttentionScoreMasks, LeavesOutNaN) {
  ScoreCase<float> scores("Where(j <= i, s, -inf)", {});
  for (std::size_t k = 0; k < scores.s.size(); ++k) {
    const auto pair = scores.PairOf(k);
    if (pair[3] > pair[2]) scores.s[k] = std::numeric_limits<float>::quiet_NaN();
  }
  const auto values = scores.Evaluate();
  for (std::size_t k = 0; k < values.size(); ++k) {
    const auto pair = scores.PairOf(k);
    EXPECT_EQ(values[k], pair[3] > pair[2] ? -kInfinity : scores.s[k]);
  }
}

TEST(AttentionScoreArrays, HalfTypesBesideHalfQueries) {
  for (const DType half : {DType::f16, DType::bf16}) {
    const auto spread = Spread(-1, 1);
    attend::Problem problem = SmallProblem(false);
    problem.q.dtype = half;
    ScoreCase<float> scores(
        "s + table(i, j) * wide(h) + all(b, h, i, j) - line(j)",
        {ScoreArray("table", half, {37, 150}, spread), ScoreArray("wide", DType::f32, {3}, spread),
         ScoreArray("all", half, {2, 3, 37, 150}, spread), ScoreArray("line", half, {150}, spread)},
        problem);
    const auto values = scores.Evaluate();
    std::vector<double> of_line(150), of_table(37 * 150);
    scores.ForEachPair(1, [&](std::size_t number, const formula::Point& point) {
      const double value = formula::Evaluate(scores.formula().value, point)[0];
      ASSERT_NEAR(values[number], value, kRounding<float> * kSize);
      const auto pair = scores.PairOf(number);
      const double weight = scores.gradient[number];
      of_line[static_cast<std::size_t>(pair[3])] -= weight;
      of_table[static_cast<std::size_t>(pair[2] * 150 + pair[3])] +=
          weight * scores.arrays()[1].At(pair[1]);
    });
    // Gradients are rounded to the arrays' type once.
    std::vector<ScoreArray> gradients = GradientsOf(scores.arrays());
    scores.Pull(gradients);
    const double rounding = half == DType::f16 ? 0x1p-11 : 0x1p-8;
    for (std::size_t k = 0; k < of_table.size(); ++k) {
      EXPECT_NEAR(gradients[0].At(static_cast<std::int64_t>(k)), of_table[k],
                  rounding * std::abs(of_table[k]) + 1e-6);
    }
    for (std::size_t k = 0; k < of_line.size(); ++k) {
      EXPECT_NEAR(gradients[3].At(static_cast<std::int64_t>(k)), of_line[k],
                  rounding * std::abs(of_line[k]) + 1e-5);
    }
  }
}

// However many slots there are, and whatever memory was there before.
TEST(AttentionScoreArrays, SlotsAreAddedUp) {
  ScoreCase<double> scores("s * t + u(h)", {ScoreArray("t", DType::f64, {}, Spread(1, 2)),
                                            ScoreArray("u", DType::f64, {3}, Spread(1, 2))});
  double expected = 0;
  for (std::size_t k = 0; k < scores.s.size(); ++k) expected += scores.gradient[k] * scores.s[k];
  for (const int slots : {1, 2, 7}) {
    std::vector<ScoreArray> gradients = GradientsOf(scores.arrays());
    scores.Pull(gradients, slots);
    EXPECT_NEAR(gradients[0].At(0), expected, 1e-10);
    std::vector<ScoreArray> again = GradientsOf(gradients);
    scores.Pull(again, slots);
    EXPECT_EQ(gradients[0].bytes, again[0].bytes);
    EXPECT_EQ(gradients[1].bytes, again[1].bytes);
  }
}

TEST(AttentionScoreArrays, SharedPairs) {
  const auto shares = [](std::string formula, std::vector<std::int64_t> shape) {
    std::vector<ScoreArray> arrays = {ScoreArray("x", DType::f32, shape, Spread(0, 1))};
    ScoreCase<float> scores(std::move(formula), arrays);
    Tensor tensors[] = {arrays[0].View()};
    return attend::ScoreGradient(scores.problem(), tensors, 1).SharesPairs();
  };
  EXPECT_TRUE(shares("s + x(i, j)", {37, 150}));
  EXPECT_TRUE(shares("s + x(b, j, i)", {2, 150, 37}));
  EXPECT_FALSE(shares("s + x(b, h, i, j)", {2, 3, 37, 150}));
  EXPECT_FALSE(shares("s + x(j)", {150}));
}

}  // namespace
}  // namespace logsum::testing
