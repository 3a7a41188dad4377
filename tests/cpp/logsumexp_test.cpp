// The array reductions against long double, on every CPU target.
#include "logsum/logsumexp.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "array.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

// Half an ulp of the result from its rounding, and the stated absolute error (logsumexp.hpp).
template <class T>
double Tolerance(double value, double terms = 1) {
  if (std::is_same_v<T, Half>) return std::max(std::abs(value) * 0x1p-11, 0x1p-25) + 1e-6;
  if (std::is_same_v<T, BFloat16>) return std::abs(value) * 0x1p-8 + 1e-6;
  if (std::is_same_v<T, float>) return std::abs(value) * 0x1p-24 + 4e-7;
  // max + log1p(rest): the logarithm, up to log n, is rounded too.
  return std::abs(value) * 0x1p-53 + (2 + std::log(terms)) * 0x1p-51;
}

class OnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override {
    set_cpu_target("");
    set_num_threads(0);
  }
};

template <class T>
void CheckReduction(std::vector<std::int64_t> shape, std::vector<int> order, double sigma,
                    double mean) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(mean, sigma);
  Array<T> a(shape, order);
  a.Fill([&] { return normal(random); });
  const std::int64_t rows = shape[0], columns = shape[1];
  for (const int axis : {0, 1}) {
    const std::int64_t kept = axis == 0 ? columns : rows;
    Array<T> out({kept});
    Tensor out_tensor = out;
    logsumexp(a, std::array{axis}, nullptr, nullptr, out_tensor, nullptr);
    for (std::int64_t i = 0; i < kept; ++i) {
      std::vector<double> slice;
      for (std::int64_t k = 0; k < shape[static_cast<std::size_t>(axis)]; ++k) {
        slice.push_back(a.Get(axis == 0 ? k * columns + i : i * columns + k));
      }
      const long double exact = ReferenceLogSumExp(slice).Value();
      const auto expected = static_cast<double>(exact);
      ASSERT_NEAR(static_cast<double>(out.Get(i) - exact), 0,
                  Tolerance<T>(expected, static_cast<double>(slice.size())))
          << "axis " << axis << ", slice " << i << " of " << rows << " x " << columns;
    }
  }
}

TEST_P(OnEveryTarget, ShapesAndOrders) {
  for (const std::vector<int>& order : {std::vector<int>{0, 1}, std::vector<int>{1, 0}}) {
    for (const std::int64_t rows : {1, 2, 15, 16, 17, 129, 300}) {
      for (const std::int64_t columns : {1, 3, 16, 63, 64, 65, 1000}) {
        CheckReduction<float>({rows, columns}, order, 3, 0);
        CheckReduction<double>({rows, columns}, order, 3, 0);
      }
    }
    CheckReduction<Half>({33, 70}, order, 3, 0);
    CheckReduction<BFloat16>({33, 70}, order, 3, 0);
    CheckReduction<float>({3, 100001}, order, 1, 0);
    CheckReduction<double>({3, 100001}, order, 1, 0);
  }
}

TEST_P(OnEveryTarget, SpreadsAndMagnitudes) {
  for (const double sigma : {1e-3, 1.0, 30.0, 300.0, 1e4}) {
    for (const double mean : {0.0, -1000.0, 1e5, -1e6, 3e6, 1e9}) {
      CheckReduction<float>({40, 90}, {0, 1}, sigma, mean);
      CheckReduction<double>({40, 90}, {0, 1}, sigma, mean);
    }
  }
}

// Equal terms round the same way at every step: they find an accumulation that drifts. With one
// larger term too, whose block is summed apart.
template <class T>
void CheckConstant(std::int64_t count, double value, bool by_lanes, double extra) {
  using Shape = std::vector<std::int64_t>;
  Array<T> a(by_lanes ? Shape{2, count} : Shape{count, 1},
             by_lanes ? std::vector<int>{1, 0} : std::vector<int>{0, 1});
  a.Fill([&] { return value; });
  a.Set(count / 2, a.Get(0) + extra);
  Array<T> out({by_lanes ? 2 : 1});
  Tensor out_tensor = out;
  logsumexp(a, std::array{by_lanes ? 1 : 0}, nullptr, nullptr, out_tensor, nullptr);
  const long double rest = std::exp(static_cast<long double>(a.Get(0)) - a.Get(count / 2));
  const long double exact = a.Get(count / 2) + std::log1p((count - 1) * rest);
  EXPECT_NEAR(static_cast<double>(out.Get(0) - exact), 0,
              Tolerance<T>(static_cast<double>(exact), static_cast<double>(count)))
      << count << " of " << value << " and " << extra;
}

