// Score formulas on tiles against a scalar evaluator, and their gradients against differences.
#include "attention/score.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "attention_score_problem.hpp"
#include "formula_text.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

using attend::Problem;
using formula::ErrorOf;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// A few operations on values up to a few times kSize, of an ulp or two each.
constexpr double kSize = 16;
template <class Real>
constexpr double kRounding = sizeof(Real) == 4 ? 0x1p-21 : 0x1p-50;
// Differences of doubles lose half their digits; sums of rounded derivatives come on top.
template <class Real>
constexpr double kDifference = sizeof(Real) == 4 ? 4e-6 : 2e-7;

struct Sample {
  std::string formula;
  std::function<std::vector<ScoreArray>(DType)> arrays;
  std::int64_t keys = 150, queries = 37;
};

// Numbers between low and high, all different.
std::function<double(std::int64_t)> Spread(double low, double high) {
  return [=](std::int64_t k) {
    const double x = static_cast<double>(k + 1) * 0.6180339887498949;
    return low + (high - low) * (x - std::floor(x));
  };
}

std::vector<Sample> Samples() {
  const auto spread = Spread(-1, 1), small = Spread(0.01, 0.1), positive = Spread(2, 4);
  const auto none = [](DType) { return std::vector<ScoreArray>{}; };
  return {
      // ALiBi.
      {"s - slope(h) * Abs(i - j)",
       [=](DType real) { return std::vector{ScoreArray("slope", real, {3}, small)}; }},
      // Relative biases by arrays, in either order of memory and of indices.
      {"s + table(h, i, j)",
       [=](DType real) {
         return std::vector{ScoreArray("table", real, {3, 37, 150}, spread)};
       }},
      {"s + table(j, i) * s",
       [=](DType real) {
         return std::vector{ScoreArray("table", real, {150, 37}, spread)};
       }},
      {"s * w(b, h, i, j) + Exp(p(b, h, i)) * t(h) - u(j)",
       [=](DType real) {
         return std::vector{ScoreArray("w", real, {2, 3, 37, 150}, spread, true),
                            ScoreArray("p", real, {2, 3, 37}, spread),
                            ScoreArray("t", real, {3}, spread),
                            ScoreArray("u", real, {150}, spread)};
       }},
      {"s + Sin(x(i, j) + s) * x(j, i) - x(j, i)",
       [=](DType real) {
         return std::vector{ScoreArray("x", real, {70, 70}, spread)};
       },
       70, 70},
      {"s + position(b, i) - position(b, j)",
       [=](DType real) {
         return std::vector{ScoreArray("position", real, {2, 40}, spread)};
       },
       40, 40},
      // Soft caps.
      {"cap * Tanh(s / cap)",
       [=](DType real) { return std::vector{ScoreArray("cap", real, {}, positive)}; }},
      {"cap(h) * Tanh((s + m(b)) / cap(h))",
       [=](DType real) {
         return std::vector{ScoreArray("cap", real, {3}, positive),
                            ScoreArray("m", real, {2}, spread)};
       }},
      // Masks.
      {"Where(doc(b, i) == doc(b, j), s * s, -inf)",
       [](DType) {
         return std::vector{ScoreArray("doc", DType::i64, {2, 60}, [](auto k) { return k / 9; })};
       },
       60, 60},
      {"s + Log(from(b, i) == to(j, b)) + bias(i)",
       [=](DType real) {
         const auto third = [](std::int64_t k) { return k % 3; };
         return std::vector{ScoreArray("from", DType::i32, {2, 37}, third),
                            ScoreArray("to", DType::i32, {150, 2}, third),
                            ScoreArray("bias", real, {37}, spread)};
       }},
      {"Where(allowed(i, j), s - slope * Abs(i - j), -inf)",
       [=](DType real) {
         return std::vector{
             ScoreArray("allowed", DType::boolean, {37, 150}, [](auto k) { return k % 5 != 0; }),
             ScoreArray("slope", real, {}, small)};
       }},
      // Windows, causal and by lengths.
      {"Where((j <= i) * (i - j < 8), s, -inf)", none},
      {"Where(j < k_len, s * q_len / k_len, -inf) + b / (h + 1)", none},
      // Values of no pair, vectors, and what parameters hold.
      {"s", none},
      {"-i * t(b)", [=](DType real) { return std::vector{ScoreArray("t", real, {2}, small)}; }},
      {"Sum(Concat(s, i / 37, x(j)) * Concat(x(j), s, h))",
       [=](DType real) { return std::vector{ScoreArray("x", real, {150}, spread)}; }},
      {"s - SqDist(Concat(x(j), j / 150, y(j)), Concat(u(i), v, i / 37))",
       [=](DType real) {
         return std::vector{ScoreArray("x", real, {150}, spread),
                            ScoreArray("y", real, {150}, spread),
                            ScoreArray("u", real, {37}, spread), ScoreArray("v", real, {}, spread)};
       }},
      {"Sum(Zero(3) + s) + Grad(Square(x(i) * s), x(i), 0.5)",
       [=](DType real) { return std::vector{ScoreArray("x", real, {37}, spread)}; }},
  };
}

