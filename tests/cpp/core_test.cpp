// Storage types, iteration spaces, scratch.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "core/arena.hpp"
#include "core/buffer.hpp"
#include "core/dtype.hpp"
#include "core/layout.hpp"

namespace logsum {
namespace {

// The value of a binary16 by its definition.
float HalfByDefinition(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  float value = 0;
  if (exponent == 31) {
    value = mantissa != 0 ? std::nanf("") : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    value = std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  }
  return bits & 0x8000 ? -value : value;
}

TEST(Half, EveryValueWidensAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const float expected = HalfByDefinition(half.bits);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(ToFloat(half)));
      EXPECT_TRUE(std::isnan(ToFloat(FromFloat<Half>(ToFloat(half)))));
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(ToFloat(half)),
                std::bit_cast<std::uint32_t>(expected));
      ASSERT_EQ(FromFloat<Half>(expected).bits, half.bits);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float below = HalfByDefinition(static_cast<std::uint16_t>(bits));
    const float above =
        bits + 1 == 0x7c00 ? 65536.0f : HalfByDefinition(static_cast<std::uint16_t>(bits + 1));
    const float middle = (below + above) / 2;  // exact in float32
    ASSERT_EQ(FromFloat<Half>(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FromFloat<Half>(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(FromFloat<Half>(std::nextafter(middle, 1e9f)).bits, bits + 1);
  }
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNaN) {
  for (std::uint32_t high = 0; high < 0x7f80; ++high) {
    const auto at = [&](std::uint32_t low) { return std::bit_cast<float>(high << 16 | low); };
    ASSERT_EQ(FromFloat<BFloat16>(at(0)).bits, high);
    ASSERT_EQ(FromFloat<BFloat16>(at(0x7fff)).bits, high);
    ASSERT_EQ(FromFloat<BFloat16>(at(0x8000)).bits, high + high % 2);
    ASSERT_EQ(FromFloat<BFloat16>(at(0x8001)).bits, high + 1);
  }
  EXPECT_TRUE(std::isnan(ToFloat(FromFloat<BFloat16>(std::bit_cast<float>(0x7f800001u)))));
}

IterationSpace SpaceOf(const std::vector<std::int64_t>& shape,
                       const std::vector<std::int64_t>& strides, std::array<bool, 4> is_reduced) {
  static float element = 0;
  const Tensor tensor{&element, DType::f32, Device::cpu, 0, shape, strides};
  const std::array<OperandView, 1> operands = {OperandView{&tensor, false}};
  return MakeIterationSpace(shape, std::span(is_reduced).first(shape.size()), operands);
}

TEST(IterationSpace, MergesWhatIsWalkedAsOne) {
  const auto contiguous = SpaceOf({4, 5, 6, 7}, {210, 42, 7, 1}, {false, false, true, true});
  EXPECT_EQ(contiguous.kept.View().size(), 1u);
  EXPECT_EQ(contiguous.reduced.View().size(), 1u);
  EXPECT_EQ(contiguous.num_kept, 20);
  EXPECT_EQ(contiguous.num_reduced, 42);
  EXPECT_EQ(contiguous.reduced.Inner().stride[0], 1);

  const auto alternating = SpaceOf({4, 5, 6}, {30, 6, 1}, {true, false, true});
  EXPECT_EQ(alternating.reduced.View().size(), 2u);
  EXPECT_EQ(alternating.reduced.Offset(7, 0), 30 + 1);  // row major over (4, 6)
}

TEST(IterationSpace, SortsByTheStepInMemory) {
  const auto transposed = SpaceOf({5, 6}, {1, 5}, {true, true});
  EXPECT_EQ(transposed.reduced.View().size(), 1u);
  EXPECT_EQ(transposed.reduced.Inner().size, 30);
}

TEST(Arena, GivesBackAndGrows) {
  for (const std::size_t count : {10u, 100000u, 10u}) {
    Arena::Scope scope(2 * Arena::BytesFor<double>(count));
    double* const first = scope.Take<double>(count);
    double* const second = scope.Take<double>(count);
    EXPECT_GE(second, first + count);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % Arena::kAlignment, 0u);
    EXPECT_THROW(scope.Take<double>(count), std::bad_alloc);
  }
}

TEST(TaskMemory, KeepsWhatIsSmallAndFreesWhatIsLarge) {
  constexpr std::size_t kMost = TaskMemory<double>::kLargest / sizeof(double);
  double* kept = nullptr;
  for (const std::size_t count : {kMost, std::size_t{10}, kMost + 1, std::size_t{10}}) {
    const TaskMemory<double> memory(count);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % Arena::kAlignment, 0u);
    std::fill_n(memory.get(), count, 1.0);
    if (count <= kMost) {
      if (kept != nullptr) {
        EXPECT_EQ(memory.get(), kept);
      }
      kept = memory.get();
      EXPECT_THROW(TaskMemory<double>(10), std::bad_alloc);  // one at a time
    } else {
      EXPECT_NE(memory.get(), kept);
      EXPECT_NO_THROW(TaskMemory<double>(10));  // the arena is free
    }
  }
}

}  // namespace
}  // namespace logsum
