// The product of the Max semiring: maxima, the lowest k that attains them, and gradients to it.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/matmul.hpp"
#include "matmul_product.hpp"

namespace logsum::testing {
namespace {

constexpr MatmulOptions kMax{.semiring = Semiring::max};

// One entry's maximum of sums rounded as the arithmetic rounds them.
struct Best {
  double value = -kInf;
  std::int64_t k = -1;
};

template <class T>
Best BestOf(Product<T>& product, std::int64_t b, std::int64_t i, std::int64_t j) {
  Best best;
  for (std::int64_t k = 0; k < product.size.depth; ++k) {
    const auto term = static_cast<double>(static_cast<WideOf<T>>(product.Term(b, i, k, j)));
    if (std::isnan(term)) return {term, k};
    if (best.k < 0 || term > best.value) best = {term, k};
  }
  return best;
}

template <class T>
struct Maximum {
  explicit Maximum(Product<T>& product, int threads = 1)
      : sources(static_cast<std::size_t>(product.C.Size())) {
    Tensor c = product.C, bound = product.bound;
    const auto [rows, columns] = std::pair(product.size.rows, product.size.columns);
    const std::array<std::int64_t, 3> strides = {rows * columns, columns, 1};
    Tensor argmax = {
        .data = sources.data(), .dtype = DType::i64, .shape = c.shape, .strides = strides};
    logmatmulexp(product.A, product.B, c, &bound, &argmax, kMax, {.threads = threads});
  }
  std::vector<std::int64_t> sources;
};

template <class T>
void CheckMaximum(Product<T> product) {
  SCOPED_TRACE(product.size.Text());
  using Wide = WideOf<T>;
  const auto& size = product.size;
  const Maximum<T> maximum(product);
  Array<Wide> grad({size.Batch(), size.rows, size.columns});
  std::mt19937 random(8);
  grad.Fill([&] { return static_cast<int>(random() % 100); });
  std::vector<double> to_A(static_cast<std::size_t>(product.A.Size()));
  std::vector<double> to_B(static_cast<std::size_t>(product.B.Size()));
  for (std::int64_t at = 0; at < product.C.Size(); ++at) {
    const std::int64_t b = at / (size.rows * size.columns);
    const std::int64_t i = at / size.columns % size.rows, j = at % size.columns;
    const Best best = BestOf(product, b, i, j);
    const double got = product.C.Get(at), bound = product.bound.Get(at);
    ASSERT_EQ(maximum.sources[static_cast<std::size_t>(at)], best.k) << at << ": " << got;
    if (std::isnan(best.value)) {
      ASSERT_TRUE(std::isnan(got) && std::isnan(bound)) << at;
    } else if (std::isinf(best.value)) {
      ASSERT_EQ(got, best.value) << at;
    } else {
      const long double exact = product.Term(b, i, best.k, j);
      ASSERT_EQ(got, ToFloat(FromDouble<T>(best.value))) << at;
      ASSERT_LE(static_cast<double>(std::fabs(got - exact)), bound) << at;
    }
    if (best.value == -kInf || best.k < 0) continue;
    to_A[static_cast<std::size_t>(product.AtA(b, i, best.k))] += grad.Get(at);
    to_B[static_cast<std::size_t>(product.AtB(b, best.k, j))] += grad.Get(at);
  }
  Array<Wide> grad_A({size.batch_A, size.rows, size.depth});
  Array<Wide> grad_B({size.batch_B, size.depth, size.columns});
  Tensor dA = grad_A, dB = grad_B;
  logmatmulexp_backward(grad, product.A, product.B, product.C, &dA, &dB, kMax);
  for (std::size_t at = 0; at < to_A.size(); ++at) {
    ASSERT_EQ(grad_A.Get(static_cast<std::int64_t>(at)), to_A[at]) << "grad_A " << at;
  }
  for (std::size_t at = 0; at < to_B.size(); ++at) {
    ASSERT_EQ(grad_B.Get(static_cast<std::int64_t>(at)), to_B[at]) << "grad_B " << at;
  }
}

template <class T>
void CheckMaxima() {
  for (const auto& size : std::vector<typename Product<T>::Size>{{1, 1, 1},
                                                                 {7, 64, 33},
                                                                 {129, 33, 17},
                                                                 {5, 1300, 20},
                                                                 {300, 4, 3},
                                                                 {3, 4, 300},
                                                                 {9, 12, 7, 1, 4},
                                                                 {9, 12, 7, 4, 1},
                                                                 {9, 12, 7, 3, 3}}) {
    for (const double sigma : {3.0, 1e7}) {
      CheckMaximum(Product<T>(size).FillNormal(sigma));
      CheckMaximum(Product<T>(size, {0, 2, 1}).FillNormal(sigma, -500));
    }
  }
}

TEST_P(MatmulOnEveryTarget, Maxima) {
  CheckMaxima<float>();
  CheckMaxima<double>();
  CheckMaximum(Product<Half>({20, 30, 17}).FillNormal(2));
  CheckMaximum(Product<BFloat16>({20, 30, 17}).FillNormal(2));
}

TEST_P(MatmulOnEveryTarget, TiesGoToTheLowest) {
  std::mt19937 random(4);
  for (const std::int64_t depth : {2, 33, 600, 1100}) {
    const auto draw = [&] { return static_cast<int>(random() % 3); };
    CheckMaximum(Product<float>({20, depth, 19}).Fill(draw));
    CheckMaximum(Product<double>({20, depth, 19}).Fill(draw));
    CheckMaximum(Product<float>({20, depth, 19}).Fill([] { return 1; }));
  }
}

// Sums that differ, but not once they are rounded: the gradient goes where argmax says.
TEST_P(MatmulOnEveryTarget, TiesByRoundingGoToTheLowest) {
  Product<float> product({1, 2, 1});
  product.A = Array<float>::Of({1, 1, 2}, {1, 1});
  product.B = Array<float>::Of({1, 2, 1}, {0, 0x1p-30});
  CheckMaximum(product);
}

TEST_P(MatmulOnEveryTarget, InfinitiesAndNaNOfMaxima) {
  std::mt19937 random(6);
  std::normal_distribution<double> normal;
  for (const bool nan : {false, true}) {
    const auto draw = [&] {
      const auto which = random() % 300;
      if (nan && which == 0) return kNaN;
      return which < 20 ? kInf : which < 150 ? -kInf : normal(random);
    };
    CheckMaximum(Product<float>({20, 10, 18}).Fill(draw));
    CheckMaximum(Product<double>({20, 10, 18}).Fill(draw));
  }
  CheckMaximum(Product<float>({3, 4, 5}).Fill([] { return -kInf; }));
}

TEST_P(MatmulOnEveryTarget, MaximaOfNothing) {
  CheckMaximum(Product<float>({3, 0, 4}));  // -inf from -1
  for (const auto& size : std::vector<Product<float>::Size>{
           {0, 3, 4}, {3, 4, 0}, {0, 0, 0}, {2, 3, 4, 0, 0}, {5, 4, 3, 1, 0}}) {
    CheckMaximum(Product<float>(size));
  }
}

TEST_P(MatmulOnEveryTarget, MaximaHaveTheSameBitsForEveryThreadCount) {
  Product<float> one({200, 130, 110});
  one.FillNormal(3);
  const Maximum<float> expected(one, 1);
  for (const int threads : {2, 3}) {
    Product<float> other = one;
    EXPECT_EQ(Maximum<float>(other, threads).sources, expected.sources);
    EXPECT_TRUE(other.C == one.C);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MatmulOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         TargetName);

}  // namespace
}  // namespace logsum::testing
