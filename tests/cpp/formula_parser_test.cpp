// What the language accepts and means, and what it says of what it refuses.
#include "formula/parser.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "formula/functions.hpp"
#include "formula_evaluate.hpp"
#include "formula_text.hpp"

namespace logsum::formula {
namespace {

// x = 2, y = 3, v = (1, -2, 3), w = (4, 5, 6); i = 5, j = 7 of 11 and 13.
const Point kPoint{.slots = {{2}, {3}, {1, -2, 3}, {4, 5, 6}}, .i = 5, .j = 7, .M = 11, .N = 13};

Vector Of(std::string_view text) {
  const Parsed parsed(text, {"x = Vi(1)", "y = Vj(1)", "v = Vi(3)", "w = Vj(3)"});
  return Evaluate(parsed.expression, kPoint);
}

std::string Refused(std::string_view text) {
  return ErrorOf([&] { Of(text); });
}

TEST(FormulaParser, PrecedenceIsPythons) {
  EXPECT_EQ(Of("1 + 2 * x"), Vector{5});
  EXPECT_EQ(Of("x - y - 1"), Vector{-2});
  EXPECT_EQ(Of("12 / y / x"), Vector{2});
  EXPECT_EQ(Of("-x ** 2"), Vector{-4});
  EXPECT_EQ(Of("(-x) ** 2"), Vector{4});
  EXPECT_EQ(Of("x ** -1"), Vector{0.5});
  EXPECT_EQ(Of("x ** y ** 2"), Vector{512});
  EXPECT_EQ(Of("-x * y"), Vector{-6});
  EXPECT_EQ(Of("+-+x"), Vector{-2});
  EXPECT_EQ(Of("v + 1 | w"), Vector{4.0 * 2 - 5 + 6.0 * 4});
  EXPECT_EQ(Of("v | w == 12"), Vector{1});
  EXPECT_EQ(Of("x + 1 < y + 1"), Vector{1});
  EXPECT_EQ(Of("x > y"), Vector{0});
  EXPECT_EQ(Of("x >= 2"), Vector{1});
  EXPECT_EQ(Of("x != 2"), Vector{0});
  EXPECT_EQ(Of("(x < y) * (y <= 3)"), Vector{1});
}

TEST(FormulaParser, Numbers) {
  EXPECT_EQ(Of(".5 * x"), Vector{1});
  EXPECT_EQ(Of("2. * x"), Vector{4});
  EXPECT_EQ(Of("1e-3"), Vector{1e-3});
  EXPECT_EQ(Of("1E+2"), Vector{100});
  EXPECT_EQ(Of("x ** 0.5"), Vector{std::sqrt(2.0)});
  EXPECT_EQ(Of("IntCst(-3) * x"), Vector{-6});
  EXPECT_EQ(Of("Zero(2)"), (Vector{0, 0}));
}

TEST(FormulaParser, IndexTermsUnlessAnAliasTakesTheName) {
  EXPECT_EQ(Of("i + 100 * j + 10000 * M + 1000000 * N"), Vector{13110705});
  EXPECT_EQ(Of("Abs(i - j) <= 8"), Vector{1});
  const Parsed parsed("i * 2", {"i = Pm(1)"});
  EXPECT_EQ(Evaluate(parsed.expression, {.slots = {{21}}}), Vector{42});
}

TEST(FormulaParser, PowersOfIntegersAreProducts) {
  EXPECT_EQ(Parsed("x ** 3", {"x = Vi(1)"}).expression->op, Op::power_of);
  EXPECT_EQ(Parsed("x ** 2", {"x = Vi(1)"}).expression->op, Op::square);
  EXPECT_EQ(Parsed("x ** -1", {"x = Vi(1)"}).expression->op, Op::inverse);
  EXPECT_EQ(Parsed("x ** 2.5", {"x = Vi(1)"}).expression->op, Op::power);
  EXPECT_EQ(Parsed("Pow(x, -3)", {"x = Vi(1)"}).expression->first, -3);
}

TEST(FormulaParser, VectorFunctions) {
  EXPECT_EQ(Of("SqDist(v, w)"), Vector{9 + 49 + 9});
  EXPECT_EQ(Of("SqDist(v, x)"), Vector{1 + 16 + 1});
  EXPECT_EQ(Of("(v | x)"), Vector{4});
  EXPECT_EQ(Of("Sum(v)"), Vector{2});
  EXPECT_EQ(Of("SqNorm2(v)"), Vector{14});
  EXPECT_EQ(Of("Norm2(v)"), Vector{std::sqrt(14.0)});
  EXPECT_EQ(Of("Elem(v, 1)"), Vector{-2});
  EXPECT_EQ(Of("Extract(w, 1, 2)"), (Vector{5, 6}));
  EXPECT_EQ(Of("Concat(v, x, w)"), (Vector{1, -2, 3, 2, 4, 5, 6}));
  EXPECT_EQ(Of("OneHot(x, 4)"), (Vector{0, 0, 1, 0}));
  EXPECT_EQ(Of("TensorProd(v, Concat(x, y))"), (Vector{2, 3, -4, -6, 6, 9}));
  EXPECT_EQ(Of("MatVecMult(Concat(v, w), w)"), (Vector{12, 77}));
  EXPECT_EQ(Of("VecMatMult(Concat(x, y), Concat(v, w))"), (Vector{14, 11, 24}));
  EXPECT_EQ(Of("WeightedSqNorm(x, v)"), Vector{28});
  EXPECT_EQ(Of("WeightedSqNorm(w, v)"), Vector{4 + 20 + 54});
  EXPECT_EQ(Of("WeightedSqNorm(TensorProd(v, w), v)"), Vector{14 * 12});
  EXPECT_EQ(Of("WeightedSqDist(x, v, w)"), Vector{2 * 67});
  EXPECT_EQ(Of("Normalize(v)")[2], 3 / std::sqrt(14.0));
  EXPECT_EQ(Of("Normalize(v * 0)"), (Vector{0, 0, 0}));
  EXPECT_EQ(Of("Grad(x * SqNorm2(v), v, y)"), (Vector{12, -24, 36}));
  EXPECT_EQ(Of("Grad(x, v, y)"), (Vector{0, 0, 0}));
}

TEST(FormulaParser, Choices) {
  EXPECT_EQ(Of("IfElse(v, w, x)"), (Vector{4, 2, 6}));
  EXPECT_EQ(Of("IfElse(x - 2, 1, Log(-x))"), Vector{1});
  EXPECT_EQ(Of("Where(x < x, Log(-x), 2) + Where(x - x, 3, 4) + Where(0 / 0, 8, x)"), Vector{14});
  EXPECT_EQ(Of("Where(x == x, -inf, 1)"), Vector{-std::numeric_limits<double>::infinity()});
  EXPECT_EQ(Of("Clamp(v, -1, 2)"), (Vector{1, -1, 2}));
  EXPECT_EQ(Of("Step(x - 2)"), Vector{1});
  EXPECT_EQ(Of("ReLU(v)"), (Vector{1, 0, 3}));
}

TEST(FormulaParser, VariablesInTheFormula) {
  const Parsed parsed("Vi(1, 2) * x + Var(2, 1, 2)", {"x = Vj(0, 2)"});
  const std::vector<Variable> all = parsed.variables.Complete("f");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "x");
  EXPECT_EQ(all[1].index, FormulaIndex::i);
  EXPECT_EQ(all[1].dim, 2);
  EXPECT_EQ(all[2].index, FormulaIndex::parameter);
  EXPECT_NE(all[1].name, "");
  EXPECT_NE(all[1].name, all[2].name);
  EXPECT_EQ(parsed.expression->dependence, Dependence::ij);
}

TEST(FormulaParser, AliasesTakePositionsAsGivenOrInTurn) {
  const Parsed parsed("b", {"b = Vi(1, 3)", "a = Vj(0, 2)", "Pm(5)", " c=Var( 3 ,1,0 ) "});
  const std::vector<Variable> all = parsed.variables.Complete("f");
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].name, "a");
  EXPECT_EQ(all[1].name, "b");
  EXPECT_EQ(all[2].dim, 5);
  EXPECT_EQ(all[3].name, "c");
}

