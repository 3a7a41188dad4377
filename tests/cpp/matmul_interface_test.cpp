// What the functions of matmul.hpp accept: broadcast batches, any strides; and what they refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/matmul.hpp"
#include "matmul_product.hpp"
#include "message.hpp"
#include "view.hpp"

namespace logsum::testing {
namespace {

// C and both gradients of strided operands, into strided outputs, against those of contiguous
// copies: within the bounds they may differ, as the order of additions does.
template <class T>
void CheckViews(double sigma) {
  using Wide = WideOf<T>;
  std::mt19937 random(13);
  std::normal_distribution<double> normal(0, sigma);
  const std::int64_t batch = 2, rows = 19, depth = 37, columns = 21;
  // Twice as large as wanted, (k, batch, i) and (j, batch, k).
  Array<T> a({2 * depth, batch, rows}), b({columns, batch, 2 * depth});
  Array<T> c({batch, columns, 2 * rows});
  Array<Wide> residual({rows, columns, batch}), bound({batch, rows, 2 * columns});
  Array<Wide> grad({columns, batch, rows}), grad_a({batch, depth, rows}),
      grad_b({columns, batch, depth});
  a.Fill([&] { return normal(random); });
  b.Fill([&] { return normal(random); });
  grad.Fill([&] { return normal(random) / sigma; });
  const View A = View(a).EverySecond(0).Reverse(0).Swap(0, 2).Swap(0, 1);
  const View B = View(b).EverySecond(2).Reverse(1).Swap(0, 1).Swap(1, 2);
  const View C = View(c).EverySecond(2).Swap(1, 2).Reverse(1).Reverse(2);
  const View R = View(residual).Swap(0, 2).Swap(1, 2).Reverse(0);
  const View E = View(bound).EverySecond(2).Reverse(2);
  const View G = View(grad).Swap(0, 1).Swap(1, 2).Reverse(1);
  const View GA = View(grad_a).Swap(1, 2).Reverse(1).Reverse(2);
  const View GB = View(grad_b).Swap(0, 1).Swap(1, 2).Reverse(0);

  Product<T> product({rows, depth, columns, batch, batch});
  for (std::int64_t at = 0; at < product.A.Size(); ++at) {
    product.A.Set(at, ToFloat(A.At<T>(at)));
  }
  for (std::int64_t at = 0; at < product.B.Size(); ++at) {
    product.B.Set(at, ToFloat(B.At<T>(at)));
  }
  Tensor to = C, e = E, r = R;
  logmatmulexp(A, B, to, &e, nullptr, &r);
  for (std::int64_t at = 0; at < product.C.Size(); ++at) {
    product.C.Set(at, ToFloat(C.At<T>(at)));
    product.residual.Set(at, R.At<Wide>(at));
    product.bound.Set(at, E.At<Wide>(at));
  }
  product.Check();

  Array<Wide> plain({batch, rows, columns});
  Array<Wide> plain_A({batch, rows, depth}), plain_B({batch, depth, columns});
  for (std::int64_t at = 0; at < plain.Size(); ++at) plain.Set(at, G.At<Wide>(at));
  Tensor dA = plain_A, dB = plain_B, plain_rest = product.residual;
  logmatmulexp_backward(plain, product.A, product.B, product.C, &plain_rest, &dA, &dB);
  Tensor view_dA = GA, view_dB = GB;
  logmatmulexp_backward(G, A, B, C, &r, &view_dA, &view_dB);
  const double tolerance = 300 * kRoundoff<T> * 2 * static_cast<double>(columns);
  for (std::int64_t at = 0; at < plain_A.Size(); ++at) {
    ASSERT_NEAR(GA.At<Wide>(at), plain_A.Get(at), tolerance) << at;
  }
  for (std::int64_t at = 0; at < plain_B.Size(); ++at) {
    ASSERT_NEAR(GB.At<Wide>(at), plain_B.Get(at), tolerance) << at;
  }
}

TEST_P(MatmulOnEveryTarget, AnyStrides) {
  for (const double sigma : {3.0, 300.0}) {
    CheckViews<float>(sigma);
    CheckViews<double>(sigma);
    CheckViews<Half>(sigma / 10);
  }
}

// (3, 1, M, K) with (4, K, N), and operands repeated by a stride of zero: one product for each pair
// of batch entries, and gradients summed over repetitions.
TEST_P(MatmulOnEveryTarget, BatchesBroadcast) {
  const std::int64_t M = 6, K = 20, N = 9;
  Array<double> a({3, 1, M, K}), b({4, K, N}), c({3, 4, M, N}), grad({3, 4, M, N});
  Array<double> grad_a({3, 1, M, K}), grad_b({4, K, N}), residual({3, 4, M, N});
  std::mt19937 random(1);
  std::normal_distribution<double> normal(0, 4);
  for (auto* const array : {&a, &b, &grad}) array->Fill([&] { return normal(random); });
  Tensor to = c, rest = residual, dA = grad_a, dB = grad_b;
  logmatmulexp(a, b, to, nullptr, nullptr, &rest);
  logmatmulexp_backward(grad, a, b, c, &rest, &dA, &dB);
  std::vector<double> sum_A(static_cast<std::size_t>(a.Size()));
  std::vector<double> sum_B(static_cast<std::size_t>(b.Size()));
  for (std::int64_t x = 0; x < 3; ++x) {
    for (std::int64_t y = 0; y < 4; ++y) {
      Product<double> one({M, K, N});
      Array<double> one_grad({1, M, N}), one_A({1, M, K}), one_B({1, K, N});
      for (std::int64_t at = 0; at < M * K; ++at) one.A.Set(at, a.Get(x * M * K + at));
      for (std::int64_t at = 0; at < K * N; ++at) one.B.Set(at, b.Get(y * K * N + at));
      for (std::int64_t at = 0; at < M * N; ++at) {
        const std::int64_t whole = (x * 4 + y) * M * N + at;
        one.C.Set(at, c.Get(whole));
        one.residual.Set(at, residual.Get(whole));
        one.bound.Set(at, 1);
        one_grad.Set(at, grad.Get(whole));
      }
      one.Check();
      Tensor one_dA = one_A, one_dB = one_B, one_rest = one.residual;
      logmatmulexp_backward(one_grad, one.A, one.B, one.C, &one_rest, &one_dA, &one_dB);
      for (std::int64_t at = 0; at < M * K; ++at) {
        sum_A[static_cast<std::size_t>(x * M * K + at)] += one_A.Get(at);
      }
      for (std::int64_t at = 0; at < K * N; ++at) {
        sum_B[static_cast<std::size_t>(y * K * N + at)] += one_B.Get(at);
      }
    }
  }
  for (std::int64_t at = 0; at < a.Size(); ++at) {
    EXPECT_NEAR(grad_a.Get(at), sum_A[static_cast<std::size_t>(at)], 1e-11);
  }
  for (std::int64_t at = 0; at < b.Size(); ++at) {
    EXPECT_NEAR(grad_b.Get(at), sum_B[static_cast<std::size_t>(at)], 1e-11);
  }

  Array<double> again({3, 4, M, N});
  Tensor repeated = again;
  logmatmulexp(View(a).Repeat(1, 4), b, repeated, nullptr, nullptr);
  for (std::int64_t at = 0; at < c.Size(); ++at) EXPECT_NEAR(again.Get(at), c.Get(at), 1e-14);
}

INSTANTIATE_TEST_SUITE_P(Targets, MatmulOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         TargetName);

class MatmulErrors : public ::testing::Test {
 protected:
  // Every function with good arguments but for those that a test changes.
  std::string Product() {
    return MessageOf([this] {
      Tensor* const no_bound = nullptr;
      logmatmulexp(A, B, C, with_bound ? &bound : no_bound, with_argmax ? &argmax : nullptr,
                   with_residual ? &residual : nullptr, {.semiring = semiring});
    });
  }
  std::string Backward() {
    return MessageOf([this] {
      logmatmulexp_backward(grad, A, B, C, with_residual ? &residual : nullptr, &grad_A, &grad_B,
                            {.semiring = semiring});
    });
  }
  std::string Mean(MatmulIndex over, MatmulWeights weights, Tensor& out) {
    return MessageOf([&, this] {
      logmatmulexp_mean(A, B, C, with_residual ? &residual : nullptr, over, weights, out);
    });
  }

