// Products of pairs of bfloat16 against double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/buffer.hpp"
#include "core/dtype.hpp"
#include "gemm/panel.hpp"
#include "gemm/product_bf16.hpp"

#if LOGSUM_COMPILES_BF16_PRODUCTS
namespace logsum::gemm {
namespace {

Bf16Pair PairOf(double first, double second) {
  const BFloat16 parts[] = {FromDouble<BFloat16>(first), FromDouble<BFloat16>(second)};
  Bf16Pair pair;
  std::memcpy(&pair, parts, sizeof(pair));
  return pair;
}

// Operands as the kernel has them, and as numbers.
struct Operands {
  std::int64_t rows, depth, row_step;
  Buffer<Bf16Pair> left, right;
  std::vector<double> left_values, right_values;  // [row or column][component]

  Operands(std::int64_t row_count, std::int64_t pairs)
      : rows(row_count),
        depth(pairs),
        row_step(pairs + 3),
        left(static_cast<std::size_t>(rows * row_step + 1)),
        right(static_cast<std::size_t>(depth * kBf16Columns + 1)),
        left_values(static_cast<std::size_t>(rows * depth * 2)),
        right_values(static_cast<std::size_t>(kBf16Columns * depth * 2)) {}

  template <class Draw>
  void Fill(const Draw& draw) {
    for (double& value : left_values) value = ToFloat(FromDouble<BFloat16>(draw()));
    for (double& value : right_values) value = ToFloat(FromDouble<BFloat16>(draw()));
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t r = 0; r < rows; ++r) {
        left.get()[r * row_step + k] = PairOf(Left(r, 2 * k), Left(r, 2 * k + 1));
      }
      for (std::int64_t c = 0; c < kBf16Columns; ++c) {
        right.get()[k * kBf16Columns + c] = PairOf(Right(c, 2 * k), Right(c, 2 * k + 1));
      }
    }
  }
  double& Left(std::int64_t row, std::int64_t component) {
    return left_values[static_cast<std::size_t>(row * depth * 2 + component)];
  }
  double& Right(std::int64_t column, std::int64_t component) {
    return right_values[static_cast<std::size_t>(column * depth * 2 + component)];
  }
  Buffer<float> Multiply(float factor) const {
    Buffer<float> out(static_cast<std::size_t>(rows * kBf16Columns));
    ProductBf16(left.get(), row_step, rows, right.get(), depth, factor, out.get());
    return out;
  }
};

class ProductBf16Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasBf16Products()) GTEST_SKIP() << "this CPU has no AVX512_BF16";
  }
};

// Each term loses a rounding of its partial sum at most, and a chain has 32.
TEST_F(ProductBf16Test, IsTheSumOfProducts) {
  constexpr double kBound = (kChunk + 8) * 0x1p-24;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  for (std::int64_t rows = 0; rows <= 20; ++rows) {
    for (const std::int64_t depth : {0, 1, 2, 15, 16, 17, 32, 33, 70}) {
      Operands operands(rows, depth);
      operands.Fill([&] { return normal(random); });
      const float factor = rows % 3 == 0 ? 1 : -1.3f;
      const Buffer<float> out = operands.Multiply(factor);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < kBf16Columns; ++c) {
          double want = 0, unit = 0;
          for (std::int64_t k = 0; k < 2 * depth; ++k) {
            const double term = factor * operands.Left(r, k) * operands.Right(c, k);
            want += term;
            unit += std::fabs(term);
          }
          ASSERT_NEAR(out.get()[r * kBf16Columns + c], want, unit * kBound)
              << r << ' ' << c << ' ' << rows << ' ' << depth;
        }
      }
    }
  }
}

TEST_F(ProductBf16Test, TermsAreExact) {
  Operands operands(1, 1);
  operands.left.get()[0] = PairOf(255, 1);  // 255^2 has twice the bits of 255
  for (std::int64_t c = 0; c < kBf16Columns; ++c) operands.right.get()[c] = PairOf(255, -1);
  EXPECT_EQ(operands.Multiply(1).get()[7], 255 * 255 - 1);
}

// As flush-to-zero has it, which the instruction does not ask for.
TEST_F(ProductBf16Test, SubnormalsAreZero) {
  Operands operands(1, 1);
  operands.Fill([] { return 0x1p-64; });
  EXPECT_EQ(operands.Multiply(0x1p64f).get()[0], 0);
  operands.Fill([] { return 0x1p-62; });
  EXPECT_EQ(operands.Multiply(0x1p64f).get()[0], 0x1p-59);
}

TEST_F(ProductBf16Test, NotFinite) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Operands operands(3, 1);
  operands.Fill([] { return 2.0; });
  operands.left.get()[0] = PairOf(-kInfinity, 1);
  operands.left.get()[operands.row_step] = PairOf(1, std::nan(""));
  const Buffer<float> out = operands.Multiply(1);
  EXPECT_EQ(out.get()[0], -kInfinity);
  EXPECT_TRUE(std::isnan(out.get()[kBf16Columns]));
  EXPECT_EQ(out.get()[2 * kBf16Columns], 8);
}

}  // namespace
}  // namespace logsum::gemm
#endif