template <class Real>
Problem ProblemOf(const Sample& sample) {
  Problem problem = SmallProblem(sizeof(Real) == 8);
  problem.keys = sample.keys;
  problem.queries = sample.queries;
  problem.lengths_q = {sample.queries, sample.queries - 7};
  problem.lengths_k = {sample.keys, sample.keys - 9};
  return problem;
}

template <class Real>
constexpr DType kReal = sizeof(Real) == 4 ? DType::f32 : DType::f64;

template <class Real>
ScoreCase<Real> CaseOf(const Sample& sample) {
  return {sample.formula, sample.arrays(kReal<Real>), ProblemOf<Real>(sample)};
}

// What a gradient is held against: a value, and the sum of the sizes of its terms.
struct Expected {
  double value = 0, size = 0;

  void Add(double term) {
    value += term;
    size += std::abs(term);
  }
};

std::vector<ScoreArray> GradientsOf(const std::vector<ScoreArray>& arrays) {
  std::vector<ScoreArray> gradients = arrays;
  for (ScoreArray& gradient : gradients) {
    if (!attend::IsFloating(gradient.dtype)) gradient.bytes.clear();
  }
  return gradients;
}

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
    std::vector<double> expected(scores.s.size());
    scores.ForEachPair([&](std::size_t number, const formula::Point& point) {
      expected[number] = formula::Evaluate(scores.formula().value, point)[0];
    });
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      const auto values = scores.Evaluate();
      for (std::size_t k = 0; k < values.size(); ++k) {
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
    scores.ForEachPair([&](std::size_t number, formula::Point point) {
      TypeParam& weight = scores.gradient[number];
      const auto value = [&] { return formula::Evaluate(scores.formula().value, point)[0]; };
      // As attention does: no weight where the score is -inf. Others may have none as well.
      if (value() == -kInfinity || number % 5 == 0) weight = 0;
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
    Problem problem = SmallProblem(false);
    problem.q.dtype = half;
    ScoreCase<float> scores(
        "s + table(i, j) * wide(h) + all(b, h, i, j) - line(j)",
        {ScoreArray("table", half, {37, 150}, spread), ScoreArray("wide", DType::f32, {3}, spread),
         ScoreArray("all", half, {2, 3, 37, 150}, spread), ScoreArray("line", half, {150}, spread)},
        problem);
    const auto values = scores.Evaluate();
    std::vector<double> of_line(150), of_table(37 * 150);
    scores.ForEachPair([&](std::size_t number, const formula::Point& point) {
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

TEST(AttentionScoreErrors, PointIntoTheFormula) {
  const auto refused = [](std::string formula) {
    return ErrorOf([&] {
      ScoreCase<float>(formula, {ScoreArray("slope", DType::f32, {3}, Spread(0, 1)),
                                 ScoreArray("t", DType::f32, {37, 150}, Spread(0, 1)),
                                 ScoreArray("c", DType::f32, {}, Spread(0, 1))});
    });
  };
  EXPECT_EQ(refused("s - slope(h + 1)"),
            "attention: score: expected an index as it stands: b, h, i or j, then , or ), got '+'\n"
            "  s - slope(h + 1)\n"
            "              ^");
  EXPECT_EQ(refused("s + t(i, i)"),
            "attention: score: expected indices of t that differ, got a second i\n"
            "  s + t(i, i)\n"
            "           ^");
  EXPECT_EQ(refused("s + t(j, i)"),
            "attention: score: expected axis 0 of t of size N = 150 for j, got 37\n"
            "  s + t(j, i)\n"
            "        ^");
  EXPECT_EQ(refused("s * Concat(i, j)"),
            "attention: score: expected a formula of dimension 1, got dimension 2\n"
            "  s * Concat(i, j)\n"
            "  ^");
  EXPECT_EQ(refused("s + slop(h)"),
            "attention: score: expected a function of the language, got 'slop' (did you mean "
            "slope?)\n"
            "  s + slop(h)\n"
            "      ^");
  EXPECT_EQ(refused("s + k"),
            "attention: score: expected s, i, j, b, h, q_len, k_len or a name in score_args, got "
            "'k'\n"
            "  s + k\n"
            "      ^");
  for (const auto& [formula, part] : std::vector<std::pair<std::string, std::string>>{
           {"s + slope", "expected slope(index): it has 1 axis, got no indices"},
           {"s + slope()", "expected b, h, i or j as an index of slope, got ')'"},
           {"s + slope(h", "then , or ), got the end"},
           {"s + slope(k)", "expected b, h, i or j as an index of slope, got 'k'"},
           {"s + slope(s)", "as an index of slope, got 's'"},
           {"s + slope(h, i)", "expected slope(index): it has 1 axis, got more"},
           {"s + t(i)", "expected t(2 indices): it has 2 axes, got only 1"},
           {"s + c(h)", "expected c alone: it is a scalar, got more"},
           {"s + i(h)", "expected a function, got the variable 'i'"},
           {"s + Vi(0, 3)", "expected a function of the language, got 'Vi'"},
           {"s + N", "expected s, i, j, b, h"},
           {"", "expected a number, a variable, a function or (, got the end"}}) {
    EXPECT_NE(refused(formula).find(part), std::string::npos)
        << formula << ": " << refused(formula);
  }
}

TEST(AttentionScoreErrors, Arrays) {
  const auto refused = [](ScoreArray array, const Problem& problem) {
    return ErrorOf([&] { ScoreCase<float>("s", {std::move(array)}, problem); });
  };
  const auto numbered = [](const std::string& name) {
    return ScoreArray(name, DType::f32, {3}, Spread(0, 1));
  };
  const Problem problem = SmallProblem(false);
  EXPECT_EQ(refused(numbered("a b"), problem),
            "attention: score_args: expected names of letters, digits and _, got 'a b'");
  for (const std::string name : {"s", "i", "h", "k_len", "inf", "Exp", "Vi"}) {
    EXPECT_EQ(refused(numbered(name), problem),
              "attention: score_args: expected names that the language has not taken, got '" +
                  name + "'");
  }
  EXPECT_EQ(ErrorOf([&] {
              ScoreCase<float>("s", {numbered("x"), numbered("x")}, problem);
            }),
            "attention: score_args: expected names that differ, got a second 'x'");
  EXPECT_EQ(refused({"x", DType::f64, {3}, Spread(0, 1)}, problem),
            "attention: score_args: x: expected float32 as q, int32, int64 or bool, got float64");
  EXPECT_EQ(
      refused({"x", DType::i64, {3}, [](std::int64_t k) { return (k << 24) - 5; }}, problem),
      "attention: score_args: x: expected integers of at most 2^24 in size, which float32 holds "
      "exactly, got 33554427");
  EXPECT_EQ(
      refused({"x", DType::i32, {3, 2}, [](std::int64_t k) { return -(k << 23); }}, problem),
      "attention: score_args: x: expected integers of at most 2^24 in size, which float32 holds "
      "exactly, got -41943040");
  Problem wide = SmallProblem(true);
  ScoreCase<double>("s + x(h)", {{"x", DType::i64, {3}, [](auto k) { return (k << 24) + 1; }}},
                    wide);
  Problem half = SmallProblem(false);
  half.q.dtype = DType::f16;
  EXPECT_EQ(refused({"x", DType::bf16, {3}, Spread(0, 1)}, half),
            "attention: score_args: x: expected float16 as q, float32, int32, int64 or bool, got "
            "bfloat16");
  Problem longest = SmallProblem(false);
  longest.keys = (std::int64_t{1} << 24) + 1;
  EXPECT_EQ(ErrorOf([&] { attend::Score("s", {}, {}, longest); }),
            "attention: score: expected float64 arrays where an axis exceeds 2^24, which float32 "
            "cannot count, got an axis of 16777217");
}

}  // namespace
}  // namespace logsum::testing
