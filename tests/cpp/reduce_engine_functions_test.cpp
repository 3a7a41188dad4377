// Holds the bounds stated in core/{trigonometric,hyperbolic,power,logaddexp}-inl.h against
// measurement, on every CPU target: the sum over one j of a function of i is the function.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "logsum/config.hpp"
#include "ulp.hpp"

#include "reduce_engine_problem.hpp"

namespace logsum {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

using Draw = std::function<double(std::mt19937_64&)>;
using Oracle = std::function<long double(long double, long double)>;

// +-2^e m, e uniform in [low, high).
Draw Sizes(double low, double high) {
  return [=](std::mt19937_64& random) {
    const double size = std::exp2(std::uniform_real_distribution<double>(low, high)(random));
    return random() & 1 ? size : -size;
  };
}
Draw Uniform(double low, double high) {
  return [=](std::mt19937_64& random) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
}
// The numbers next to multiples of pi/2, where sin and cos have the fewest digits left.
Draw NearQuarters(double largest) {
  return [=](std::mt19937_64& random) {
    const double n = std::floor(std::uniform_real_distribution<double>(0, largest)(random));
    return n * 1.5707963267948966;
  };
}

struct Function {
  const char* name;
  Op op;
  Oracle oracle;
  double f32, f64;  // bounds in ulp
  std::vector<Draw> draws;
  Draw second = nullptr;
  std::int64_t first = 0;
};

template <class T>
void Measure(const Function& function, double bound) {
  constexpr std::int64_t kCount = 20'000;
  const double least = 4.0 * static_cast<double>(std::numeric_limits<T>::min());
  for (const std::string& target : config().cpu_targets) {
    set_cpu_target(target);
    ulp::Record record(std::string(function.name) + (sizeof(T) == 4 ? " f32" : " f64"), target);
    for (const Draw& draw : function.draws) {
      std::mt19937_64 random(5);
      Problem problem(kCount / ulp::Stride(), 1, sizeof(T) == 8);
      const auto x = problem.Variable(FormulaIndex::i, 1, [&] { return draw(random); });
      const auto value =
          function.second
              ? E(function.op, {x, problem.Variable(FormulaIndex::i, 1,
                                                    [&] { return function.second(random); })})
              : E(function.op, {x}, function.first);
      problem.Fold(Fold::sum, value, FormulaIndex::i);
      const Vector got = problem.Run<T>()[0];
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double a = problem.values[0][i], b = function.second ? problem.values[1][i] : 0;
        const long double exact = function.oracle(a, b);
        // Subnormal results may be flushed to zero.
        if (std::abs(exact) < least && std::abs(got[i]) <= least) continue;
        const auto rounded = static_cast<T>(exact);
        if (std::isinf(rounded) && rounded == got[i]) continue;
        record.Add(ulp::Distance(static_cast<T>(got[i]), exact), a);
      }
    }
    record.Expect(bound);
  }
  set_cpu_target(config().cpu_targets.front());
}

TEST(ReduceEngineFunctions, Bounds) {
  const auto one = [](auto function) {
    return [=](long double x, long double) -> long double { return function(x); };
  };
  const std::vector<Function> functions = {
      {"sin",
       Op::sin,
       one([](long double x) { return std::sin(x); }),
       1.5,
       1,
       {Sizes(-20, 4), Sizes(0, 19.9), NearQuarters(1000), NearQuarters(6e5)}},
      {"cos",
       Op::cos,
       one([](long double x) { return std::cos(x); }),
       1.5,
       1,
       {Sizes(-20, 4), Sizes(0, 19.9), NearQuarters(1000), NearQuarters(6e5)}},
      {"sin of large",
       Op::sin,
       one([](long double x) { return std::sin(x); }),
       1.5,
       1,
       {Sizes(19, 100)}},
      {"cos of large",
       Op::cos,
       one([](long double x) { return std::cos(x); }),
       1.5,
       1,
       {Sizes(19, 100)}},
      {"atan",
       Op::atan,
       one([](long double x) { return std::atan(x); }),
       2,
       2,
       {Sizes(-20, 20), Sizes(-2, 2)}},
      {"tanh",
       Op::tanh,
       one([](long double x) { return std::tanh(x); }),
       4,
       4,
       {Sizes(-20, 6), Sizes(-3, 3)}},
      {"sigmoid",
       Op::sigmoid,
       one([](long double x) { return 1 / (1 + std::exp(-x)); }),
       3.5,
       3.5,
       {Sizes(-10, 6.3), Sizes(-3, 3)}},
      {"softplus",
       Op::softplus,
       one([](long double x) { return std::max(x, 0.0L) + std::log1p(std::exp(-std::abs(x))); }),
       3,
       3,
       {Sizes(-10, 6.3), Sizes(-3, 3)}},
      {"expm1",
       Op::expm1,
       one([](long double x) { return std::expm1(x); }),
       2.5,
       2.5,
       {Sizes(-30, 7), Sizes(-4, 3), Uniform(88, 89), Uniform(700, 710)}},
      {"xlogx",
       Op::xlogx,
       one([](long double x) { return x * std::log(x); }),
       2.5,
       2.5,
       {Uniform(0, 2), Uniform(0.9, 1.1), Uniform(0, 1e30)}},
      {"log1p",
       Op::log1p,
       one([](long double x) { return std::log1p(x); }),
       1,
       1,
       {Uniform(-1, 2), Uniform(0, 1e-6)}},
      {"power_of 7",
       Op::power_of,
       one([](long double x) { return std::pow(x, 7.0L); }),
       10.5,
       10.5,
       {Sizes(-3, 3)},
       nullptr,
       7},
      {"power_of -8",
       Op::power_of,
       one([](long double x) { return std::pow(x, -8.0L); }),
       12,
       12,
       {Sizes(-3, 3)},
       nullptr,
       -8},
      {"power_of 31",
       Op::power_of,
       one([](long double x) { return std::pow(x, 31.0L); }),
       1,
       4,
       {Sizes(-3, 3)},
       nullptr,
       31},
  };
  for (const Function& function : functions) {
    Measure<float>(function, function.f32);
    Measure<double>(function, function.f64);
  }
}

