// A primitive's result depends on the element alone: not on its lane, on its neighbours, nor on how
// many lanes the words have.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "primitives.hpp"

namespace logsum {
namespace {

using primitives::kStep;
using primitives::Op;
using primitives::Target;
using primitives::Targets;
using primitives::Width;

template <class T>
struct Columns {
  std::array<std::vector<T>, 6> in;
  std::array<std::vector<T>, 2> out;
};

// Ordinary values with special ones strewn in; odd columns hold integers (scales and exponents).
template <class T>
Columns<T> MakeInputs(std::size_t count) {
  using Limits = std::numeric_limits<T>;
  constexpr T kSpecial[] = {0,
                            -T{0},
                            1,
                            -1,
                            Limits::infinity(),
                            -Limits::infinity(),
                            Limits::quiet_NaN(),
                            Limits::max(),
                            Limits::min(),
                            Limits::denorm_min(),
                            T(-1e38)};
  std::mt19937_64 random(6);
  std::uniform_real_distribution<T> value(-90, 90);
  std::uniform_int_distribution<int> exponent(-100, 100);
  Columns<T> columns;
  for (std::size_t c = 0; c < columns.in.size(); ++c) {
    for (std::size_t i = 0; i < count; ++i) {
      const bool special = c % 2 == 0 && random() % 5 == 0;
      const T ordinary = c % 2 == 0 ? value(random) : static_cast<T>(exponent(random));
      columns.in[c].push_back(special ? kSpecial[random() % std::size(kSpecial)] : ordinary);
    }
  }
  return columns;
}

template <class T>
void Apply(const Target& target, Op op, Width width, Columns<T>& columns) {
  const std::size_t count = columns.in[0].size();
  primitives::Arrays<T> arrays{{}, {}, count};
  for (std::size_t c = 0; c < columns.in.size(); ++c) arrays.in[c] = columns.in[c].data();
  for (std::size_t c = 0; c < columns.out.size(); ++c) {
    columns.out[c].assign(count, 0);
    arrays.out[c] = columns.out[c].data();
  }
  target.Get<T>(op, width)(arrays);
}

// The same bits, or NaN in both.
template <class T>
bool Same(T a, T b) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<Bits>(a) == std::bit_cast<Bits>(b);
}

template <class T>
class LanesTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(LanesTest, Floats);

template <class T>
void ForEachOp(void (*check)(const Target& target, Op op)) {
  for (const Target& target : Targets()) {
    for (int op = 0; op < static_cast<int>(Op::kCount); ++op) {
      SCOPED_TRACE(target.name + " primitive " + std::to_string(op));
      check(target, static_cast<Op>(op));
    }
  }
}

TYPED_TEST(LanesTest, EveryWidthGivesTheSameBits) {
  ForEachOp<TypeParam>([](const Target& target, Op op) {
    auto full = MakeInputs<TypeParam>(64 * kStep);
    auto narrow = full;
    Apply(target, op, Width::kFull, full);
    for (const Width width : {Width::kOne, Width::kTwo, Width::kFour}) {
      Apply(target, op, width, narrow);
      for (std::size_t c = 0; c < full.out.size(); ++c) {
        for (std::size_t i = 0; i < full.out[c].size(); ++i) {
          // The exponent that goes with a NaN means nothing.
          if (c > 0 && std::isnan(full.out[0][i])) continue;
          ASSERT_TRUE(Same(full.out[c][i], narrow.out[c][i]))
              << "width " << static_cast<int>(width) << " output " << c << " at " << i;
        }
      }
    }
  });
}

TYPED_TEST(LanesTest, EveryLaneGivesTheSameBits) {
  ForEachOp<TypeParam>([](const Target& target, Op op) {
    auto base = MakeInputs<TypeParam>(16 * kStep);
    Apply(target, op, Width::kFull, base);
    const std::size_t count = base.in[0].size();
    for (std::size_t shift = 1; shift < kStep; ++shift) {
      auto moved = base;
      for (std::size_t c = 0; c < base.in.size(); ++c) {
        for (std::size_t i = 0; i < count; ++i) moved.in[c][(i + shift) % count] = base.in[c][i];
      }
      Apply(target, op, Width::kFull, moved);
      for (std::size_t c = 0; c < base.out.size(); ++c) {
        for (std::size_t i = 0; i < count; ++i) {
          if (c > 0 && std::isnan(base.out[0][i])) continue;
          ASSERT_TRUE(Same(base.out[c][i], moved.out[c][(i + shift) % count]))
              << "shift " << shift << " output " << c << " at " << i;
        }
      }
    }
  });
}

}  // namespace
}  // namespace logsum
