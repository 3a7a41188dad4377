// Gradients of the log-space product and means of its terms, on every CPU target.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/matmul.hpp"
#include "matmul_product.hpp"

namespace logsum::testing {
namespace {

// "A few hundred units roundoff" (matmul.hpp), of the weights' magnitudes along the sum.
constexpr double kMeanRoundings = 300;

// Sums over one index of weights times p = exp(A + B - C): with every weight given, the mean over
// rows leaves out B's, and so on.
struct Sums {
  explicit Sums(std::int64_t size)
      : value(static_cast<std::size_t>(size)), mass(static_cast<std::size_t>(size)) {}
  void Add(std::int64_t at, long double weight, long double p) {
    const auto index = static_cast<std::size_t>(at);
    if (std::isnan(p)) {
      value[index] = p;
      return;
    }
    // What takes no part does not count, however large.
    if (p == 0) return;
    value[index] += weight * p;
    mass[index] += std::fabs(weight);
  }
  std::vector<long double> value, mass;
};

template <class T>
struct Weights {
  using Wide = WideOf<T>;
  explicit Weights(const Product<T>& product)
      : A({product.size.batch_A, product.size.rows, product.size.depth}),
        B({product.size.batch_B, product.size.depth, product.size.columns}),
        C({product.size.Batch(), product.size.rows, product.size.columns}) {}
  template <class Draw>
  Weights& Fill(const Draw& draw) {
    A.Fill(draw);
    B.Fill(draw);
    C.Fill(draw);
    return *this;
  }
  Array<Wide> A, B, C;
};

template <class T>
struct Expected {
  Expected(Product<T>& product, Weights<T>& weights)
      : inner(product.C.Size()), column(product.A.Size()), row(product.B.Size()) {
    const auto& size = product.size;
    for (std::int64_t at = 0; at < product.C.Size(); ++at) {
      const std::int64_t b = at / (size.rows * size.columns);
      const std::int64_t i = at / size.columns % size.rows, j = at % size.columns;
      const LogOfTerms lse = product.Exact(b, i, j);
      for (std::int64_t k = 0; k < size.depth; ++k) {
        const std::int64_t a = product.AtA(b, i, k), c = product.AtB(b, k, j);
        const long double p = Probability(product.Term(b, i, k, j), lse);
        inner.Add(at, Times(weights.A.Get(a), weights.B.Get(c)), p);
        column.Add(a, Times(weights.C.Get(at), weights.B.Get(c)), p);
        row.Add(c, Times(weights.C.Get(at), weights.A.Get(a)), p);
      }
    }
  }
  static long double Times(long double x, long double y) { return x == 0 || y == 0 ? 0 : x * y; }
  static long double Probability(long double term, const LogOfTerms& lse) {
    if (term == -kInf) return 0;
    if (lse.max == kInf) return term == kInf ? 1.0L / static_cast<double>(lse.infinities) : 0;
    return std::exp((term - lse.max) - lse.log_rest);
  }
  Sums inner, column, row;
};

template <class Out>
void ExpectSums(Out& got, const Sums& expected, double roundoff, const char* what) {
  for (std::int64_t at = 0; at < got.Size(); ++at) {
    const auto index = static_cast<std::size_t>(at);
    const long double value = expected.value[index];
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(got.Get(at))) << what << " " << at << ": " << got.Get(at);
    } else {
      const double bound =
          kMeanRoundings * roundoff * static_cast<double>(expected.mass[index]) + 1e-37;
      ASSERT_LE(std::fabs(got.Get(at) - value), bound)
          << what << " " << at << ": " << got.Get(at) << " for " << static_cast<double>(value);
    }
  }
}

