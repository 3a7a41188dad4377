// What is refused of score formulas and their arrays, and how.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attention/score.hpp"
#include "attention_score_problem.hpp"
#include "formula_text.hpp"

namespace logsum::testing {
namespace {

using attend::Problem;
using formula::ErrorOf;

ScoreArray Zeros(const std::string& name, DType dtype, std::vector<std::int64_t> shape) {
  return {name, dtype, std::move(shape), [](std::int64_t) { return 0.0; }};
}

TEST(AttentionScoreErrors, PointIntoTheFormula) {
  const auto refused = [](std::string formula) {
    return ErrorOf([&] {
      ScoreCase<float>(formula, {Zeros("slope", DType::f32, {3}), Zeros("t", DType::f32, {37, 150}),
                                 Zeros("c", DType::f32, {})});
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
            "attention: score: expected axis 0 of t of size 1 or N = 150 for j, got 37\n"
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

TEST(AttentionScoreErrors, Memory) {
  const std::string error = ErrorOf([] { ScoreCase<float>("Sum(OneHot(s, 10000) * i)", {}); });
  EXPECT_NE(error.find("attention: score: expected values of at most 4194304 bytes for a tile"),
            std::string::npos)
      << error;
  // A derivative may hold more than the formula.
  ScoreCase<float> deep("Sum(Sin(OneHot(s, 200) * s))", {});
  std::vector<ScoreArray> none;
  const std::string of_derivative = ErrorOf([&] { deep.Pull(none); });
  EXPECT_NE(of_derivative.find("attention_backward: score: expected a derivative with values of"),
            std::string::npos)
      << of_derivative;
}

TEST(AttentionScoreErrors, Arrays) {
  const auto refused = [](ScoreArray array, const Problem& problem) {
    return ErrorOf([&] { ScoreCase<float>("s", {std::move(array)}, problem); });
  };
  const auto numbered = [](const std::string& name) { return Zeros(name, DType::f32, {3}); };
  const Problem problem = SmallProblem(false);
  EXPECT_EQ(refused(numbered("a b"), problem),
            "attention: score_args: expected names of letters, digits and _, got 'a b'");
  for (const std::string name : {"s", "i", "h", "k_len", "inf", "Exp", "Vi"}) {
    EXPECT_EQ(refused(numbered(name), problem),
              "attention: score_args: expected names that the language has not taken, got '" +
                  name + "'");
  }
  EXPECT_EQ(ErrorOf([&] { ScoreCase<float>("s", {numbered("x"), numbered("x")}, problem); }),
            "attention: score_args: expected names that differ, got a second 'x'");
  EXPECT_EQ(refused(Zeros("x", DType::f64, {3}), problem),
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
  EXPECT_EQ(refused(Zeros("x", DType::bf16, {3}), half),
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