  Array<float> a{{4, 2, 3}}, b{{3, 5}}, c{{4, 2, 5}}, of_a{{4, 2, 3}}, of_b{{3, 5}},
      of_c{{4, 2, 5}};
  Array<double> wide{{4, 2, 5}}, wide_a{{4, 2, 3}}, wide_b{{3, 5}};
  Array<float> wrong{{3}}, wrong_matrix{{7, 5}}, wrong_batch{{2, 3, 5}};
  Tensor A = a, B = b, C = c, bound = of_c, residual = of_c, grad = of_c, grad_A = of_a,
         grad_B = of_b,
         argmax = {.data = memory.data(), .dtype = DType::i64, .shape = shape, .strides = strides};
  Semiring semiring = Semiring::log;
  bool with_bound = true, with_argmax = false, with_residual = true;

 private:
  static constexpr std::array<std::int64_t, 3> shape = {4, 2, 5}, strides = {10, 5, 1};
  std::array<std::int64_t, 40> memory{};
};

TEST_F(MatmulErrors, OfOperands) {
  EXPECT_EQ(Product(), "no error");
  B.dtype = DType::f64;
  EXPECT_EQ(Product(), "logmatmulexp: B: expected float32, got float64");
  EXPECT_EQ(Backward(), "logmatmulexp_backward: B: expected float32, got float64");
  B = b;
  A.dtype = DType::i32;
  EXPECT_EQ(Product(),
            "logmatmulexp: A: expected float16, bfloat16, float32 or float64, got int32");
  A = wrong;
  EXPECT_EQ(Product(), "logmatmulexp: A: expected at least 2 axes, got (3,)");
  A = a;
  B = wrong;
  EXPECT_EQ(Product(), "logmatmulexp: B: expected at least 2 axes, got (3,)");
  B = wrong_matrix;
  EXPECT_EQ(Product(),
            "logmatmulexp: B: expected as many rows as A has columns, 3, got shape (7, 5)");
  B = wrong_batch;
  EXPECT_EQ(Product(),
            "logmatmulexp: B: expected batch axes that broadcast with A's (4, 2, 3), got shape "
            "(2, 3, 5)");
  B = b;
  B.data = nullptr;
  EXPECT_EQ(Product(), "logmatmulexp: B: expected a data pointer, got null");
  B = b;
  A.device = Device::cuda;
  EXPECT_EQ(Product(),
            "logmatmulexp: A: expected a CPU tensor (CUDA is not built yet), got a CUDA tensor");
}

TEST_F(MatmulErrors, OfResults) {
  C = of_a;
  EXPECT_EQ(Product(), "logmatmulexp: C: expected shape (4, 2, 5), got (4, 2, 3)");
  C = wide;
  EXPECT_EQ(Product(), "logmatmulexp: C: expected float32, got float64");
  C = c;
  bound = of_b;
  EXPECT_EQ(Product(), "logmatmulexp: bound: expected shape (4, 2, 5), got (3, 5)");
  bound = wide;
  EXPECT_EQ(Product(), "logmatmulexp: bound: expected float32, got float64");
  with_bound = false;
  residual = of_b;
  EXPECT_EQ(Product(), "logmatmulexp: residual: expected shape (4, 2, 5), got (3, 5)");
  residual = wide;
  EXPECT_EQ(Product(), "logmatmulexp: residual: expected float32, got float64");
  semiring = Semiring::max;
  EXPECT_EQ(Product(), "logmatmulexp: residual: expected null in the max semiring, got a tensor");
}

TEST_F(MatmulErrors, OfArgmax) {
  with_residual = false;
  with_argmax = true;
  EXPECT_EQ(Product(), "logmatmulexp: argmax: expected null in the log semiring, got a tensor");
  semiring = Semiring::max;
  EXPECT_EQ(Product(), "no error");
  argmax.dtype = DType::i32;
  EXPECT_EQ(Product(), "logmatmulexp: argmax: expected int64, got int32");
  argmax.dtype = DType::i64;
  argmax.shape = argmax.shape.first(2);
  argmax.strides = argmax.strides.first(2);
  EXPECT_EQ(Product(), "logmatmulexp: argmax: expected shape (4, 2, 5), got (4, 2)");
}

TEST_F(MatmulErrors, OfGradients) {
  for (const Semiring each : {Semiring::log, Semiring::max}) {
    semiring = each;
    EXPECT_EQ(Backward(), "no error");
    grad = of_b;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad: expected shape (4, 2, 5), got (3, 5)");
    grad = wide;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad: expected float32, got float64");
    grad = of_c;
    C = wide;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: C: expected float32, got float64");
    C = of_b;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: C: expected shape (4, 2, 5), got (3, 5)");
    C = c;
    residual = wide;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: residual: expected float32, got float64");
    residual = of_c;
    grad_A = of_b;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad_A: expected shape (4, 2, 3), got (3, 5)");
    grad_A = wide_a;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad_A: expected float32, got float64");
    grad_A = of_a;
    grad_B = of_a;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad_B: expected shape (3, 5), got (4, 2, 3)");
    grad_B = wide_b;
    EXPECT_EQ(Backward(), "logmatmulexp_backward: grad_B: expected float32, got float64");
    grad_B = of_b;
  }
}

TEST_F(MatmulErrors, OfMeans) {
  using enum MatmulIndex;
  EXPECT_EQ(Mean(inner, {.A = &grad_A, .B = &grad_B}, bound), "no error");
  EXPECT_EQ(Mean(column, {.B = &grad_B, .C = &grad}, grad_A), "no error");
  EXPECT_EQ(Mean(row, {.A = &grad_A, .C = &grad}, grad_B), "no error");
  const std::string own = ": expected null for out's own operand, got a tensor";
  EXPECT_EQ(Mean(inner, {.C = &grad}, bound), "logmatmulexp_mean: weight_C" + own);
  EXPECT_EQ(Mean(column, {.A = &grad_A}, grad_A), "logmatmulexp_mean: weight_A" + own);
  EXPECT_EQ(Mean(row, {.B = &grad_B}, grad_B), "logmatmulexp_mean: weight_B" + own);
  EXPECT_EQ(Mean(inner, {.A = &grad_B}, bound),
            "logmatmulexp_mean: weight_A: expected shape (4, 2, 3), got (3, 5)");
  EXPECT_EQ(Mean(inner, {.B = &grad_A}, bound),
            "logmatmulexp_mean: weight_B: expected shape (3, 5), got (4, 2, 3)");
  EXPECT_EQ(Mean(row, {.C = &grad_A}, grad_B),
            "logmatmulexp_mean: weight_C: expected shape (4, 2, 5), got (4, 2, 3)");
  const Tensor double_A = wide_a, double_B = wide_b, double_C = wide;
  const std::string dtype = ": expected float32, got float64";
  EXPECT_EQ(Mean(inner, {.A = &double_A}, bound), "logmatmulexp_mean: weight_A" + dtype);
  EXPECT_EQ(Mean(inner, {.B = &double_B}, bound), "logmatmulexp_mean: weight_B" + dtype);
  EXPECT_EQ(Mean(row, {.C = &double_C}, grad_B), "logmatmulexp_mean: weight_C" + dtype);
  EXPECT_EQ(Mean(inner, {}, grad_B),
            "logmatmulexp_mean: out: expected shape (4, 2, 5), got (3, 5)");
  EXPECT_EQ(Mean(column, {}, grad_B),
            "logmatmulexp_mean: out: expected shape (4, 2, 3), got (3, 5)");
  EXPECT_EQ(Mean(row, {}, grad_A), "logmatmulexp_mean: out: expected shape (3, 5), got (4, 2, 3)");
  Tensor double_out = wide;
  EXPECT_EQ(Mean(inner, {}, double_out), "logmatmulexp_mean: out" + dtype);
  residual = wide;
  EXPECT_EQ(Mean(inner, {}, bound), "logmatmulexp_mean: residual" + dtype);
}

}  // namespace
}  // namespace logsum::testing
