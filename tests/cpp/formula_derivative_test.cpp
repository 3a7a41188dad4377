// Derivatives of every function, first and second, against difference quotients.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>

#include "formula/differentiate.hpp"
#include "formula/functions.hpp"
#include "formula_evaluate.hpp"
#include "formula_text.hpp"

namespace logsum::formula {
namespace {

// Two quotients of steps h and 2h, combined, are wrong by h^4 times a fifth derivative, about 1e-12
// here, and by rounding, 2^-52 / h = 2e-13 times values up to a hundred.
constexpr double kStep = 1e-3;
constexpr double kQuotientTolerance = 2e-9;

struct Sample {
  std::string text;
  // Variables lie in [low, high], where the function is smooth.
  double low = -1, high = 1;
};

// Variables: x, y, z of dimension 1; u, v, w of dimension 3; A of dimension 9.
const std::initializer_list<std::string_view> kAliases = {
    "x = Vi(1)", "y = Vj(1)", "z = Pm(1)", "u = Vi(3)", "v = Vj(3)", "w = Pm(3)", "A = Vj(9)"};
constexpr std::array<std::size_t, 7> kDims = {1, 1, 1, 3, 3, 3, 9};

const std::map<std::string, std::vector<Sample>>& Samples() {
  static const std::map<std::string, std::vector<Sample>> samples = {
      {"Add", {{"(u + x) * (v + w)"}}},
      {"Subtract", {{"(x - u) * (v - w) - z"}}},
      {"Mult", {{"u * v * x"}, {"x * u * y * v"}, {"u * u * v"}}},
      {"Divide", {{"u / x / v", 0.5, 2}, {"x / u", 0.5, 2}, {"3 / (u * y)", 0.5, 2}}},
      {"Minus", {{"-(u * v)"}}},
      {"Inv", {{"Inv(u * x)", 0.5, 2}}},
      {"Square", {{"Square(u - v)"}, {"Square(u * x)"}}},
      {"Sqrt", {{"Sqrt(u * v)", 0.5, 2}}},
      {"Rsqrt", {{"Rsqrt(u * v)", 0.5, 2}}},
      {"Pow", {{"Pow(u - v, 3)"}, {"Pow(u, 5) * y"}, {"Pow(u + x, -2)", 0.5, 2}, {"u ** 2"}}},
      {"Powf", {{"Powf(u, v)", 0.5, 2}, {"x ** u", 0.5, 2}, {"u ** 1.5", 0.5, 2}}},
      {"Exp", {{"Exp(u * v)"}, {"Exp(-Square(x - y) * z)"}}},
      {"Expm1", {{"Expm1(u * v)"}}},
      {"Log", {{"Log(u * v)", 0.5, 2}}},
      {"Log1p", {{"Log1p(u * v)", 0.1, 2}}},
      {"XLogX", {{"XLogX(u * v)", 0.5, 2}}},
      {"LogAddExp", {{"LogAddExp(u, v * x)"}, {"LogAddExp(x, u)"}}},
      {"Sin", {{"Sin(u * v)"}}},
      {"Cos", {{"Cos(u * v)"}}},
      {"Atan", {{"Atan(u * v)"}}},
      {"Tanh", {{"Tanh(u * v)"}}},
      {"Sigmoid", {{"Sigmoid(u * v)"}}},
      {"Softplus", {{"Softplus(u * v)"}}},
      {"Abs", {{"Abs(u) * v", 0.5, 2}, {"Abs(u) * v", -2, -0.5}}},
      {"Sign", {{"Sign(u) * v", 0.5, 2}}},
      {"Step", {{"Step(u) * v", 0.5, 2}}},
      {"ReLU", {{"ReLU(u) * v", 0.5, 2}, {"ReLU(u) * v", -2, -0.5}}},
      {"Clamp",
       {{"Clamp(u, v - 5, w + 5) * u"},
        {"Clamp(u, v + 5, w + 9) * u"},
        {"Clamp(u, v - 9, x - 5)"},
        {"Clamp(x, u + 9, v) * u"}}},
      {"IfElse",
       {{"IfElse(x, u * v, w)", 0.5, 2},
        {"IfElse(x, u, v | y)", -2, -0.5},
        {"IfElse(u, x, v * w)", -2, -0.5}}},
      {"Where",
       {{"Where(x, u * v, w)", 0.5, 2},
        {"Where(u < 0, x, v * w)", -2, 2},
        {"Where(i != i, x, v * w)", -2, 2}}},
      {"LessThan", {{"(u < 9) * v"}}},
      {"LessOrEqual", {{"(u <= 9) * v"}}},
      {"Equal", {{"(u == 9) * v"}}},
      {"NotEqual", {{"(u != 9) * v"}}},
      {"Sum", {{"Sum(u * v) * x"}, {"Exp(Sum(u)) * w"}, {"Sum(Square(u)) * x"}}},
      {"Scalprod", {{"(u | v) * w"}, {"(u | x) * (u | u)"}, {"Exp(u * x | v)"}}},
      {"SqNorm2", {{"Exp(SqNorm2(u * x))"}}},
      {"Norm2", {{"Norm2(u - v) * w", 0.5, 2}, {"Norm2(x) * Norm2(u)", 0.5, 2}}},
      {"Normalize", {{"Normalize(u) * v", 0.5, 2}}},
      {"SqDist", {{"Exp(-SqDist(u, v) / 2) * w"}, {"SqDist(u * x, v) ** 2"}, {"SqDist(u, x)"}}},
      {"WeightedSqNorm",
       {{"WeightedSqNorm(x, u)"}, {"WeightedSqNorm(v, u)"}, {"WeightedSqNorm(A, u * x)"}}},
      {"WeightedSqDist",
       {{"WeightedSqDist(x, u, v)"}, {"WeightedSqDist(w, u, v)"}, {"WeightedSqDist(A, u, v)"}}},
      {"Elem", {{"Elem(u * v, 1) ** 2"}}},
      {"Extract", {{"Square(Extract(A, 2, 3)) * u"}, {"Extract(Concat(u, v) ** 2, 1, 4)"}}},
      {"Concat", {{"Concat(u * x, x, Square(v))"}, {"Exp(Concat(x, y) | Concat(z, x))"}}},
      {"OneHot", {{"OneHot(x, 3) * u * v"}}},
      {"MatVecMult", {{"MatVecMult(A, u) * v"}, {"MatVecMult(TensorProd(u, v), w * x)"}}},
      {"VecMatMult", {{"VecMatMult(u, A * x) * v"}}},
      {"TensorProd", {{"TensorProd(u * x, v)"}, {"TensorProd(u, u)"}}},
      {"IntCst", {{"IntCst(3) * u * x"}}},
      {"Zero", {{"(Zero(3) + u) * v"}}},
      {"Grad", {{"Grad(Exp(u * v), u, w)"}, {"Grad(SqDist(u, v) ** 2, v, x)"}}},
  };
  return samples;
}

class Random {
 public:
  explicit Random(unsigned seed) : generator_(seed) {}
  double operator()(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(generator_);
  }
  Vector operator()(std::size_t n, double low, double high) {
    Vector values(n);
    for (double& value : values) value = (*this)(low, high);
    return values;
  }