template <class T>
void CheckGradients(Product<T> product, double roundoff = kRoundoff<T>) {
  SCOPED_TRACE(product.size.Text());
  using Wide = WideOf<T>;
  const auto& size = product.size;
  product.Run();
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  Weights<T> weights(product);
  weights.Fill([] { return 1; });
  weights.C.Fill([&] { return normal(random); });
  Array<Wide> grad_A({size.batch_A, size.rows, size.depth});
  Array<Wide> grad_B({size.batch_B, size.depth, size.columns});
  Tensor dA = grad_A, dB = grad_B, residual = product.residual;
  logmatmulexp_backward(weights.C, product.A, product.B, product.C, &residual, &dA, &dB);
  const Expected<T> expected(product, weights);
  ExpectSums(grad_A, expected.column, roundoff, "grad_A");
  ExpectSums(grad_B, expected.row, roundoff, "grad_B");
}

// The three means with random weights on both operands each.
template <class T>
void CheckMeans(Product<T> product, Weights<T> weights) {
  SCOPED_TRACE(product.size.Text());
  using Wide = WideOf<T>;
  const auto& size = product.size;
  product.Run();
  Array<Wide> inner({size.Batch(), size.rows, size.columns});
  Array<Wide> column({size.batch_A, size.rows, size.depth});
  Array<Wide> row({size.batch_B, size.depth, size.columns});
  Tensor out_inner = inner, out_column = column, out_row = row, residual = product.residual;
  const Tensor a = weights.A, b = weights.B, c = weights.C;
  const auto mean = [&](MatmulIndex over, MatmulWeights some, Tensor& out) {
    logmatmulexp_mean(product.A, product.B, product.C, &residual, over, some, out);
  };
  mean(MatmulIndex::inner, {.A = &a, .B = &b}, out_inner);
  mean(MatmulIndex::column, {.B = &b, .C = &c}, out_column);
  mean(MatmulIndex::row, {.A = &a, .C = &c}, out_row);
  const Expected<T> expected(product, weights);
  ExpectSums(inner, expected.inner, kRoundoff<T>, "inner");
  ExpectSums(column, expected.column, kRoundoff<T>, "column");
  ExpectSums(row, expected.row, kRoundoff<T>, "row");
}

template <class T>
std::vector<Product<T>> Products() {
  std::vector<Product<T>> all;
  for (const auto& size : std::vector<typename Product<T>::Size>{{1, 1, 1},
                                                                 {17, 30, 40},
                                                                 {70, 33, 5},
                                                                 {3, 5, 200},
                                                                 {9, 12, 7, 3, 3},
                                                                 {9, 12, 7, 1, 4},
                                                                 {9, 12, 7, 4, 1}}) {
    for (const double mean : {0.0, -4000.0}) {
      all.push_back(Product<T>(size).FillNormal(3, mean));
      all.push_back(Product<T>(size, {2, 0, 1}).FillNormal(300, mean));
    }
  }
  all.push_back(Product<T>({12, 30, 14}).FillNormal(6e5));  // at the end of the domain
  all.push_back(Product<T>({12, 30, 14}).FillNormal(1e7));  // beyond the domain
  std::mt19937 random(9);
  std::normal_distribution<double> normal(0, 4);
  // Zeros, shares of infinity and pairs that meet crosswise.
  all.push_back(Product<T>({20, 15, 18}).Fill([&] {
    const auto which = random() % 20;
    return which == 0 ? kInf : which < 6 ? -kInf : normal(random);
  }));
  all.push_back(Product<T>({20, 16, 18})
                    .Fill([](std::int64_t, std::int64_t k) { return k % 2 ? 900.0 : -500.0; },
                          [](std::int64_t k, std::int64_t) { return k % 2 ? -500.0 : 900.0; }));
  return all;
}

TEST_P(MatmulOnEveryTarget, Gradients) {
  for (const Product<float>& product : Products<float>()) CheckGradients(product);
  for (const Product<double>& product : Products<double>()) CheckGradients(product);
  for (const double mean : {0.0, -300.0}) {
    CheckGradients(Product<Half>({20, 30, 17}).FillNormal(2, mean));
    CheckGradients(Product<BFloat16>({20, 30, 17}).FillNormal(2, mean));
  }
}

