// The tile engine against brute force in double: operations, folds, shapes, strides.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "logsum/config.hpp"
#include "reduce_engine_check.hpp"

namespace logsum {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// Calls body with a problem of each shape and type.
template <class Body>
void ForShapes(const Body& body) {
  for (const auto& [rows, columns] :
       {std::pair{1, 1}, {5, 7}, {40, 70}, {1, 2600}, {300, 1}, {37, 600}, {530, 33}}) {
    const auto run = [&]<class T>(T) {
      Problem problem(rows, columns, sizeof(T) == 8);
      body(problem, T{},
           std::to_string(rows) + " x " + std::to_string(columns) + (sizeof(T) == 8 ? " f64" : ""));
    };
    run(float{});
    run(double{});
  }
}

TEST(ReduceEngine, TutorialFormula) {
  ForShapes([]<class T>(Problem& problem, T, const std::string& what) {
    const auto x = problem.Variable(kI, 1, Normal(1)), y = problem.Variable(kJ, 1, Normal(2));
    const auto a = problem.Variable(kJ, 1, Normal(3)), p = problem.Variable(kP, 1, Normal(4));
    const auto f = Square(p - a) * Exp(x + y);
    for (const FormulaIndex kept : {kI, kJ}) {
      problem.Fold(Fold::logsumexp, f, kept);
      problem.Fold(Fold::sum, f, kept);
    }
    problem.Fold(Fold::sum, f, kP);
    Check<T>(problem, what, 20 * kTolerance<T>);
  });
}

TEST(ReduceEngine, AllFolds) {
  ForShapes([]<class T>(Problem& problem, T, const std::string& what) {
    const auto x = problem.Variable(kI, 3, Normal(1)), y = problem.Variable(kJ, 3, Normal(2));
    const auto b = problem.Variable(kJ, 5, Normal(3)), c = problem.Variable(kI, 5, Normal(3));
    const auto s = -SqDist(x, y);
    for (const FormulaIndex kept : {kI, kJ}) {
      problem.Fold(Fold::sum, x * y, kept);
      problem.Fold(Fold::logsumexp, s, kept);
      problem.Fold(Fold::logsumexp, x + y, kept);
      problem.Fold(Fold::min, x * y, kept, {Result::value, Result::argument});
      problem.Fold(Fold::max, x * y, kept, {Result::value, Result::argument});
      problem.Fold(Fold::kmin, x * y, kept, {Result::value, Result::argument}, nullptr, 3);
      problem.Fold(Fold::softmax_weight, s, kept, {Result::value, Result::lse}, b + c);
      problem.Fold(Fold::softmax_weight, s, kept, {Result::value, Result::lse}, b);
      problem.Fold(Fold::softmax_weight, s, kept, {Result::value, Result::lse}, c);
      problem.Fold(Fold::logsumexp_weight, s, kept, {Result::value}, Exp(b));
    }
    Check<T>(problem, what, 20 * kTolerance<T>);
  });
}

struct Case {
  const char* name;
  std::function<Expression(Expression x, Expression y, Expression p)> make;  // of i, j, parameter
};

// Every operation on pairs, on i alone and on j alone.
TEST(ReduceEngine, Operations) {
  const auto unary = [](Op op, double shift = 0, bool positive = false, std::int64_t first = 0) {
    return [=](Expression x, Expression y, Expression) {
      Expression z = x + y;
      if (positive) z = Square(z) + Number(0.25);
      return E(op, {z + Number(shift)}, first);
    };
  };
  const auto binary = [](Op op, bool positive = false) {
    return [=](Expression x, Expression y, Expression p) {
      return positive ? E(op, {Square(x) + Number(0.5), y + p}) : E(op, {x + p, y});
    };
  };
  const std::vector<Case> cases = {
      {"negate", unary(Op::negate)},
      {"exp", unary(Op::exp)},
      {"log", unary(Op::log, 0, true)},
      {"square", unary(Op::square)},
      {"sqrt", unary(Op::sqrt, 0, true)},
      {"rsqrt", unary(Op::rsqrt, 0, true)},
      {"inverse", unary(Op::inverse, 0, true)},
      {"abs", unary(Op::abs)},
      {"sign", unary(Op::sign)},
      {"step", unary(Op::step)},
      {"relu", unary(Op::relu)},
      {"sin", unary(Op::sin)},
      {"cos", unary(Op::cos)},
      {"atan", unary(Op::atan)},
      {"tanh", unary(Op::tanh)},
      {"sigmoid", unary(Op::sigmoid)},
      {"softplus", unary(Op::softplus)},
      {"log1p", unary(Op::log1p, 0, true)},
      {"expm1", unary(Op::expm1)},
      {"xlogx", unary(Op::xlogx, 0, true)},
      {"power_of 3", unary(Op::power_of, 0, false, 3)},
      {"power_of -2", unary(Op::power_of, 0, true, -2)},
      {"add", binary(Op::add)},
      {"subtract", binary(Op::subtract)},
      {"multiply", binary(Op::multiply)},
      {"divide", [](Expression x, Expression y,
                    Expression) { return E(Op::divide, {x, Square(y) + Number(0.5)}); }},
      {"power", binary(Op::power, true)},
      {"logaddexp", binary(Op::logaddexp)},
      {"equal", binary(Op::equal)},
      {"not_equal", binary(Op::not_equal)},
      {"less", binary(Op::less)},
      {"less_equal", binary(Op::less_equal)},
      {"keep",
       [](Expression x, Expression y, Expression) { return E(Op::keep, {E(Op::relu, {x}), y}); }},
      {"ratio", binary(Op::ratio)},
      {"clamp", [](Expression x, Expression y,
                   Expression p) { return E(Op::clamp, {x, -Square(y), Square(p)}); }},
      {"if_else",
       [](Expression x, Expression y, Expression p) { return E(Op::if_else, {x, y, p}); }},
      {"probability",
       [](Expression x, Expression y, Expression p) { return E(Op::probability, {x, y, p}); }},
      {"x y + p", [](Expression x, Expression y, Expression p) { return x * y + p; }},
      {"x y - p", [](Expression x, Expression y, Expression p) { return x * y - p; }},
      {"p - x y", [](Expression x, Expression y, Expression p) { return p - x * y; }},
      {"e^(x - y) p", [](Expression x, Expression y, Expression p) { return Exp(x - y) * p; }},
      {"e^(x y) p", [](Expression x, Expression y, Expression p) { return p * Exp(x * y); }},
      {"e^(-x)", [](Expression x, Expression y, Expression) { return Exp(-(x + y)); }},
      {"keep x y", [](Expression x, Expression y,
                      Expression p) { return E(Op::keep, {E(Op::relu, {x}), y * (x + p)}); }},
      {"sum", [](Expression x, Expression y,
                 Expression) { return Make(Op::sum, {E(Op::relu, {x + y})}, 1); }},
      {"sum of squares", [](Expression x, Expression y,
                            Expression p) { return Make(Op::sum, {Square(x + y * p)}, 1); }},
      {"dot", [](Expression x, Expression y, Expression p) { return Dot(x + p, y); }},
      {"dot of pairs", [](Expression x, Expression y, Expression) { return Dot(x + y, x - y); }},
      {"sqdist", [](Expression x, Expression y, Expression) { return SqDist(y, x); }},
      {"sqdist of pairs",
       [](Expression x, Expression y, Expression p) { return SqDist(x * y, p); }},
      {"a part beside the whole",
       [](Expression x, Expression y, Expression) {
         const auto v = x + y;
         return v * Make(Op::extract, {v}, 1, 0) - Make(Op::extract, {v}, 1, 1) * v;
       }},
      {"negative sqdist", [](Expression x, Expression y, Expression) { return -SqDist(y, x); }},
      {"extract",
       [](Expression x, Expression y, Expression) { return Make(Op::extract, {x + y}, 2, 1); }},
      {"extract of i",
       [](Expression x, Expression y, Expression) {
         return Make(Op::extract, {x}, 2, 1) * Make(Op::extract, {y}, 2, 0);
       }},
      {"pad", [](Expression x, Expression y, Expression) { return Make(Op::pad, {x * y}, 6, 2); }},
      {"concat", [](Expression x, Expression y,
                    Expression p) { return Make(Op::concat, {x * y, p, x, Number(2)}, 10); }},
      {"broadcast", [](Expression x, Expression y,
                       Expression) { return Make(Op::broadcast, {Make(Op::sum, {x * y}, 1)}, 4); }},
      {"one_hot",
       [](Expression x, Expression y, Expression) {
         return Make(Op::one_hot, {Make(Op::extract, {x + y}, 1, 0)}, 4);
       }},
      {"tensor_product",
       [](Expression x, Expression y, Expression) { return Make(Op::tensor_product, {x, y}, 9); }},
      {"matvec",
       [](Expression x, Expression y, Expression p) {
         return Make(Op::matvec, {Make(Op::tensor_product, {x, p}, 9), y}, 3);
       }},
      {"vecmat",
       [](Expression x, Expression y, Expression p) {
         return Make(Op::vecmat, {y, Make(Op::tensor_product, {x, p}, 9)}, 3);
       }},
      {"index",
       [](Expression x, Expression, Expression) {
         return E(Op::less_equal,
                  {Leaf(Op::index_i, Dependence::i), Leaf(Op::index_j, Dependence::j)}) *
                x;
       }},
      {"sizes",
       [](Expression x, Expression, Expression) {
         return x * Leaf(Op::size_i, Dependence::parameter) +
                Leaf(Op::size_j, Dependence::parameter);
       }},
  };
  for (const Case& test : cases) {
    const auto run = [&]<class T>(T) {
      Problem problem(21, 70, sizeof(T) == 8);
      const auto x = problem.Variable(kI, 3, Normal(1)), y = problem.Variable(kJ, 3, Normal(2));
      const auto p = problem.Variable(kP, 3, Normal(4));
      for (const FormulaIndex kept : {kI, kJ}) problem.Fold(Fold::sum, test.make(x, y, p), kept);
      problem.Fold(Fold::sum, test.make(x, x * p, p), kI);
      problem.Fold(Fold::sum, test.make(y * p, y, p), kI);
      problem.Fold(Fold::sum, test.make(p, p, p), kP);
      Check<T>(problem, test.name, kTolerance<T>, config().cpu_targets);
    };
    run(float{});
    run(double{});
  }
}

// Sums of vectors with scalar weights go another way than others, and differences of vectors.
TEST(ReduceEngine, WeightedSums) {
  for (const std::int64_t dim : {4, 17, 64}) {
    const auto run = [&]<class T>(T) {
      Problem problem(37, 301, sizeof(T) == 8);
      const auto x = problem.Variable(kI, dim, Normal(1, 0.3)),
                 y = problem.Variable(kJ, dim, Normal(2, 0.3));
      const auto e = problem.Variable(kI, 1, Normal(3)), p = problem.Variable(kP, 1, Normal(4));
      const auto s = Exp(-SqDist(x, y));
      for (const FormulaIndex kept : {kI, kJ}) {
        problem.Fold(Fold::sum, s * y, kept);
        problem.Fold(Fold::sum, -(s * e) * x, kept);
        problem.Fold(Fold::sum, E(Op::keep, {s, Number(-2) * (e * s) * (x - y)}), kept);
        problem.Fold(Fold::sum, E(Op::keep, {s, -(s * (y - x)) * p}), kept);
        problem.Fold(Fold::sum, s * (x - y) + E(Op::divide, {y * s, p}) - x * s, kept);
      }
      Check<T>(problem, "dimension " + std::to_string(dim), 4 * kTolerance<T>,
               config().cpu_targets);
    };
    run(float{});
    run(double{});
  }
}

// A weight of zero keeps infinite and undefined vectors out.
TEST(ReduceEngine, WeightedSumsKeepOut) {
  Problem problem(20, 100);
  const auto x = problem.Variable(kI, 5, Normal(1)), y = problem.Variable(kJ, 5, Normal(2));
  problem.values[0][7] = kNaN;
  problem.values[1][33] = kInf;
  problem.values[1][35] = -kInf;
  problem.values[1][211] = kNaN;
  // Zero in the rows and columns of those, and in most others.
  const auto a = problem.Variable(kI, 1, [n = 0]() mutable { return n++ % 2; });
  const auto b = problem.Variable(kJ, 1, [n = 0]() mutable { return n++ % 6 == 0 ? 0 : n % 3; });
  problem.values[3][7] = problem.values[3][42] = 0;
  const auto w = E(Op::relu, {a * b});
  for (const FormulaIndex kept : {kI, kJ}) {
    problem.Fold(Fold::sum, E(Op::keep, {w, w * (x - y)}), kept);
    problem.Fold(Fold::sum, E(Op::keep, {w, w * (kept == kI ? y : x)}), kept);
  }
  problem.values[2][1] = 0;
  Check<float>(problem, "keep");
}

// Any memory order, and half types.
TEST(ReduceEngine, Strides) {
  const auto run = [&]<class T>(T, double tolerance) {
    for (const std::int64_t dim : {1, 2, 3, 4, 5, 16}) {
      for (const bool transposed : {false, true}) {
        Problem problem(45, 67, sizeof(T) == 8, 2);
        const auto draw = [normal = Normal(1)]() mutable -> double {
          return ToFloat(FromDouble<T>(normal() / 4));
        };
        const auto x = problem.Variable(kI, dim, draw), y = problem.Variable(kJ, dim, draw);
        const auto p = problem.Variable(kP, dim, draw);
        for (const FormulaIndex kept : {kI, kJ}) {
          problem.Fold(Fold::logsumexp, x * y + p, kept);
          problem.Fold(Fold::kmin, x * y + p, kept, {Result::value, Result::argument}, nullptr, 2);
        }
        problem.Fold(Fold::sum, x * y, kP);
        Check<T>(problem, "dimension " + std::to_string(dim), tolerance, {}, transposed);
      }
    }
  };
  run(float{}, 20 * kTolerance<float>);
  run(double{}, 20 * kTolerance<double>);
}

}  // namespace
}  // namespace logsum