 private:
  std::mt19937 generator_;
};

double Dot(const Vector& x, const Vector& y) {
  double sum = 0;
  for (std::size_t d = 0; d < x.size(); ++d) sum += x[d] * y[d];
  return sum;
}

// The derivative of (value | weights) in every component of slot `slot`.
Vector Quotients(const Expression& value, const Vector& weights, Point point, std::size_t slot) {
  Vector gradient;
  for (double& component : point.slots[slot]) {
    const double x = component;
    const auto at = [&](double step) {
      component = x + step;
      return Dot(Evaluate(value, point), weights);
    };
    const double near = (at(kStep) - at(-kStep)) / (2 * kStep);
    const double far = (at(2 * kStep) - at(-2 * kStep)) / (4 * kStep);
    component = x;
    gradient.push_back(near + (near - far) / 3);
  }
  return gradient;
}

void ExpectNear(const Vector& x, const Vector& expected, const std::string& what) {
  ASSERT_EQ(x.size(), expected.size()) << what;
  double scale = 1;
  for (const double value : expected) scale = std::max(scale, std::abs(value));
  for (std::size_t d = 0; d < x.size(); ++d) {
    EXPECT_NEAR(x[d], expected[d], kQuotientTolerance * scale) << what << ", component " << d;
  }
}

// A parsed sample with its gradients, whose adjoint is a further slot.
struct Case {
  explicit Case(const Sample& sample, unsigned seed) : parsed(sample.text, kAliases), random(seed) {
    for (std::size_t k = 0; k < kDims.size(); ++k) {
      variables.push_back(parsed.VariableNode(k));
      point.slots.push_back(random(kDims[k], sample.low, sample.high));
    }
    adjoint = Slot(parsed.expression->dim);
    const Root root[] = {{parsed.expression, adjoint}};
    gradients = Gradient(parsed.builder, root, variables);
  }