TEST_P(MatmulOnEveryTarget, GradientsOfNaNAreNaNInItsLineOnly) {
  Product<float> product({6, 5, 7});
  product.FillNormal(1);
  product.A.Set(2 * 5 + 3, kNaN);  // A[2, 3]
  product.Run();
  Weights<float> weights(product);
  weights.Fill([] { return 1; });
  Array<float> grad({1, 6, 5});
  Tensor dA = grad, residual = product.residual;
  logmatmulexp_backward(weights.C, product.A, product.B, product.C, &residual, &dA, nullptr);
  for (std::int64_t at = 0; at < 30; ++at) {
    EXPECT_EQ(std::isnan(grad.Get(at)), at / 5 == 2) << at;
  }
}

TEST_P(MatmulOnEveryTarget, GradientMassIsWhatCameIn) {
  // However large C is: that is what the residual is for.
  for (const double mean : {0.0, -4000.0, 1e6}) {
    Product<float> product({24, 50, 31});
    product.FillNormal(5, mean).Run();
    Array<float> grad({1, 24, 31}), grad_A({1, 24, 50});
    grad.Fill([] { return 1; });
    Tensor dA = grad_A, residual = product.residual;
    logmatmulexp_backward(grad, product.A, product.B, product.C, &residual, &dA, nullptr);
    for (std::int64_t i = 0; i < 24; ++i) {
      double mass = 0;
      for (std::int64_t k = 0; k < 50; ++k) mass += grad_A.Get(i * 50 + k);
      EXPECT_NEAR(mass, 31, 31 * 100 * 0x1p-24) << mean;
    }
  }
}

TEST_P(MatmulOnEveryTarget, GradientsWithoutAResidualAreAsGoodAsC) {
  Product<float> product({24, 50, 31});
  product.FillNormal(5, -2000).Run();
  product.residual.Fill([] { return kNaN; });  // not to be read
  Weights<float> weights(product);
  weights.Fill([] { return 1; });
  Array<float> grad_A({1, 24, 50}), grad_B({1, 50, 31});
  Tensor dA = grad_A, dB = grad_B;
  logmatmulexp_backward(weights.C, product.A, product.B, product.C, &dA, &dB);
  const Expected<float> expected(product, weights);
  ExpectSums(grad_A, expected.column, 0x1p-24 * 4100 / kMeanRoundings, "grad_A");
  ExpectSums(grad_B, expected.row, 0x1p-24 * 4100 / kMeanRoundings, "grad_B");
}

// C as small as e^-87: the gradient's weights e^-C are large, those of A and B small.
TEST_P(MatmulOnEveryTarget, GradientsWhereTheProductIsSmall) {
  Product<float> product({1, 2, 4});
  product.A = Array<float>::Of({1, 1, 2}, {0, -125});
  product.B = Array<float>::Of({1, 2, 4}, {-126, -126, -126, -126, 0, 0, 0, 0});
  product.Run();
  auto grad = Array<float>::Of({1, 1, 4}, {8, 8, 8, 8});
  Array<float> grad_A({1, 1, 2}), grad_B({1, 2, 4});
  Tensor dA = grad_A, dB = grad_B, residual = product.residual;
  logmatmulexp_backward(grad, product.A, product.B, product.C, &residual, &dA, &dB);
  const double p = 1 / (1 + std::exp(1.0));
  EXPECT_NEAR(grad_A.Get(0), 32 * p, 32 * 1e-6);
  EXPECT_NEAR(grad_A.Get(1), 32 * (1 - p), 32 * 1e-6);
  for (std::int64_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(grad_B.Get(j), 8 * p, 8 * 1e-6);
    EXPECT_NEAR(grad_B.Get(4 + j), 8 * (1 - p), 8 * 1e-6);
  }
}

template <class T>
void CheckMeansOf(double scale) {
  std::mt19937 random(21);
  std::normal_distribution<double> normal;
  for (const Product<T>& product : Products<T>()) {
    Weights<T> weights(product);
    weights.Fill([&] { return random() % 4 == 0 ? 0.0 : scale * normal(random); });
    CheckMeans(product, weights);
  }
}

