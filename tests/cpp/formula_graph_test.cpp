// Expressions as graphs: shared, simplified, of bounded size, and printed as they are read.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "formula/differentiate.hpp"
#include "formula/print.hpp"
#include "formula_evaluate.hpp"
#include "formula_text.hpp"

namespace logsum::formula {
namespace {

const std::initializer_list<std::string_view> kAliases = {"x = Vi(1)", "y = Vj(1)", "u = Vi(3)",
                                                          "v = Vj(3)"};

Expression Of(Parsed& parsed, std::string_view text) {
  return Parse({"f", "formula", text}, parsed.builder, parsed.variables);
}

void Count(const Expression& x, std::set<const Node*>& nodes) {
  if (!nodes.insert(x.get()).second) return;
  for (const Expression& operand : x->operands) Count(operand, nodes);
}

std::size_t Size(const Expression& x) {
  std::set<const Node*> nodes;
  Count(x, nodes);
  return nodes.size();
}

TEST(FormulaGraph, EqualPartsAreOneNode) {
  Parsed parsed("1", kAliases);
  EXPECT_EQ(Of(parsed, "Exp(x + y)"), Of(parsed, "Exp(y + x)"));
  EXPECT_EQ(Of(parsed, "(u | v)"), Of(parsed, "Scalprod(v, u)"));
  EXPECT_NE(Of(parsed, "x - y"), Of(parsed, "y - x"));
  EXPECT_EQ(Size(Of(parsed, "Exp(x * y) + Sin(Exp(y * x))")), 6u);
}

TEST(FormulaGraph, Simplifications) {
  Parsed parsed("1", kAliases);
  const auto same = [&](std::string_view a, std::string_view b) {
    EXPECT_EQ(Of(parsed, a), Of(parsed, b)) << a << " and " << b;
  };
  same("1 + 2 * 3", "7");
  same("x * 1", "x");
  same("1 * u", "u");
  same("x + 0", "x");
  same("0 - x", "-x");
  same("-(-x)", "x");
  same("x * x", "Square(x)");
  same("x ** 2", "Square(x)");
  same("x ** 1", "x");
  same("x ** 0", "1");
  same("x / 2", "0.5 * x");
  same("1 / x", "Inv(x)");
  same("x - -y", "x + y");
  same("-x * y", "-(x * y)");
  same("-2 * -x", "2 * x");
  same("Sum(u * v)", "(u | v)");
  same("Sum(Square(u - v))", "SqDist(u, v)");
  same("(u - v | u - v)", "SqDist(u, v)");
  same("Sum(x)", "x");
  same("SqDist(x, y)", "Square(x - y)");
  same("Elem(Concat(x, u, v), 4)", "Elem(v, 0)");
  same("Extract(Extract(Concat(u, v), 1, 4), 2, 2)", "Extract(v, 0, 2)");
}

TEST(FormulaGraph, NothingIsSimplifiedThatInfinitiesWouldTell) {
  Parsed parsed("1", kAliases);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Point point{.slots = {{kInfinity}, {0}, {1, 2, 3}, {1, 2, 3}}};
  for (const std::string_view text : {"x * 0", "x - x", "x / x", "0 / y", "x * y"}) {
    EXPECT_TRUE(std::isnan(Evaluate(Of(parsed, text), point)[0])) << text;
  }
  EXPECT_EQ(Evaluate(Of(parsed, "1 / 0"), point)[0], kInfinity);
  // Not folded: float32 must overflow where it computes.
  EXPECT_EQ(Of(parsed, "1e30 * 1e30")->op, Op::square);
}

TEST(FormulaGraph, DerivativesShareTheirParts) {
  // A chain of which every link uses the one before twice: its tree has 2^60 leaves.
  Parsed parsed("1", kAliases);
  Expression chain = Of(parsed, "x * y");
  for (int k = 0; k < 60; ++k) {
    chain = parsed.builder.Make(
        Op::add, {parsed.builder.Make(Op::sin, {chain}), parsed.builder.Make(Op::exp, {chain})});
  }
  const Root root[] = {{chain, parsed.builder.Number(1)}};
  const Expression x = parsed.VariableNode(0);
  const Expression first = Gradient(parsed.builder, root, std::span(&x, 1))[0];
  EXPECT_LT(Size(first), 6 * Size(chain));
  const Root again[] = {{first, parsed.builder.Number(1)}};
  const Expression second = Gradient(parsed.builder, again, std::span(&x, 1))[0];
  EXPECT_LT(Size(second), 6 * Size(first));
}

TEST(FormulaGraph, SizesOfDerivativesGrowByAFactor) {
  std::vector<std::size_t> sizes;
  for (const int links : {20, 40, 80}) {
    Parsed parsed("x * y", kAliases);
    Expression chain = parsed.expression;
    for (int k = 0; k < links; ++k) {
      chain = parsed.builder.Make(Op::exp, {parsed.builder.Make(Op::square, {chain})});
    }
    const Root root[] = {{chain, parsed.builder.Number(1)}};
    const Expression wanted[] = {parsed.VariableNode(0), parsed.VariableNode(1)};
    const std::vector<Expression> gradients = Gradient(parsed.builder, root, wanted);
    sizes.push_back(Size(parsed.builder.Make(Op::add, gradients)));
  }
  EXPECT_LE(sizes[1], 2 * sizes[0]);
  EXPECT_LE(sizes[2], 2 * sizes[1]);
}

TEST(FormulaGraph, NothingIsComputedForZeroDerivatives) {
  Parsed parsed("Exp(x) * y", kAliases);
  const Root root[] = {{parsed.expression, parsed.builder.Number(1)}};
  const Expression wanted[] = {parsed.VariableNode(2)};
  EXPECT_EQ(Gradient(parsed.builder, root, wanted)[0], nullptr);
  EXPECT_EQ(Of(parsed, "Grad(Step(x) + Sign(y) + (x < y) + i + M, x, y)"), Of(parsed, "0"));
}

TEST(FormulaGraph, TheDerivativeOfAnExponentialSharesTheProduct) {
  // F = b e^x: dF/dx is F itself, times the adjoint.
  Parsed parsed("y * Exp(x)", kAliases);
  const Expression adjoint = Of(parsed, "Vi(4, 1)");
  const Root root[] = {{parsed.expression, adjoint}};
  const Expression x = parsed.VariableNode(0);
  EXPECT_EQ(Gradient(parsed.builder, root, std::span(&x, 1))[0],
            parsed.builder.Make(Op::multiply, {adjoint, parsed.expression}));
}

TEST(FormulaGraph, ExpressionsOutliveTheirBuilderAndJoinAnother) {
  Expression old;
  {
    Parsed parsed("Exp(x + y) * (u | v)", kAliases);
    old = parsed.expression;
  }
  Parsed parsed("1", kAliases);
  Builder builder;
  builder.Adopt(old);
  Variables variables = parsed.variables;
  EXPECT_EQ(Parse({"f", "formula", "(v | u) * Exp(y + x)"}, builder, variables), old);
}

TEST(FormulaGraph, ThreadsReadOneExpression) {
  const Parsed parsed("Exp(-SqDist(u, v)) * x / (1 + Square(y))", kAliases);
  const Point point{.slots = {{1}, {2}, {1, 2, 3}, {1, 2, 4}}};
  const Vector expected = Evaluate(parsed.expression, point);
  std::vector<std::thread> threads;
  std::array<bool, 4> same{};
  for (bool& result : same) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        Builder builder;
        builder.Adopt(parsed.expression);
        const Expression x = builder.Variable(0, 1, Dependence::i);
        const Root root[] = {{parsed.expression, builder.Number(1)}};
        const Expression gradient = Gradient(builder, root, std::span(&x, 1))[0];
        // Linear in x.
        result =
            Evaluate(parsed.expression, point) == expected && Evaluate(gradient, point) == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const bool result : same) EXPECT_TRUE(result);
}

TEST(FormulaPrint, ReadsBackAsTheSame) {
  Parsed parsed("1", kAliases);
  for (const std::string text : {"Square(x - y) * Exp(x + y)",
                                 "x - (y - x)",
                                 "x - y - x",
                                 "x / (y * x)",
                                 "x / y * x",
                                 "-(x + y)",
                                 "-x ** 2",
                                 "(-x) ** 3",
                                 "x ** -3",
                                 "x ** y ** x",
                                 "(x ** y) ** x",
                                 "2 ** -x",
                                 "-2 * x",
                                 "x - -2.5",
                                 "1e-30 * x",
                                 "(u | v) * x",
                                 "Exp(u | v)",
                                 "(u + x | v) + y",
                                 "(x < y) * (x != y)",
                                 "(x <= y) == x",
                                 "Elem(u, 2) + Sum(Extract(v, 1, 2))",
                                 "Concat(u, x, v)",
                                 "OneHot(x, 5)",
                                 "MatVecMult(TensorProd(u, v), u)",
                                 "VecMatMult(u, TensorProd(u, v))",
                                 "IfElse(x, y, Clamp(x, 0, 1))",
                                 "Where(x < y, inf, -inf)",
                                 "LogAddExp(x, y)",
                                 "i * j - M / N",
                                 "XLogX(x) + Log1p(y) + Rsqrt(x) + Norm2(u - v)"}) {
    const Expression expression = Of(parsed, text);
    const Expression roots[] = {expression};
    const Printed printed = Print(roots, parsed.Names());
    ASSERT_EQ(printed.roots.size(), 1u);
    if (!printed.parts.empty()) continue;
    EXPECT_EQ(Of(parsed, printed.roots[0]), expression) << text << ": " << printed.roots[0];
  }
}

TEST(FormulaPrint, LooksLikeWhatWasWritten) {
  Parsed parsed("1", kAliases);
  const auto printed = [&](std::string_view text) {
    const Expression roots[] = {Of(parsed, text)};
    return Print(roots, parsed.Names()).roots[0];
  };
  EXPECT_EQ(printed("Square(x-y)*Exp(x+y)"), "Square(x - y) * Exp(x + y)");
  EXPECT_EQ(printed("Exp(-SqDist(u,v)/2)"), "Exp(-0.5 * SqDist(u, v))");
  EXPECT_EQ(printed("((x)) + ((y*x))"), "x + y * x");
}

TEST(FormulaPrint, SharedPartsAreNamedOnce) {
  Parsed parsed("Exp(x * y) + Sin(Exp(x * y))", kAliases);
  const Expression roots[] = {parsed.expression};
  const Printed printed = Print(roots, parsed.Names());
  ASSERT_EQ(printed.parts.size(), 1u);
  EXPECT_EQ(printed.parts[0], "t1 = Exp(x * y)");
  EXPECT_EQ(printed.roots[0], "t1 + Sin(t1)");
}

TEST(FormulaPrint, LinearInTheGraph) {
  Parsed parsed("x", {"x = Vi(1)", "t1 = Vj(1)"});
  Expression chain = parsed.expression;
  for (int k = 0; k < 2000; ++k) {
    chain = parsed.builder.Make(Op::add, {chain, parsed.builder.Make(Op::exp, {chain})});
  }
  const Expression roots[] = {chain};
  const Printed printed = Print(roots, parsed.Names());
  std::size_t length = 0;
  for (const std::string& part : printed.parts) length += part.size();
  EXPECT_LT(length, 2000u * 40);
  EXPECT_EQ(printed.parts[0].substr(0, 5), "t_1 =");
}

}  // namespace
}  // namespace logsum::formula