TEST_P(OnEveryTarget, ConstantInputsDoNotDrift) {
  for (const std::int64_t count : {2, 33, 512, 4097, 65536, 1000003}) {
    for (const double value : {0.0, 0.7, -0.7, 5.1, -1e3}) {
      for (const bool by_lanes : {false, true}) {
        for (const double extra : {0.0, 2.0}) {
          CheckConstant<float>(count, value, by_lanes, extra);
          CheckConstant<double>(count, value, by_lanes, extra);
        }
      }
    }
  }
}

TEST_P(OnEveryTarget, OneTermDominates) {
  // The result is near zero, and must be right relative to itself.
  for (const double top : {0.0, 1e-12, -1e-7, 3e-3}) {
    for (const std::int64_t count : {2, 40, 5000, 100000}) {
      Array<double> a({count});
      a.Fill([&] { return -45.0; });
      a.Set(count / 2, top);
      Array<double> out({});
      Tensor out_tensor = out;
      logsumexp(a, std::array{0}, nullptr, nullptr, out_tensor, nullptr);
      const double expected =
          top + std::log1p(static_cast<double>(count - 1) * std::exp(-45.0 - top));
      EXPECT_NEAR(out.Get(0), expected, std::abs(expected) * 4 * 0x1p-53) << top << " " << count;
    }
  }
}

TEST_P(OnEveryTarget, SpecialValues) {
  struct Case {
    std::vector<double> x;
    double expected;
  };
  const std::vector<Case> cases = {{{-kInf, -kInf}, -kInf},
                                   {{-kInf, 2}, 2},
                                   {{kInf, 1}, kInf},
                                   {{kInf, -kInf, kInf}, kInf},
                                   {{kNaN, 1}, kNaN},
                                   {{1, kNaN, kInf}, kNaN},
                                   {{-kInf, kNaN}, kNaN},
                                   {{-1e38, -1e38}, -1e38},
                                   {{-1e38, 3}, 3},
                                   {{1e38, 1e38}, 1e38},
                                   {{1e38, -1e38, 0}, 1e38},
                                   {{3e6, 3e6}, 3e6 + std::log(2.0)},
                                   {{-3e6, -3e6}, -3e6 + std::log(2.0)}};
  for (const Case& c : cases) {
    for (const std::int64_t repeat : {1, 40, 700}) {  // lanes, rows, several vectors
      std::vector<double> values;
      for (std::int64_t r = 0; r < repeat; ++r) values.insert(values.end(), c.x.begin(), c.x.end());
      for (const bool by_lanes : {false, true}) {
        const auto n = static_cast<std::int64_t>(values.size());
        Array<float> a(
            by_lanes ? std::vector<std::int64_t>{20, n} : std::vector<std::int64_t>{1, n},
            by_lanes ? std::vector<int>{1, 0} : std::vector<int>{0, 1});
        const std::int64_t row = by_lanes ? 13 : 0;
        for (std::int64_t k = 0; k < n; ++k)
          a.Set(row * n + k, values[static_cast<std::size_t>(k)]);
        Array<float> out({by_lanes ? 20 : 1});
        Tensor out_tensor = out;
        logsumexp(a, std::array{1}, nullptr, nullptr, out_tensor, nullptr);
        const double expected =
            c.expected + (std::isfinite(c.expected) && std::abs(c.expected) < 1e7
                              ? std::log(static_cast<double>(repeat))
                              : 0);
        const double got = out.Get(row);
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(got)) << got;
        } else if (std::isinf(expected)) {
          EXPECT_EQ(got, expected);
        } else {
          EXPECT_NEAR(got, expected, Tolerance<float>(expected) * 1.01) << repeat;
        }
        if (by_lanes) {
          EXPECT_NEAR(out.Get(0), std::log(static_cast<double>(n)), 1e-6);
        }
      }
    }
  }
}