TEST(ReduceEngineFunctions, Power) {
  const auto pow = [](long double x, long double y) { return std::pow(x, y); };
  const Function near = {
      "power",          Op::power, pow, 1, 2 + 40.0 / 32, {Uniform(0, 4), Uniform(0.9, 1.1)},
      Uniform(-20, 20), 0};
  const Function far = {
      "power, large",
      Op::power,
      pow,
      1,
      2 + 700.0 / 32,
      {Uniform(0.5, 2), Sizes(-0.5, 0.5)},
      [](std::mt19937_64& random) { return std::round(Uniform(-1000, 1000)(random)); },
      0};
  for (const Function& function : {near, far}) {
    Measure<float>(function, function.f32);
    Measure<double>(function, function.f64);
  }
}

// As std::pow, but for NaN that op.hpp and std::pow agree on: pow(NaN, 0) = pow(1, NaN) = 1.
TEST(ReduceEngineFunctions, PowerOfSpecials) {
  const std::vector<double> special = {0.0, -0.0, 1,    -1,    2,    -2,    3,   -3,
                                       0.5, -0.5, 1e30, -1e30, kInf, -kInf, kNaN};
  for (const std::string& target : config().cpu_targets) {
    set_cpu_target(target);
    const auto run = [&]<class T>(T) {
      Problem problem(static_cast<std::int64_t>(special.size() * special.size()), 1,
                      sizeof(T) == 8);
      std::size_t i = 0, k = 0;
      const auto x =
          problem.Variable(FormulaIndex::i, 1, [&] { return special[i++ / special.size()]; });
      const auto y =
          problem.Variable(FormulaIndex::i, 1, [&] { return special[k++ % special.size()]; });
      problem.Fold(Fold::sum, E(Op::power, {x, y}), FormulaIndex::i);
      const Vector got = problem.Run<T>()[0];
      for (std::size_t n = 0; n < got.size(); ++n) {
        const auto a = static_cast<T>(special[n / special.size()]);
        const auto b = static_cast<T>(special[n % special.size()]);
        const double exact = static_cast<T>(std::pow(static_cast<double>(a), b));
        if (std::isnan(exact)) {
          EXPECT_TRUE(std::isnan(got[n])) << a << " ^ " << b << " is " << got[n];
        } else {
          // Numbers within the bound, infinities and zeros exactly.
          EXPECT_LE(ulp::Distance(static_cast<T>(got[n]), exact), std::isnormal(exact) ? 5 : 0)
              << a << " ^ " << b << " is " << got[n];
        }
      }
    };
    run(float{});
    run(double{});
  }
  set_cpu_target(config().cpu_targets.front());
}