TEST(FormulaParser, ErrorsPointAtThePlace) {
  EXPECT_EQ(Refused("x + Exq(y)"),
            "f: formula: expected a function of the language, got 'Exq' (did you mean Exp?)\n"
            "  x + Exq(y)\n"
            "      ^");
  EXPECT_EQ(Refused("v * (w - Concat(x, y))"),
            "f: formula: expected - with operands of one dimension, or of dimension 1, got "
            "dimensions 3 and 2\n"
            "  v * (w - Concat(x, y))\n"
            "         ^");
}

TEST(FormulaParser, Refusals) {
  const auto says = [](std::string_view text, std::string_view part) {
    const std::string error = Refused(text);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  says("", "got the end");
  says("x +", "got the end");
  says("(x", ", got the end");
  says("x y", "an operator or the end, got 'y'");
  says("2x", "got 'x'");
  says("x ^ 2", "**");
  says("x = 2", "==");
  says("x < y < 3", "one comparison");
  says("x # y", "'#'");
  says("\xce\xb1 * x", "'?'");
  says("z", "'z'");
  says("xq", "did you mean x?");
  says("Exp", "Exp(x), got no parentheses");
  says("x(3)", "the variable 'x'");
  says("frobnicate(x)", "a function of the language, got 'frobnicate'\n");
  says("exp(x)", "did you mean Exp?");
  says("Exp()", "all of Exp(x)");
  says("Exp(x, y)", ") of Exp(x), got ','");
  says("SqDist(v)", ", of SqDist(x, y), got ')'");
  says("SqDist(v, Concat(x, y))", "dimensions 3 and 2");
  says("(v | Concat(x, y))", "dimensions 3 and 2");
  says("Pow(x, 1.5)", "an integer, got '1.5'");
  says("Elem(v, 3)", "components within 0 to 2, got 3 to 3");
  says("Elem(v, -1)", "components within 0 to 2");
  says("Extract(v, 2, 2)", "got 2 to 3");
  says("Extract(v, 0, 0)", "components within");
  says("OneHot(x, 0)", "at least 1");
  says("OneHot(v, 3)", "dimension 1, got dimension 3");
  says("MatVecMult(v, Concat(x, y))", "a multiple of the vector's, got dimensions 3 and 2");
  says("VecMatMult(Concat(x, y), v)", "dimensions 2 and 3");
  says("WeightedSqNorm(Concat(x, y), v)", "1, 3 or 3^2, got dimension 2");
  says("Grad(x, x + y, y)", "a variable");
  says("Grad(v, x, y)", "e of F's dimension, 3, got dimension 1");
  says("Vi(3)", "a position and a dimension");
  says("Vi(0, 2)", "Vi(0, 1) as before at position 0, got Vi(0, 2)");
  says("Vi(-1, 2)", "a position from 0");
  says("Vi(9, 0)", "a dimension from 1");
  says("Var(9, 1, 3)", "a category from 0 to 2, got 3");
  says("1e999", "float64");
  says("OneHot(x, 99999999)", "dimensions up to");
  says("OneHot(x, 999999999999)", "an integer up to 2147483647, got");
  says("Zero(0)", "at least 1, got 0");
  says(std::string(1000000, 'q'), "'qqqqqq");
}

TEST(FormulaParser, RefusedAliases) {
  const auto says = [](std::initializer_list<std::string_view> aliases, std::string_view part) {
    const std::string error = ErrorOf([&] { Parsed("1", aliases).Names(); });
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_NE(error.find("f: aliases"), std::string::npos) << error;
  };
  says({"x"}, "Vi(dim)");
  says({"x = Vk(3)"}, "got 'Vk'");
  says({"x = Vi(3) y"}, "the end, got 'y'");
  says({"x = Vi()"}, "a dimension");
  says({"x = Vi(3"}, "), got the end");
  says({"3 = Vi(3)"}, "got '3'");
  says({"x = Vi(1)", "x = Vj(1)"}, "a second x");
  says({"x = Vi(0, 1)", "y = Vj(0, 1)"}, "Vi(0, 1) as before");
  says({"x = Vi(0, 1)", "y = Vj(3, 1)"}, "none at 1, 2");
}

TEST(FormulaParser, NestingIsBounded) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '(') + "x" + std::string(depth, ')');
  };
  EXPECT_EQ(Of(nested(150)), Vector{2});
  EXPECT_NE(Refused(nested(100000)).find("at most"), std::string::npos);
  EXPECT_NE(Refused(std::string(100000, '-')).find("at most"), std::string::npos);
  EXPECT_NE(Refused(std::string(100000, '(')).find("at most"), std::string::npos);
  std::string calls, powers = "x", sum = "x";
  for (int k = 0; k < 100000; ++k) {
    calls += "Exp(";
    powers += "**x";
    sum += "+y*x";
  }
  EXPECT_NE(Refused(calls).find("at most"), std::string::npos);
  EXPECT_NE(Refused(powers).find("at most"), std::string::npos);
  EXPECT_NE(Refused(sum).find("deep"), std::string::npos);
  EXPECT_NE(Refused("TensorProd(OneHot(x, 2000), OneHot(x, 2000))").find("dimensions up to"),
            std::string::npos);
}