TEST_P(MatmulOnEveryTarget, Means) {
  CheckMeansOf<float>(1);
  CheckMeansOf<double>(1);
  CheckMeansOf<float>(1e15);
  CheckMeansOf<float>(1e-15);
  CheckMeansOf<double>(1e120);
}

// An infinite or NaN weight of a zero is no weight at all.
template <class T>
void CheckWeightsOfZeros(double sigma) {
  SCOPED_TRACE(sigma);
  std::mt19937 random(2);
  std::normal_distribution<double> normal(0, sigma);
  Product<T> product({20, 15, 18});
  product.Fill([&] { return random() % 4 == 0 ? -kInf : normal(random); });
  for (std::int64_t k = 0; k < 15; ++k) product.A.Set(3 * 15 + k, -kInf);  // all of row 3
  Weights<T> weights(product);
  weights.Fill([&] { return normal(random) / sigma; });
  const double nothing[] = {kInf, -kInf, kNaN};
  for (auto* const pair : {&weights.A, &weights.B}) {
    auto& logarithms = pair == &weights.A ? product.A : product.B;
    for (std::int64_t at = 0; at < pair->Size(); ++at) {
      if (logarithms.Get(at) == -kInf) pair->Set(at, nothing[at % 3]);
    }
  }
  for (std::int64_t j = 0; j < 18; ++j) weights.C.Set(3 * 18 + j, nothing[j % 3]);
  CheckMeans(product, weights);
}

TEST_P(MatmulOnEveryTarget, WeightsOfZerosTakeNoPart) {
  for (const double sigma : {1.0, 300.0, 1e7}) {
    CheckWeightsOfZeros<float>(sigma);
    CheckWeightsOfZeros<double>(sigma);
  }
}

TEST_P(MatmulOnEveryTarget, WeightsOfZeroTakeTheirTermsOut) {
  // Also infinite ones.
  auto a = Array<float>::Of({1, 3}, {kInf, kInf, 0}), b = Array<float>::Of({3, 1}, {0, 0, 0});
  auto weight = Array<float>::Of({1, 3}, {0, 6, 7});
  Array<float> c({1, 1}), residual({1, 1}), out({1, 1});
  Tensor to = c, rest = residual, mean = out;
  const Tensor w = weight;
  logmatmulexp(a, b, to, nullptr, nullptr, &rest);
  logmatmulexp_mean(a, b, c, &rest, MatmulIndex::inner, {.A = &w}, mean);
  EXPECT_NEAR(out.Get(0), 3, 1e-6);
}

TEST_P(MatmulOnEveryTarget, GradientsOfNothing) {
  for (const auto& size : std::vector<Product<float>::Size>{{0, 3, 4},
                                                            {3, 4, 0},
                                                            {0, 0, 0},
                                                            {3, 0, 4},
                                                            {2, 3, 4, 0, 0},
                                                            {70, 0, 90, 3, 1},
                                                            {5, 4, 3, 1, 0}}) {
    CheckGradients(Product<float>(size).FillNormal(1));
  }
}

TEST_P(MatmulOnEveryTarget, GradientsHaveTheSameBitsForEveryThreadCount) {
  for (const double sigma : {3.0, 300.0}) {
    Product<float> product({190, 130, 210});
    product.FillNormal(sigma).Run();
    Array<float> grad({1, 190, 210}), one_A({1, 190, 130}), one_B({1, 130, 210});
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    grad.Fill([&] { return normal(random); });
    const auto run = [&](int threads, Array<float>& grad_A, Array<float>& grad_B) {
      Tensor dA = grad_A, dB = grad_B, residual = product.residual;
      logmatmulexp_backward(grad, product.A, product.B, product.C, &residual, &dA, &dB, {},
                            {.threads = threads});
    };
    run(1, one_A, one_B);
    for (const int threads : {2, 3}) {
      Array<float> grad_A({1, 190, 130}), grad_B({1, 130, 210});
      run(threads, grad_A, grad_B);
      EXPECT_TRUE(grad_A == one_A);
      EXPECT_TRUE(grad_B == one_B);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MatmulOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         TargetName);

}  // namespace
}  // namespace logsum::testing