TEST_P(OnEveryTarget, Weighted) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal(0, 5);
  for (const std::int64_t depth : {1, 2, 7, 64, 65, 3000}) {
    for (const std::int64_t kept : {1, 5, 130}) {
      for (const bool positive : {true, false}) {
        Array<double> a({kept, depth}), b({kept, depth}), out({kept}), sign({kept});
        a.Fill([&] { return normal(random); });
        b.Fill(
            [&] { return random() % 5 == 0 ? 0.0 : normal(random) * (random() % 2 ? 1e200 : 1); });
        if (positive) b.Fill([&] { return std::abs(normal(random)); });
        Tensor out_tensor = out, sign_tensor = sign, b_tensor = b;
        logsumexp(a, std::array{1}, &b_tensor, nullptr, out_tensor, &sign_tensor);
        for (std::int64_t i = 0; i < kept; ++i) {
          std::vector<double> x, w;
          long double largest = 0;
          for (std::int64_t k = 0; k < depth; ++k) {
            x.push_back(a.Get(i * depth + k));
            w.push_back(b.Get(i * depth + k));
            largest = std::max(largest,
                               std::fabs(w.back() * std::exp(static_cast<long double>(x.back()))));
          }
          const Reference expected = ReferenceLogSumExp(x, w);
          const auto value = static_cast<double>(expected.Value());
          if (std::isinf(value)) {
            EXPECT_EQ(out.Get(i), value);
            continue;
          }
          // Both signs: the terms' own rounding, as a share of what cancellation leaves.
          const auto cancellation = static_cast<double>(largest / std::exp(expected.Value()));
          EXPECT_NEAR(out.Get(i), value, Tolerance<double>(value, 4) * (1 + cancellation));
          EXPECT_EQ(sign.Get(i), expected.sign);
        }
      }
    }
  }
}

TEST_P(OnEveryTarget, MaskEqualsDeletion) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  Array<float> a({50, 200}), out({50});
  Array<bool> where({50, 200});
  a.Fill([&] { return normal(random); });
  where.Fill([&] { return random() % 3 == 0; });
  where.Set(0, 0);
  a.Set(0, kNaN);  // left out
  Tensor out_tensor = out, where_tensor = where;
  logsumexp(a, std::array{-1}, nullptr, &where_tensor, out_tensor, nullptr);
  for (std::int64_t i = 0; i < 50; ++i) {
    std::vector<double> kept;
    for (std::int64_t k = i * 200; k < (i + 1) * 200; ++k) {
      if (where.Get(k) != 0) kept.push_back(a.Get(k));
    }
    const auto expected = static_cast<double>(ReferenceLogSumExp(kept).Value());
    EXPECT_NEAR(out.Get(i), expected, Tolerance<float>(expected));
  }
}

TEST_P(OnEveryTarget, SameBitsForEveryThreadCount) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 4);
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{3, 200000}, {2000, 300}, {70000, 9}}) {
    Array<float> a(shape);
    a.Fill([&] { return normal(random); });
    for (const int axis : {0, 1}) {
      const std::int64_t kept = shape[static_cast<std::size_t>(1 - axis)];
      std::vector<Array<float>> results;
      for (const int threads : {1, 2, 3, 8}) {
        Array<float> out({kept}), probabilities(shape);
        Tensor out_tensor = out, p_tensor = probabilities;
        softmax(a, axis, p_tensor, out_tensor, {.threads = threads});
        results.push_back(out);
        results.push_back(probabilities);
        EXPECT_TRUE(results[0] == out);
        EXPECT_TRUE(results[1] == probabilities);
      }
    }
  }
}

TEST_P(OnEveryTarget, EmptyReductionsAndArrays) {
  for (const auto& shape : {std::vector<std::int64_t>{3, 0}, {0, 3}, {0, 0}}) {
    Array<float> a(shape), out({shape[0]});
    Tensor out_tensor = out;
    out.Fill([] { return 7; });
    logsumexp(a, std::array{1}, nullptr, nullptr, out_tensor, nullptr);
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      EXPECT_EQ(out.Get(i), shape[1] == 0 ? -kInf : out.Get(i));
    }
  }
}

std::vector<std::string> Targets() { return config().cpu_targets; }
INSTANTIATE_TEST_SUITE_P(Targets, OnEveryTarget, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param; });

TEST(LogSumExpErrors, NameFunctionArgumentExpectedAndGiven) {
  Array<float> a({2, 3}), out({2}), wrong({3});
  Array<double> wide({2});
  Tensor out_tensor = out, wrong_tensor = wrong, wide_tensor = wide;
  const auto message = [&](auto&& call) -> std::string {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { logsumexp(a, std::array{2}, nullptr, nullptr, out_tensor, nullptr); }),
            "logsumexp: axes: expected axes of an array with 2 axes, got 2");
  EXPECT_EQ(
      message([&] { logsumexp(a, std::array{1, -1}, nullptr, nullptr, out_tensor, nullptr); }),
      "logsumexp: axes: expected different axes, got -1 twice");
  EXPECT_EQ(message([&] { logsumexp(a, std::array{1}, nullptr, nullptr, wrong_tensor, nullptr); }),
            "logsumexp: out: expected shape (2,), got (3,)");
  EXPECT_EQ(message([&] { logsumexp(a, std::array{1}, nullptr, nullptr, wide_tensor, nullptr); }),
            "logsumexp: out: expected float32, got float64");
}

}  // namespace
}  // namespace logsum::testing