TEST(FormulaFunctions, TheTableIsComplete) {
  // What issue by issue was promised; pykeops' names where it has them.
  for (const std::string_view name : {"Exp",
                                      "Log",
                                      "Square",
                                      "Sqrt",
                                      "Rsqrt",
                                      "Inv",
                                      "Pow",
                                      "Powf",
                                      "Abs",
                                      "Sign",
                                      "Step",
                                      "ReLU",
                                      "Sin",
                                      "Cos",
                                      "Atan",
                                      "Tanh",
                                      "Sigmoid",
                                      "Softplus",
                                      "Log1p",
                                      "Expm1",
                                      "LogAddExp",
                                      "Clamp",
                                      "IfElse",
                                      "Minus",
                                      "XLogX",
                                      "Sum",
                                      "SqNorm2",
                                      "Norm2",
                                      "Normalize",
                                      "SqDist",
                                      "WeightedSqDist",
                                      "WeightedSqNorm",
                                      "Elem",
                                      "Extract",
                                      "Concat",
                                      "OneHot",
                                      "MatVecMult",
                                      "VecMatMult",
                                      "TensorProd",
                                      "Grad",
                                      "Add",
                                      "Subtract",
                                      "Mult",
                                      "Divide",
                                      "Scalprod"}) {
    EXPECT_NE(FindFunction(name), nullptr) << name;
  }
  for (const Function& function : Functions()) {
    EXPECT_NE(function.signature.find(function.name), std::string_view::npos) << function.name;
    EXPECT_FALSE(function.dimensions.empty() || function.summary.empty()) << function.name;
    EXPECT_EQ(FindFunction(function.name), &function) << "a second one of this name";
  }
}

}  // namespace
}  // namespace logsum::formula
