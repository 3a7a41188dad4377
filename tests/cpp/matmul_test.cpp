// The log-space product on every rung of its ladder against long double, on every CPU target.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/matmul.hpp"
#include "matmul_product.hpp"

namespace logsum::testing {
namespace {

class Draws {
 public:
  double Normal(double sigma, double mean = 0) { return mean + sigma * normal_(random_); }
  bool Chance(double p) { return std::uniform_real_distribution<double>()(random_) < p; }

 private:
  std::mt19937_64 random_{11};
  std::normal_distribution<double> normal_;
};

template <class T>
void CheckSizes() {
  // Squares in one panel and in many, tall, wide, deep; one task and several (the last two).
  for (const auto& size : std::vector<typename Product<T>::Size>{{1, 1, 1},
                                                                 {3, 5, 2},
                                                                 {7, 64, 33},
                                                                 {40, 100, 50},
                                                                 {129, 33, 17},
                                                                 {5, 300, 130},
                                                                 {2000, 4, 3},
                                                                 {3, 4, 2000},
                                                                 {3, 20000, 5},
                                                                 {150, 200, 170},
                                                                 {20, 600, 400}}) {
    for (const std::vector<int>& order : {std::vector<int>{0, 1, 2}, {0, 2, 1}}) {
      Product<T>(size, order).FillNormal(3).Run().Check();
    }
  }
}

TEST_P(MatmulOnEveryTarget, Sizes) {
  CheckSizes<float>();
  CheckSizes<double>();
}

TEST_P(MatmulOnEveryTarget, HalfTypes) {
  for (const double mean : {0.0, -300.0}) {
    Product<Half>({20, 70, 35}).FillNormal(2, mean).Run().Check();
    Product<BFloat16>({20, 70, 35}).FillNormal(2, mean).Run().Check();
    Product<Half>({35, 70, 20}, {0, 2, 1}).FillNormal(100, mean).Run().Check();
    Product<BFloat16>({35, 70, 20}, {0, 2, 1}).FillNormal(100, mean).Run().Check();
  }
}

TEST_P(MatmulOnEveryTarget, ConstantMatricesDoNotDrift) {
  // Equal terms round the same way at every step.
  for (const std::int64_t depth : {31, 32, 33, 512, 4096, 20000}) {
    for (const double value : {0.0, 0.7, -0.35, 1000.3}) {
      Product<float>({15, depth, 17}).Fill([&] { return value; }).Run().Check();
      Product<double>({15, depth, 17}).Fill([&] { return value; }).Run().Check();
    }
  }
}

// Spreads from one that flushes terms that do not count to one beyond every exponent's domain.
template <class T>
void CheckSpreads() {
  for (const double sigma : {30.0, 60.0, 300.0, 1e4, 1e6, 1e7}) {
    for (const double mean : {0.0, -4000.0, 1e5}) {
      Product<T>({30, 70, 35}).FillNormal(sigma, mean).Run().Check();
    }
  }
}

TEST_P(MatmulOnEveryTarget, Spreads) {
  CheckSpreads<float>();
  CheckSpreads<double>();
}

template <class T>
void CheckGauged() {
  Draws draws;
  // The last ones: beyond what a scale and a gauge's shift hold together.
  for (const double scale : {30.0, 1000.0, 5e5, 1e6, 2e6}) {
    SCOPED_TRACE(scale);
    std::vector<double> offset(90);
    for (double& o : offset) o = draws.Normal(scale);
    const auto at = [&](std::int64_t k) { return offset[static_cast<std::size_t>(k)]; };
    Product<T>({40, 90, 35})
        .Fill([&](std::int64_t, std::int64_t k) { return draws.Normal(3) + at(k); },
              [&](std::int64_t k, std::int64_t) { return draws.Normal(3) - at(k); })
        .Run()
        .Check();
  }
}

TEST_P(MatmulOnEveryTarget, OffsetsOfTheDepthAreTakenOut) {
  CheckGauged<float>();
  CheckGauged<double>();
}

// Each row's and column's largest terms meet the smallest of their partners.
template <class T>
void CheckPairs(double low, double high) {
  Draws draws;
  const auto alternate = [&](std::int64_t k) { return k % 2 == 0 ? low : high; };
  Product<T>({30, 40, 33})
      .Fill([&](std::int64_t, std::int64_t k) { return alternate(k) + draws.Normal(1); },
            [&](std::int64_t k, std::int64_t) { return alternate(k + 1) + draws.Normal(1); })
      .Run()
      .Check();
  // Differently in every row and column: no gauge serves all.
  Product<T>({30, 40, 33})
      .Fill([&](std::int64_t i, std::int64_t k) { return alternate(i * k % 3 + i); },
            [&](std::int64_t k, std::int64_t j) { return alternate(k * j % 5 + j); })
      .Run()
      .Check();
  Product<T>({30, 7, 33}).Fill([&] { return draws.Chance(0.5) ? low : high; }).Run().Check();
}

TEST_P(MatmulOnEveryTarget, PermutedPairs) {
  CheckPairs<float>(-500, 900);
  CheckPairs<double>(-500, 900);
  CheckPairs<double>(-5000, 9000);

  auto a = Array<float>::Of({1, 2}, {-500, 900}), b = Array<float>::Of({2, 1}, {900, -500});
  Array<float> c({1, 1});
  Tensor out = c;
  logmatmulexp(a, b, out, nullptr, nullptr);
  EXPECT_FLOAT_EQ(static_cast<float>(c.Get(0)), static_cast<float>(400 + std::log(2.0)));
}

template <class T>
void CheckBeyondTheDomain(double huge) {
  Draws draws;
  SCOPED_TRACE(huge);
  // As zeros, as the dominating numbers, as both, and where they cancel.
  for (const double share : {0.02, 0.4, 1.0}) {
    for (const double sign : {-1.0, 1.0}) {
      const auto draw = [&] { return draws.Chance(share) ? sign * huge : draws.Normal(3); };
      Product<T>({20, 30, 18}).Fill(draw).Run().Check();
    }
    const auto either = [&] {
      const double x = draws.Normal(1);
      return draws.Chance(share) ? std::copysign(huge, x) : x;
    };
    Product<T>({20, 30, 18}).Fill(either).Run().Check();
  }
}

TEST_P(MatmulOnEveryTarget, BeyondTheDomain) {
  for (const double huge : {0x1p21, 0x1p21 + 0.25, 3e6, 0x1p25}) CheckBeyondTheDomain<float>(huge);
  for (const double huge : {0x1p24, 3e8}) CheckBeyondTheDomain<double>(huge);
}

// Numbers so large that C + residual holds no logarithm of a count any more: C itself is right.
TEST_P(MatmulOnEveryTarget, NumbersOf1e38AreValuesLikeOthers) {
  Draws draws;
  for (const double share : {0.05, 0.5, 1.0}) {
    Product<float> product({20, 30, 18});
    product.Fill([&] {
      const double x = draws.Normal(2);
      return draws.Chance(share) ? std::copysign(1e38, x) : x;
    });
    product.Run();
    for (std::int64_t at = 0; at < product.C.Size(); ++at) {
      const LogOfTerms exact = product.Exact(0, at / 18, at % 18);
      const double got = product.C.Get(at);
      const auto error = static_cast<double>(std::fabs((got - exact.max) - exact.log_rest));
      ASSERT_LE(error, HalfUlp<float>(got) + ErrorFloor<float>(30)) << at;
      ASSERT_LE(error, product.bound.Get(at)) << at;
    }
  }
}

TEST_P(MatmulOnEveryTarget, SumsBeyondTheRangeAreInfinite) {
  for (const double sign : {-1.0, 1.0}) {
    Product<float> product({1, 2, 1});
    product.Fill([&] { return sign * 3e38; }).Run();
    EXPECT_EQ(product.C.Get(0), sign * kInf);
    EXPECT_EQ(product.bound.Get(0), kInf);  // the logarithm is finite
    EXPECT_EQ(product.residual.Get(0), 0);
  }
}

template <class T>
void CheckInfinities(double sigma) {
  Draws draws;
  for (const double plus : {0.0, 0.03}) {
    for (const double nan : {0.0, 0.002}) {
      Product<T>({30, 40, 25})
          .Fill([&] {
            if (draws.Chance(nan)) return kNaN;
            if (draws.Chance(plus)) return kInf;
            return draws.Chance(0.3) ? -kInf : draws.Normal(sigma);
          })
          .Run()
          .Check();
    }
  }
}

TEST_P(MatmulOnEveryTarget, InfinitiesAndNaN) {
  for (const double sigma : {2.0, 300.0, 1e7}) {
    CheckInfinities<float>(sigma);
    CheckInfinities<double>(sigma);
  }
  CheckInfinities<Half>(2);
}

TEST_P(MatmulOnEveryTarget, ZeroAbsorbsInfinityAndNothingAbsorbsNaN) {
  auto a = Array<float>::Of({5, 2}, {-kInf, 1, kInf, -kInf, -kInf, -kInf, kInf, kInf, kNaN, -kInf});
  auto b = Array<float>::Of({2, 3}, {kInf, 0, -kInf, -kInf, 0, 2});
  Array<float> c({5, 3}), residual({5, 3});
  Tensor out = c, rest = residual;
  logmatmulexp(a, b, out, nullptr, nullptr, &rest);
  const double expected[] = {-kInf, 1,    3,    kInf, kInf, -kInf, -kInf, -kInf,
                             -kInf, kInf, kInf, kInf, kNaN, kNaN,  kNaN};
  for (std::int64_t at = 0; at < 15; ++at) {
    if (std::isnan(expected[at])) {
      EXPECT_TRUE(std::isnan(c.Get(at))) << at;
    } else {
      EXPECT_FLOAT_EQ(static_cast<float>(c.Get(at)), static_cast<float>(expected[at])) << at;
    }
  }
  EXPECT_NEAR(residual.Get(10), std::log(2.0), 1e-6);  // two infinite terms
  EXPECT_EQ(residual.Get(9), 0);                       // one, the other absorbed
}

TEST_P(MatmulOnEveryTarget, NothingAtAll) {
  for (const auto& size : std::vector<Product<float>::Size>{
           {0, 3, 4}, {3, 4, 0}, {0, 0, 0}, {3, 0, 4}, {2, 3, 4, 0, 0}, {70, 0, 90, 3, 1}}) {
    Product<float> product(size);
    product.FillNormal(1);
    product.C.Fill([] { return 7; });
    product.Run().Check();
  }
}

template <class T>
std::vector<Array<T>> ResultsOf(Product<T> product, int threads) {
  product.Run(threads);
  return {product.C, Array<T>(product.residual), Array<T>(product.bound)};
}

TEST_P(MatmulOnEveryTarget, SameBitsForEveryThreadCount) {
  for (const double sigma : {3.0, 300.0, 1e7}) {
    for (const auto& size : std::vector<Product<float>::Size>{
             {190, 130, 210}, {1000, 60, 20}, {30, 50, 40, 30, 1}, {5, 3000, 130}}) {
      Product<float> product(size);
      product.FillNormal(sigma);
      const auto one = ResultsOf(product, 1);
      for (const int threads : {2, 3}) EXPECT_TRUE(ResultsOf(product, threads) == one);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MatmulOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         TargetName);

}  // namespace
}  // namespace logsum::testing