  // A new variable with a value.
  Expression Slot(std::int64_t dim) {
    const auto slot = static_cast<std::int64_t>(point.slots.size());
    point.slots.push_back(random(static_cast<std::size_t>(dim), -1, 1));
    return parsed.builder.Variable(slot, dim, Dependence::i);
  }
  Vector Value(const Expression& x, std::size_t dim) const {
    return x ? Evaluate(x, point) : Vector(dim, 0.0);
  }

  Parsed parsed;
  Random random;
  Point point;
  std::vector<Expression> variables, gradients;
  Expression adjoint;
};

template <class Check>
void ForEverySample(const Check& check) {
  unsigned seed = 1;
  for (const auto& [name, samples] : Samples()) {
    for (const Sample& sample : samples) {
      SCOPED_TRACE(sample.text);
      Case c(sample, ++seed);
      check(c);
    }
  }
}

TEST(FormulaDerivatives, EveryFunctionHasASample) {
  for (const Function& function : Functions()) {
    EXPECT_TRUE(Samples().contains(std::string(function.name))) << function.name;
  }
}

TEST(FormulaDerivatives, First) {
  ForEverySample([](const Case& c) {
    const Vector weights = Evaluate(c.adjoint, c.point);
    for (std::size_t k = 0; k < kDims.size(); ++k) {
      ExpectNear(c.Value(c.gradients[k], kDims[k]),
                 Quotients(c.parsed.expression, weights, c.point, k),
                 "variable " + std::to_string(k));
    }
  });
}

TEST(FormulaDerivatives, SecondByAllVariablesAndTheAdjoint) {
  ForEverySample([](Case& c) {
    for (std::size_t k = 0; k < kDims.size(); ++k) {
      if (!c.gradients[k]) continue;
      const Expression weights = c.Slot(c.gradients[k]->dim);
      std::vector<Expression> wanted = c.variables;
      wanted.push_back(c.adjoint);
      const Root root[] = {{c.gradients[k], weights}};
      const std::vector<Expression> second = Gradient(c.parsed.builder, root, wanted);
      const Vector values = Evaluate(weights, c.point);
      for (std::size_t m = 0; m < wanted.size(); ++m) {
        ExpectNear(c.Value(second[m], c.point.slots[m].size()),
                   Quotients(c.gradients[k], values, c.point, m),
                   "variables " + std::to_string(k) + " and " + std::to_string(m));
      }
    }
  });
}

TEST(FormulaDerivatives, ThirdOfASum) {
  for (const std::string text :
       {"Exp(-SqDist(u, v) / 2) * x", "Log(1 + (u | v) ** 2)", "Norm2(u) * Sigmoid(x)"}) {
    SCOPED_TRACE(text);
    Case c({text, 0.5, 1}, 7);
    Expression expression = c.gradients[3];
    for (int order = 2; order <= 3; ++order) {
      const Expression weights = c.Slot(expression->dim);
      const Root root[] = {{expression, weights}};
      const Expression next = Gradient(c.parsed.builder, root, c.variables)[3];
      ExpectNear(Evaluate(next, c.point),
                 Quotients(expression, Evaluate(weights, c.point), c.point, 3), text);
      expression = next;
    }
  }
}

TEST(FormulaDerivatives, TangentsAreTheGradientsTranspose) {
  ForEverySample([](Case& c) {
    std::vector<Expression> tangents;
    for (const std::size_t dim : kDims) tangents.push_back(c.Slot(static_cast<std::int64_t>(dim)));
    const Expression tangent =
        Tangent(c.parsed.builder, c.parsed.expression, c.variables, tangents);
    double expected = 0;
    for (std::size_t k = 0; k < kDims.size(); ++k) {
      expected += Dot(c.Value(c.gradients[k], kDims[k]), Evaluate(tangents[k], c.point));
    }
    const Vector value = c.Value(tangent, static_cast<std::size_t>(c.parsed.expression->dim));
    // Both are the same sums in another order.
    const double rounding = 1e-12 * (1 + std::abs(expected));
    EXPECT_NEAR(Dot(value, Evaluate(c.adjoint, c.point)), expected, rounding);
  });
}

TEST(FormulaDerivatives, WhereAFunctionHasNone) {
  const auto gradient = [](std::string_view text, Vector x) {
    Parsed parsed(text, {"x = Vi(3)"});
    const Expression one = parsed.builder.Number(1);
    const Root root[] = {{parsed.expression, one}};
    const Expression x_node = parsed.VariableNode(0);
    const Expression g = Gradient(parsed.builder, root, std::span(&x_node, 1))[0];
    return g ? Evaluate(g, {.slots = {std::move(x)}}) : Vector{};
  };
  EXPECT_EQ(gradient("Norm2(x)", {0, 0, 0}), (Vector{0, 0, 0}));
  EXPECT_EQ(gradient("Sqrt(SqDist(x, x * 0))", {0, 0, 0}), (Vector{0, 0, 0}));
  EXPECT_EQ(gradient("Normalize(x)", {0, 0, 0}), (Vector{0, 0, 0}));
  EXPECT_EQ(gradient("Abs(x)", {0, -1, 1}), (Vector{0, -1, 1}));
  EXPECT_EQ(gradient("ReLU(x)", {0, -1, 1}), (Vector{0, 0, 1}));
  EXPECT_EQ(gradient("Clamp(x, -1, 1)", {-1, 1, 2}), (Vector{1, 1, 0}));
  EXPECT_EQ(gradient("x ** 0 * 2", {0, 1, 2}), Vector{});
  EXPECT_EQ(gradient("Powf(x, 0)", {0, 1, 2}), (Vector{0, 0, 0}));
  EXPECT_EQ(gradient("Powf(2, x) + Powf(0, x)", {1, 2, 3})[0], 2 * std::log(2.0));
  // What is not chosen takes no part.
  EXPECT_EQ(gradient("IfElse(x - 1, x, Log(x))", {1, 2, 3}), (Vector{1, 1, 1}));
  EXPECT_EQ(gradient("IfElse(x, x, 1 / (x * 0))", {1, 2, 3}), (Vector{1, 1, 1}));
}

TEST(FormulaDerivatives, LogAddExpOfInfinities) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Parsed parsed("LogAddExp(x, y)", {"x = Vi(1)", "y = Vi(1)"});
  const Root root[] = {{parsed.expression, parsed.builder.Number(1)}};
  const Expression wanted[] = {parsed.VariableNode(0), parsed.VariableNode(1)};
  const std::vector<Expression> g = Gradient(parsed.builder, root, wanted);
  const auto at = [&](double x, double y) {
    const Point point{.slots = {{x}, {y}}};
    return Vector{Evaluate(g[0], point)[0], Evaluate(g[1], point)[0]};
  };
  EXPECT_EQ(at(-kInfinity, -kInfinity), (Vector{0, 0}));
  EXPECT_EQ(at(-kInfinity, 3), (Vector{0, 1}));
  EXPECT_EQ(at(kInfinity, 3), (Vector{1, 0}));
  EXPECT_DOUBLE_EQ(at(kInfinity, kInfinity)[0], 0.5);
}

TEST(FormulaDerivatives, MasksLeaveOutInfiniteDerivatives) {
  // log 0 is a zero term of a log-sum-exp; p log'(0) would be 0 times infinity.
  Parsed parsed("Log(x) * 2", {"x = Vi(1)", "p = Vi(1)", "e = Vi(1)"});
  Builder& builder = parsed.builder;
  const Expression p = parsed.VariableNode(1), e = parsed.VariableNode(2);
  const Expression x = parsed.VariableNode(0);
  const Root root[] = {{parsed.expression, builder.Make(Op::multiply, {e, p}), p}};
  const Expression first = Gradient(builder, root, std::span(&x, 1))[0];
  EXPECT_EQ(Evaluate(first, {.slots = {{0}, {0}, {1}}}), Vector{0});
  EXPECT_EQ(Evaluate(first, {.slots = {{4}, {0.5}, {1}}}), Vector{0.25});
  const Root again[] = {{first, builder.Number(1)}};
  for (const Expression& wanted : {x, e}) {
    const Expression second = Gradient(builder, again, std::span(&wanted, 1))[0];
    EXPECT_EQ(Evaluate(second, {.slots = {{0}, {0}, {1}}}), Vector{0});
  }
}

TEST(FormulaDerivatives, MasksByComponent) {
  Parsed parsed("Exp(Log(x) * y)", {"x = Vi(3)", "y = Vi(1)", "p = Vi(3)"});
  Builder& builder = parsed.builder;
  const Expression p = parsed.VariableNode(2);
  const Root root[] = {{parsed.expression, p, p}};
  const Expression wanted[] = {parsed.VariableNode(0), parsed.VariableNode(1)};
  const std::vector<Expression> g = Gradient(builder, root, wanted);
  const Point point{.slots = {{0, 1, 2}, {1}, {0, 1, 1}}};
  EXPECT_EQ(Evaluate(g[0], point), (Vector{0, 1, 1}));
  EXPECT_DOUBLE_EQ(Evaluate(g[1], point)[0], 2 * std::log(2.0));
}

}  // namespace
}  // namespace logsum::formula