// What op.hpp says of infinities and NaN.
TEST(ReduceEngineFunctions, Specials) {
  struct Row {
    Op op;
    std::vector<double> in;
    double out;
  };
  const std::vector<Row> rows = {
      {Op::exp, {-kInf}, 0},
      {Op::exp, {kInf}, kInf},
      {Op::log, {0}, -kInf},
      {Op::log, {-1}, kNaN},
      {Op::sin, {kInf}, kNaN},
      {Op::cos, {-kInf}, kNaN},
      {Op::sin, {kNaN}, kNaN},
      {Op::atan, {kInf}, 1.5707963267948966},
      {Op::atan, {-kInf}, -1.5707963267948966},
      {Op::tanh, {kInf}, 1},
      {Op::tanh, {-kInf}, -1},
      {Op::tanh, {kNaN}, kNaN},
      {Op::sigmoid, {-kInf}, 0},
      {Op::sigmoid, {kInf}, 1},
      {Op::sigmoid, {kNaN}, kNaN},
      {Op::softplus, {-kInf}, 0},
      {Op::softplus, {kInf}, kInf},
      {Op::softplus, {kNaN}, kNaN},
      {Op::expm1, {-kInf}, -1},
      {Op::expm1, {kInf}, kInf},
      {Op::expm1, {kNaN}, kNaN},
      {Op::log1p, {-1}, -kInf},
      {Op::xlogx, {0}, 0},
      {Op::xlogx, {kInf}, kInf},
      {Op::xlogx, {-1}, kNaN},
      {Op::sign, {kNaN}, kNaN},
      {Op::sign, {-kInf}, -1},
      {Op::step, {0}, 1},
      {Op::step, {kNaN}, kNaN},
      {Op::step, {-kInf}, 0},
      {Op::relu, {kNaN}, kNaN},
      {Op::relu, {-1}, 0},
      {Op::keep, {0, kNaN}, 0},
      {Op::keep, {0, kInf}, 0},
      {Op::keep, {1, kInf}, kInf},
      {Op::keep, {kNaN, 2}, 2},
      {Op::ratio, {-kInf, -kInf}, 0},
      {Op::ratio, {-kInf, 1}, 0},
      {Op::ratio, {1, -kInf}, kInf},
      {Op::logaddexp, {-kInf, -kInf}, -kInf},
      {Op::logaddexp, {kInf, kInf}, kInf},
      {Op::logaddexp, {kInf, -kInf}, kInf},
      {Op::logaddexp, {kNaN, 1}, kNaN},
      {Op::logaddexp, {1, kNaN}, kNaN},
      {Op::equal, {kNaN, kNaN}, 0},
      {Op::not_equal, {kNaN, 1}, 1},
      {Op::less, {kNaN, 1}, 0},
      {Op::less_equal, {1, kNaN}, 0},
      {Op::equal, {kInf, kInf}, 1},
      {Op::clamp, {kNaN, 0, 1}, kNaN},
      {Op::clamp, {0, kNaN, 1}, kNaN},
      {Op::clamp, {0, 0, kNaN}, kNaN},
      {Op::clamp, {5, 0, 1}, 1},
      {Op::clamp, {-kInf, 0, 1}, 0},
      {Op::if_else, {kNaN, 1, 2}, 2},
      {Op::if_else, {0, 1, kNaN}, 1},
      {Op::if_else, {-1, kNaN, 2}, 2},
      {Op::probability, {-kInf, -kInf, 0}, 0},
      {Op::probability, {-kInf, kInf, 0}, 0},
      {Op::probability, {kInf, kInf, 0}, 1},
      {Op::probability, {3, kInf, 0}, 0},
      {Op::probability, {-kInf, 1, 0}, 0},
      {Op::probability, {2, 1, 0}, 1},
      {Op::probability, {kNaN, 1, 0}, kNaN},
      {Op::probability, {-kInf, kNaN, 0}, 0},
      {Op::probability, {1, kNaN, 0}, kNaN},
      {Op::power_of, {0}, 0},
  };
  for (const std::string& target : config().cpu_targets) {
    set_cpu_target(target);
    const auto run = [&]<class T>(T) {
      for (const Row& row : rows) {
        Problem problem(3, 1, sizeof(T) == 8);
        std::vector<Expression> operands;
        for (const double x : row.in) {
          operands.push_back(problem.Variable(FormulaIndex::i, 1, [x] { return x; }));
        }
        problem.Fold(Fold::max, E(row.op, operands, 3), FormulaIndex::i);
        const double got = problem.Run<T>()[0][1];
        const auto out = static_cast<double>(static_cast<T>(row.out));
        EXPECT_TRUE(std::isnan(out) ? std::isnan(got) : std::abs(got - out) <= 1e-7 || got == out)
            << "op " << static_cast<int>(row.op) << " of " << row.in[0] << ": " << got
            << " instead of " << row.out << " " << target;
      }
    };
    run(float{});
    run(double{});
  }
  set_cpu_target(config().cpu_targets.front());
}

}  // namespace
}  // namespace logsum
