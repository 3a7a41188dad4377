// Products of blocks as they lie in memory, on every CPU target, against double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm_product_test.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gemm/product-inl.h"

#ifndef LOGSUM_GEMM_PRODUCT_TEST_ONCE_
#define LOGSUM_GEMM_PRODUCT_TEST_ONCE_
namespace logsum::gemm {

// The steps of a left operand: rows apart, transposed tiles, and tiles.
enum class Left { rows, lanes_by_keys, keys_by_lanes };

struct Block {
  Left left;
  std::int64_t rows, columns, depth;
  bool accumulate;
};

}  // namespace logsum::gemm
#endif

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {
namespace {

// Each term loses a rounding of its partial sum at most, and a chain has 32.
template <class T>
constexpr double kBound = (kChunk + 8) * (sizeof(T) == 4 ? 0x1p-24 : 0x1p-53);

template <class T>
class Memory {
 public:
  Memory(std::mt19937& random, std::int64_t size) : values_(static_cast<std::size_t>(size) + 32) {
    std::normal_distribution<double> normal;
    for (T& value : values_) value = static_cast<T>(normal(random));
  }
  T* get() {
    auto address = reinterpret_cast<std::uintptr_t>(values_.data());
    return values_.data() + (kPanelAlign - address % kPanelAlign) % kPanelAlign / sizeof(T);
  }

 private:
  std::vector<T> values_;
};

template <class T>
void CheckBlock(std::mt19937& random, const Block& block) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  const std::int64_t columns = block.columns * lanes, stride = columns + lanes;
  const std::int64_t step = block.left == Left::rows ? block.depth + 3 : 32;
  Memory<T> left(random, (block.rows + block.depth + 1) * (step + 1) * 2);
  Memory<T> right(random, block.depth * stride), out(random, block.rows * stride);
  const std::vector<T> before(out.get(), out.get() + block.rows * stride);
  const auto product = [&](auto row_step, auto depth_step) {
    Product(static_cast<const T*>(left.get()), row_step, depth_step, block.rows,
            static_cast<const T*>(right.get()), stride, columns, block.depth, out.get(), stride,
            block.accumulate);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      for (std::int64_t c = 0; c < stride; ++c) {
        const auto at = static_cast<std::size_t>(r * stride + c);
        double want = before[at], unit = std::fabs(want);
        if (c < columns) {
          if (!block.accumulate) want = unit = 0;
          for (std::int64_t k = 0; k < block.depth; ++k) {
            const double term = static_cast<double>(left.get()[r * row_step + k * depth_step]) *
                                static_cast<double>(right.get()[k * stride + c]);
            want += term;
            unit += std::fabs(term);
          }
        }
        ASSERT_NEAR(out.get()[at], want, unit * kBound<T>)
            << r << ' ' << c << ' ' << block.rows << 'x' << block.columns;
      }
    }
  };
  if (block.left == Left::rows) product(step, Step<1>());
  if (block.left == Left::keys_by_lanes) product(Step<32>(), Step<1>());
  if (block.left == Left::lanes_by_keys) product(Step<1>(), Step<32>());
}

template <class T>
void CheckType(std::mt19937& random) {
  for (const Left left : {Left::rows, Left::lanes_by_keys, Left::keys_by_lanes}) {
    for (const bool accumulate : {false, true}) {
      const std::int64_t most = left == Left::lanes_by_keys ? 32 : 30;
      for (std::int64_t rows = 1; rows <= most; ++rows) {
        const std::int64_t depth = left == Left::keys_by_lanes ? 32 : 1 + 5 * rows;
        CheckBlock<T>(random, {left, rows, 1 + rows % 4, depth, accumulate});
      }
      CheckBlock<T>(random, {left, 8, 2, 0, accumulate});
    }
  }
}

// high + low holds what plain sums lose.
template <class T>
void CheckFold(std::mt19937& random) {
  const std::int64_t columns = 2 * static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  Memory<T> high(random, 3 * columns), low(random, 3 * columns), out(random, 3 * columns);
  Memory<T> scales(random, 3);
  const std::int64_t size = 3 * columns;
  std::fill_n(low.get(), size, T{0});
  std::vector<long double> want(high.get(), high.get() + size);
  for (int fold = 0; fold < 1000; ++fold) {
    const T scale = fold == 500 ? T{0.5} : T{1};
    std::fill_n(scales.get(), 3, scale);
    for (std::int64_t i = 0; i < size; ++i) {
      want[static_cast<std::size_t>(i)] =
          want[static_cast<std::size_t>(i)] * static_cast<long double>(scale) +
          static_cast<long double>(out.get()[i]);
    }
    Fold(static_cast<const T*>(out.get()), 3, columns, columns,
         fold == 500 ? static_cast<const T*>(scales.get()) : nullptr, high.get(), low.get());
  }
  for (std::int64_t i = 0; i < size; ++i) {
    const auto expected = static_cast<double>(want[static_cast<std::size_t>(i)]);
    const double got = static_cast<double>(high.get()[i]) + static_cast<double>(low.get()[i]);
    EXPECT_NEAR(got, expected, std::fabs(expected) * (sizeof(T) == 4 ? 0x1p-24 : 0x1p-52));
  }
}

void CheckTarget() {
  SCOPED_TRACE(hwy::TargetName(HWY_TARGET));
  std::mt19937 random(3);
  CheckType<float>(random);
  CheckType<double>(random);
  CheckFold<float>(random);
  CheckFold<double>(random);
}

}  // namespace
}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum::gemm {
namespace {

HWY_EXPORT(CheckTarget);

TEST(Product, IsTheSumOfProducts) {
  testing::OfEachTarget([] {
    HWY_DYNAMIC_DISPATCH(CheckTarget)();
    return 0;
  });
}

}  // namespace
}  // namespace logsum::gemm
#endif
