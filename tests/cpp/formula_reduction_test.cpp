// Reductions: what they say of themselves, what they refuse, and their derivatives end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "array.hpp"
#include "formula_text.hpp"
#include "logsum/reduce.hpp"

namespace logsum {
namespace {

using formula::ErrorOf;
using testing::Array;

using Aliases = std::vector<std::string_view>;

const Aliases kGaussian = {"x = Vi(2)", "y = Vj(2)", "b = Vj(2)", "p = Pm(1)"};

Reduction Parse(std::string_view text, std::string_view op, int axis = 1,
                std::string_view weights = {}, int k = 0, const Aliases& aliases = kGaussian) {
  return Reduction::parse(text, aliases, op, axis, k, weights);
}

std::vector<ArgumentSource> Sources(const Reduction& reduction) {
  std::vector<ArgumentSource> sources;
  for (const ReductionArgument& argument : reduction.arguments()) {
    sources.push_back(argument.source);
  }
  return sources;
}

TEST(Reduction, OutputsOfEveryKind) {
  struct Row {
    std::string_view op;
    std::size_t outputs, saved;
    bool integer;
    int k;
  };
  for (const Row& row :
       {Row{"Sum", 1, 1, false, 0}, Row{"LogSumExp", 1, 2, false, 0}, Row{"Min", 1, 2, false, 0},
        Row{"Max", 1, 2, false, 0}, Row{"ArgMin", 1, 1, true, 0}, Row{"ArgMax", 1, 1, true, 0},
        Row{"Min_ArgMin", 2, 2, false, 0}, Row{"MaxArgMax", 2, 2, false, 0},
        Row{"KMin", 1, 2, false, 3}, Row{"ArgKMin", 1, 1, true, 3},
        Row{"KMin_ArgKMin", 2, 2, false, 3}}) {
    SCOPED_TRACE(row.op);
    const Reduction reduction = Parse("x * y * p", row.op, 1, {}, row.k);
    const auto outputs = reduction.outputs();
    ASSERT_EQ(outputs.size(), row.outputs);
    EXPECT_EQ(outputs[0].integer, row.integer);
    EXPECT_EQ(outputs[0].constant, row.integer);
    EXPECT_EQ(outputs[0].dim, 2);
    EXPECT_EQ(outputs[0].count, row.k);
    EXPECT_EQ(outputs[0].index, FormulaIndex::i);
    const Reduction saving = reduction.saving();
    ASSERT_EQ(saving.outputs().size(), row.saved);
    for (std::size_t k = 0; k < row.saved; ++k) {
      EXPECT_EQ(saving.outputs()[k].saved, k >= row.outputs);
    }
    EXPECT_EQ(saving.saving().outputs().size(), row.saved);
  }
  const Reduction mean = Parse("-SqDist(x, y)", "SoftMax", 0, "b").saving();
  ASSERT_EQ(mean.outputs().size(), 3u);
  EXPECT_EQ(mean.outputs()[0].dim, 2);
  EXPECT_EQ(mean.outputs()[0].index, FormulaIndex::j);
  EXPECT_FALSE(mean.outputs()[1].constant);  // lse
  EXPECT_TRUE(mean.outputs()[2].constant);   // its residual
}

TEST(Reduction, ArgumentsOfDerivatives) {
  using enum ArgumentSource;
  const Reduction reduction = Parse("-SqDist(x, y) * p", "LogSumExp");
  const std::vector<int> all = {0, 1, 2, 3};
  const Reduction gradient = reduction.gradient(all);
  EXPECT_EQ(Sources(gradient), (std::vector{given, given, given, given, incoming, saved, saved}));
  EXPECT_EQ(gradient.arguments()[5].position, 0);
  EXPECT_EQ(gradient.arguments()[6].position, 1);
  ASSERT_EQ(gradient.outputs().size(), 4u);
  EXPECT_EQ(gradient.outputs()[1].index, FormulaIndex::j);
  EXPECT_EQ(gradient.outputs()[3].index, FormulaIndex::parameter);
  const Reduction second = gradient.gradient(std::vector{0, 4, 5});
  EXPECT_EQ(Sources(second), (std::vector{given, given, given, given, given, given, given, incoming,
                                          incoming, incoming, incoming}));
  const Reduction forward = reduction.tangent(std::vector{1, 3});
  EXPECT_EQ(Sources(forward), (std::vector{given, given, given, given, ArgumentSource::tangent,
                                           ArgumentSource::tangent, saved, saved}));
  EXPECT_EQ(forward.arguments()[5].position, 3);
  // A residual has no derivative.
  EXPECT_EQ(Sources(reduction.saving().gradient(all)), Sources(gradient));
  EXPECT_EQ(reduction.saving().tangent(all).outputs().size(), 2u);

  std::vector<std::string> names;
  for (const ReductionArgument& argument : second.arguments()) names.push_back(argument.name);
  std::ranges::sort(names);
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end()) << "a name twice";
}

TEST(Reduction, TextIsTheFormula) {
  EXPECT_EQ(Parse("-SqDist(x,y)*p", "LogSumExp").text(),
            "LogSumExp over j of -(SqDist(x, y) * p)\n");
  EXPECT_EQ(Parse("(x|y)", "SumSoftMaxWeight", 0, "b").text(),
            "SumSoftMaxWeight over i of x | y, weights b\n");
}

TEST(Reduction, RefusesWhatItCannotMean) {
  const auto says = [](const std::function<void()>& make, std::string_view part) {
    const std::string error = ErrorOf(make);
    EXPECT_EQ(error.rfind("Genred: ", 0), 0u) << error;
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  says([] { Parse("x", "Sun"); }, "reduction_op: expected one of Sum");
  says([] { Parse("x", "Sum", 2); }, "axis");
  says([] { Parse("x", "KMin"); }, "opt_arg");
  says([] { Parse("x", "Sum", 1, "b"); }, "formula2");
  says([] { Parse("p", "LogSumExpWeight"); }, "formula2");
  says([] { Parse("x", "LogSumExp", 1, "b"); }, "formula: expected dimension 1");
  says([] { Parse("p", "SumSoftMaxWeight", 1, "b +"); }, "formula2: expected");
  says([] { Parse("p", "Sum", 1, {}, 0, {"p = Pm(1, 1)"}); }, "none at 0");
  says([] { Parse("x", "Sum").gradient(std::vector{4}); }, "positions from 0 to 3, got 4");
  says([] { Parse("x", "Sum").tangent(std::vector{-1}); }, "got -1");
  says([] { Parse("x", "Min").gradient(std::vector{0}).gradient(std::vector{5}); }, "index");
  says(
      [] {
        std::string sum = "x";
        for (int k = 0; k < 300; ++k) sum += " * x * Sin(y * x)";
        Reduction derived = Parse(sum, "Sum");
        while (true) derived = derived.gradient(std::vector{0});
      },
      "gradient: expected");
  EXPECT_EQ(Parse("p", "LogSumExp", 1, "b").outputs()[0].dim, 2);  // LogSumExpWeight
}

// Arrays of M = 3, N = 4 with one batch axis of 2 that p lacks.
struct Arrays {
  Array<double> x{{2, 3, 2}}, y{{2, 4, 2}}, b{{1, 4, 2}}, p{{1}}, out{{2, 3, 2}};
  std::vector<Tensor> arguments{x, y, b, p};
  std::vector<Tensor> outputs{out};
};

TEST(Reduction, RunRefusesArraysThatDoNotFit) {
  const Reduction reduction = Parse("x * y * b * p", "Sum");
  const auto says = [&](const std::function<void(Arrays&)>& change, std::string_view part) {
    Arrays arrays;
    change(arrays);
    const std::string error = ErrorOf([&] { reduction.run(arrays.arguments, arrays.outputs); });
    EXPECT_EQ(error.rfind("Genred: ", 0), 0u) << error;
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  Array<double> three{{3}}, flat{{2}}, wide{{2, 4, 3}}, five{{5, 2}}, batch{{3, 4, 2}};
  Array<float> single{{4, 2}};
  Array<std::int64_t> whole{{4, 2}};
  says([](Arrays& a) { a.arguments.pop_back(); }, "4 arrays (x, y, b, p), got 3");
  says([](Arrays& a) { a.outputs.clear(); }, "1 array, got 0");
  says([&](Arrays& a) { a.arguments[0] = flat; }, "x: expected shape (..., M, 2), got shape (2,)");
  says([&](Arrays& a) { a.arguments[1] = wide; }, "y: expected shape (..., N, 2)");
  says([&](Arrays& a) { a.arguments[2] = five; }, "b: expected shape (..., 4, 2) (y has N = 4)");
  says([&](Arrays& a) { a.arguments[2] = batch; }, "b: expected batch axes that broadcast with");
  says([&](Arrays& a) { a.arguments[3] = three; }, "p: expected shape (..., 1)");
  says([&](Arrays& a) { a.arguments[2] = single; }, "b: expected float64 as x, got float32");
  says([&](Arrays& a) { a.arguments[2] = whole; }, "b: expected float16, bfloat16");
  says([&](Arrays& a) { a.outputs[0] = batch; }, "output: expected shape (2, 3, 2)");
  Array<float> narrow{{2, 3, 2}};
  says([&](Arrays& a) { a.outputs[0] = narrow; }, "output: expected float64");
}

TEST(Reduction, IndicesOfAnArgumentMustExist) {
  const Reduction gradient =
      Parse("x * y", "Max", 1, {}, 0, {"x = Vi(1)", "y = Vj(1)"}).gradient(std::vector{1});
  Array<double> x{{3, 1}}, y{{4, 1}}, e{{3, 1}}, out{{4, 1}};
  Array<std::int64_t> index{{3, 1}};
  std::vector<Tensor> arguments{x, y, e, index}, outputs{out};
  std::fill_n(index.data(), 3, -1);
  gradient.run(arguments, outputs);
  index.data()[2] = 4;
  EXPECT_NE(ErrorOf([&] { gradient.run(arguments, outputs); }).find("from -1 to 3, got 4"),
            std::string::npos);
}

// ---- derivatives, end to end ----------------------------------------------------------------

struct Problem {
  std::string_view text, op, weights;
  int k = 0;
  Aliases aliases = kGaussian;
};

// Runs a reduction in double: the arrays of arguments by position, results by position.
class Runner {
 public:
  explicit Runner(const Problem& problem, int axis)
      : reduction(Parse(problem.text, problem.op, axis, problem.weights, problem.k, problem.aliases)
                      .saving()) {
    std::mt19937 random(5);
    std::uniform_real_distribution<double> uniform(0.5, 1.5);
    for (const ReductionArgument& argument : reduction.arguments()) {
      given.emplace_back(Shape(argument.index, argument.count, argument.dim));
      for (double* x = given.back().data(); x != given.back().data() + given.back().Size(); ++x) {
        *x = uniform(random);
      }
    }
  }

  static std::vector<std::int64_t> Shape(FormulaIndex index, std::int64_t count, std::int64_t dim) {
    std::vector<std::int64_t> shape;
    if (index != FormulaIndex::parameter) shape.push_back(index == FormulaIndex::i ? 3 : 4);
    if (count != 0) shape.push_back(count);
    shape.push_back(dim);
    return shape;
  }

  struct Results {
    std::vector<Array<double>> floating;
    std::vector<Array<std::int64_t>> integer;
    std::vector<Tensor> all;
  };

  static Results Run(const Reduction& reduction, std::span<const Tensor> arguments) {
    Results results;
    const auto outputs = reduction.outputs();
    results.floating.reserve(outputs.size());
    results.integer.reserve(outputs.size());
    for (const ReductionOutput& output : outputs) {
      const std::vector<std::int64_t> shape = Shape(output.index, output.count, output.dim);
      if (output.integer) {
        results.all.push_back(results.integer.emplace_back(shape));
      } else {
        results.all.push_back(results.floating.emplace_back(shape));
      }
    }
    reduction.run(arguments, results.all);
    return results;
  }

  std::vector<Tensor> Given() {
    std::vector<Tensor> tensors;
    for (Array<double>& array : given) tensors.push_back(array);
    return tensors;
  }

  Reduction reduction;
  std::vector<Array<double>> given;
};

double SumOfProducts(const Array<double>& x, const Array<double>& y) {
  return std::inner_product(x.data(), x.data() + x.Size(), y.data(), 0.0);
}

TEST(Reduction, GradientsAndTangentsAreDerivatives) {
  const Problem problems[] = {
      {"Exp(-SqDist(x, y) * p) * b", "Sum", {}},
      {"-SqDist(x, y) * p", "LogSumExp", {}},
      {"x * y * p - b", "LogSumExp", {}},
      {"(x | y) * p", "SumSoftMaxWeight", "b * x"},
      {"(x | y) * p", "LogSumExpWeight", "b * x"},
      {"SqDist(x, y) * p", "Min", {}},
      {"x * y * p", "Max_ArgMax", {}},
      {"SqDist(x, y) * p", "KMin", {}, 1},
      {"x * y * p", "KMin_ArgKMin", {}, 3},
  };
  for (const Problem& problem : problems) {
    for (const int axis : {0, 1}) {
      SCOPED_TRACE(std::string(problem.op) + " of " + std::string(problem.text) + ", axis " +
                   std::to_string(axis));
      Runner runner(problem, axis);
      std::vector<int> all(runner.given.size());
      std::iota(all.begin(), all.end(), 0);
      std::mt19937 random(9);
      std::uniform_real_distribution<double> uniform(-1, 1);
      // A weight for every result that has a derivative.
      std::vector<Array<double>> weights;
      for (const ReductionOutput& output : runner.reduction.outputs()) {
        weights.emplace_back(Runner::Shape(output.index, output.count, output.dim));
        for (std::int64_t k = 0; k < weights.back().Size(); ++k) {
          weights.back().data()[k] = output.constant ? 0 : uniform(random);
        }
      }
      const auto value = [&] {
        const Runner::Results results = Runner::Run(runner.reduction, runner.Given());
        double sum = 0;
        std::size_t next = 0;
        for (std::size_t k = 0; k < weights.size(); ++k) {
          if (runner.reduction.outputs()[k].integer) continue;
          sum += SumOfProducts(results.floating[next++], weights[k]);
        }
        return sum;
      };
      Runner::Results saved = Runner::Run(runner.reduction, runner.Given());
      std::vector<Array<double>> directions;
      for (const Array<double>& array : runner.given) {
        Array<double> direction = array;
        for (std::int64_t k = 0; k < direction.Size(); ++k) direction.data()[k] = uniform(random);
        directions.push_back(direction);
      }
      const auto arguments = [&](const Reduction& derived) {
        std::vector<Tensor> tensors;
        for (const ReductionArgument& argument : derived.arguments()) {
          const auto position = static_cast<std::size_t>(argument.position);
          switch (argument.source) {
            case ArgumentSource::given:
              tensors.push_back(runner.given[position]);
              break;
            case ArgumentSource::incoming:
              tensors.push_back(weights[position]);
              break;
            case ArgumentSource::saved:
              tensors.push_back(saved.all[position]);
              break;
            case ArgumentSource::tangent:
              tensors.push_back(directions[position]);
              break;
          }
        }
        return tensors;
      };
      const Reduction gradient = runner.reduction.gradient(all);
      const Runner::Results gradients = Runner::Run(gradient, arguments(gradient));
      constexpr double kStep = 1e-4;
      double along = 0;
      for (std::size_t k = 0; k < all.size(); ++k) {
        along += SumOfProducts(gradients.floating[k], directions[k]);
        for (std::int64_t n = 0; n < runner.given[k].Size(); ++n) {
          double& x = runner.given[k].data()[n];
          const double before = x;
          x = before + kStep;
          const double above = value();
          x = before - kStep;
          const double below = value();
          x = before;
          // The quotient is wrong by h^2 times a third derivative of some tens.
          EXPECT_NEAR(gradients.floating[k].data()[n], (above - below) / (2 * kStep), 1e-6)
              << "argument " << k << ", entry " << n;
        }
      }
      const Reduction tangent = runner.reduction.tangent(all);
      const Runner::Results tangents = Runner::Run(tangent, arguments(tangent));
      double transposed = 0;
      std::size_t next = 0;
      for (std::size_t k = 0; k < weights.size(); ++k) {
        if (runner.reduction.outputs()[k].integer) continue;
        transposed += SumOfProducts(tangents.floating[next++], weights[k]);
      }
      EXPECT_NEAR(transposed, along, 1e-11);  // the same sums in another order
    }
  }
}

TEST(Reduction, ThreadsShareOne) {
  Runner runner({"-SqDist(x, y) * p", "LogSumExp", {}}, 1);
  const std::vector<Tensor> given = runner.Given();
  const Runner::Results expected = Runner::Run(runner.reduction, given);
  std::vector<std::thread> threads;
  std::array<bool, 4> same{};
  for (bool& result : same) {
    threads.emplace_back([&] {
      result = true;
      for (int k = 0; k < 50; ++k) {
        const Reduction copy = runner.reduction;
        const Runner::Results results = Runner::Run(copy, given);
        result = result && std::equal(results.floating[0].data(), results.floating[0].data() + 3,
                                      expected.floating[0].data());
        result = result && copy.gradient(std::vector{0, 1}).outputs().size() == 2;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const bool result : same) EXPECT_TRUE(result);
}

TEST(Reduction, IndexTermsInSinglePrecisionHaveALimit) {
  const Reduction reduction = Parse("Exp(-Abs(i - j)) * y", "Sum", 0, {}, 0, {"y = Vj(1)"});
  float zero = 0;
  const std::int64_t large[] = {(std::int64_t{1} << 24) + 1, 1}, still[] = {0, 0}, dense[] = {1, 1};
  const Tensor y{&zero, DType::f32, Device::cpu, 0, large, still};
  const Tensor out{&zero, DType::f32, Device::cpu,
                   0,     large,      dense};  // refused before it is written
  std::vector<Tensor> arguments{y}, outputs{out};
  EXPECT_NE(ErrorOf([&] { reduction.run(arguments, outputs); }).find("2^24"), std::string::npos);
}

}  // namespace
}  // namespace logsum
