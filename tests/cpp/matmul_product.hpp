// A log-space product of test arrays, and what it should be in long double, entry by entry.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/matmul.hpp"
#include "rounding.hpp"

namespace logsum::testing {

class MatmulOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

inline std::string TargetName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

// The promised error beside the rounding of C (docs/numerics.md): 1e-6 for K <= 512 and 2e-6 for
// K <= 4096 in float32; the same number of roundings in float64. Beyond, the proved 53 of them.
template <class T>
double ErrorFloor(std::int64_t depth) {
  const double roundings = depth <= 512 ? 16.7 : depth <= 4096 ? 33.5 : 53;
  return roundings * kRoundoff<T>;
}

// log of a sum of exponentials as max + log_rest, and how many terms are +inf.
struct LogOfTerms {
  long double max = -kInf, log_rest = 0;
  std::int64_t infinities = 0;

  explicit LogOfTerms(const std::vector<long double>& terms) {
    for (const long double x : terms) {
      if (std::isnan(x)) max = x;
      if (!std::isnan(max)) max = std::max(max, x);
      infinities += x == kInf;
    }
    if (!std::isfinite(max)) return;
    long double sum = 0;
    for (const long double x : terms) sum += std::exp(x - max);
    log_rest = std::log(sum);
  }
};

// A (batch, rows, depth) times B (batch, depth, columns); the batch of either may be 1.
template <class T>
class Product {
 public:
  using Wide = WideOf<T>;
  struct Size {
    std::int64_t rows, depth, columns;
    std::int64_t batch_A = 1, batch_B = 1;
    std::int64_t Batch() const { return batch_A == 1 ? batch_B : batch_A; }
    std::string Text() const {
      return std::to_string(rows) + " x " + std::to_string(depth) + " x " +
             std::to_string(columns) + ", batches " + std::to_string(batch_A) + " and " +
             std::to_string(batch_B);
    }
  };

  explicit Product(const Size& size, const std::vector<int>& order = {0, 1, 2})
      : size(size),
        A({size.batch_A, size.rows, size.depth}, order),
        B({size.batch_B, size.depth, size.columns}, order),
        C({size.Batch(), size.rows, size.columns}, order),
        bound({size.Batch(), size.rows, size.columns}, order),
        residual({size.Batch(), size.rows, size.columns}, order) {}

  // A[b, i, k] = draw_A(i, k), B[b, k, j] = draw_B(k, j).
  template <class DrawA, class DrawB>
  Product& Fill(const DrawA& draw_A, const DrawB& draw_B) {
    for (std::int64_t at = 0; at < A.Size(); ++at) {
      A.Set(at, draw_A(at / size.depth % size.rows, at % size.depth));
    }
    for (std::int64_t at = 0; at < B.Size(); ++at) {
      B.Set(at, draw_B(at / size.columns % size.depth, at % size.columns));
    }
    return *this;
  }
  template <class Draw>
  Product& Fill(const Draw& draw) {
    A.Fill(draw);
    B.Fill(draw);
    return *this;
  }
  Product& FillNormal(double sigma, double mean = 0) {
    std::mt19937 random(5);
    std::normal_distribution<double> normal(mean, sigma);
    return Fill([&] { return normal(random); });
  }

  Product& Run(int threads = 1) {
    Tensor c = C, b = bound, r = residual;
    logmatmulexp(A, B, c, &b, nullptr, &r, {}, {.threads = threads});
    return *this;
  }

  std::int64_t AtA(std::int64_t b, std::int64_t i, std::int64_t k) const {
    return (size.batch_A == 1 ? 0 : b * size.rows * size.depth) + i * size.depth + k;
  }
  std::int64_t AtB(std::int64_t b, std::int64_t k, std::int64_t j) const {
    return (size.batch_B == 1 ? 0 : b * size.depth * size.columns) + k * size.columns + j;
  }
  std::int64_t AtC(std::int64_t b, std::int64_t i, std::int64_t j) const {
    return (b * size.rows + i) * size.columns + j;
  }

  // A[b, i, k] + B[b, k, j]: -inf absorbs all but NaN.
  long double Term(std::int64_t b, std::int64_t i, std::int64_t k, std::int64_t j) {
    const double x = A.Get(AtA(b, i, k)), y = B.Get(AtB(b, k, j));
    if (std::isnan(x) || std::isnan(y)) return kNaN;
    if (x == -kInf || y == -kInf) return -kInf;
    return static_cast<long double>(x) + y;
  }
  LogOfTerms Exact(std::int64_t b, std::int64_t i, std::int64_t j) {
    std::vector<long double> terms(static_cast<std::size_t>(size.depth));
    for (std::int64_t k = 0; k < size.depth; ++k) {
      terms[static_cast<std::size_t>(k)] = Term(b, i, k, j);
    }
    return LogOfTerms(terms);
  }

  // C, its residual and its bound; of large products every so many entries.
  void Check() {
    SCOPED_TRACE(size.Text());
    const double cost = static_cast<double>(C.Size()) * static_cast<double>(size.depth);
    const std::int64_t step = 1 + static_cast<std::int64_t>(cost / 1e5);
    for (std::int64_t at = 0; at < C.Size(); at += step) {
      CheckEntry(at / (size.rows * size.columns), at / size.columns % size.rows, at % size.columns);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  const Size size;
  Array<T> A, B, C;
  Array<Wide> bound, residual;

 private:
  void CheckEntry(std::int64_t b, std::int64_t i, std::int64_t j) {
    const LogOfTerms exact = Exact(b, i, j);
    const std::int64_t at = AtC(b, i, j);
    const double got = C.Get(at), rest = residual.Get(at), within = bound.Get(at);
    const auto where = [&] {
      std::ostringstream text;
      text << "[" << b << ", " << i << ", " << j << "] = " << got << " + " << rest << " for "
           << exact.max << " + " << exact.log_rest << ", bound " << within;
      return text.str();
    };
    if (std::isnan(exact.max)) {
      ASSERT_TRUE(std::isnan(got)) << where();
      ASSERT_TRUE(std::isnan(rest) || rest == 0) << where();
      ASSERT_TRUE(std::isnan(within)) << where();
    } else if (std::isinf(exact.max)) {
      ASSERT_EQ(got, exact.max) << where();
      ASSERT_EQ(within, 0) << where();
      const double count = exact.max > 0 ? static_cast<double>(exact.infinities) : 1;
      ASSERT_NEAR(rest, std::log(count), 1e-6) << where();
    } else {
      const long double error = (got - exact.max) - exact.log_rest;
      const double size_of_error = static_cast<double>(std::fabs(error));
      // Half types are rounded twice. long double cannot hold every sum of two float64.
      const double twice = sizeof(T) == 2 ? HalfUlp<float>(got) : 0;
      const double reference = static_cast<double>(std::fabs(exact.max)) * 0x1p-63;
      const double floor = ErrorFloor<T>(size.depth) + reference;
      ASSERT_LE(size_of_error, HalfUlp<T>(got) + twice + floor) << where();
      ASSERT_LE(size_of_error, within + reference) << where();
      // The residual is as precise as its type: that matters where C itself is beyond 1e5 or so.
      ASSERT_LE(static_cast<double>(std::fabs(error + rest)), floor + kRoundoff<T> * std::abs(rest))
          << where();
    }
  }
};

}  // namespace logsum::testing
