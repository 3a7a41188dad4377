// Holds the statements of src/gemm's Multiply and MaxPlus against plain loops in wider arithmetic,
// on every CPU target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gemm_kernels.hpp"
#include "gemm_panels.hpp"

namespace logsum::gemm {
namespace {

template <class T>
class GemmTest : public GemmFixture<T> {};
TYPED_TEST_SUITE(GemmTest, Floats);

TYPED_TEST(GemmTest, MultiplyMatchesWideSums) {
  using T = TypeParam;
  this->ForEachShape([&](const Kernels<T>& kernels, const Shape& shape) {
    Panels<T> panels(shape);
    panels.Fill([&] { return this->Uniform(-1, 1); });
    Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
    for (const bool first : {true, false}) {
      kernels.multiply(panels.left.data(), shape.rows, panels.right.data(), shape.vectors,
                       shape.depth, high.data(), low.data(), first);
    }
    this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
      Wide<T> sum = 0, magnitude = 0;
      for (std::int64_t k = 0; k < shape.depth; ++k) {
        const Wide<T> term = Wide<T>{panels.Left(r, k)} * Wide<T>{panels.Right(k, c)};
        sum += 2 * term;  // the panels were multiplied twice
        magnitude += 2 * std::abs(term);
      }
      ASSERT_NEAR(Wide<T>{high[at]} + Wide<T>{low[at]}, sum, kUnitsLost * kUnit<T> * magnitude);
    });
    this->ExpectUntouchedBeyond(kernels, shape, high);
    this->ExpectUntouchedBeyond(kernels, shape, low);
  });
}

// Sums of equal terms, whose roundings all have one sign, are the worst. 11.8 units are 7e-7 in
// float32; a random search over minutes found 5.9e-7 without FMA and 5.5e-7 with, at any depth.
TYPED_TEST(GemmTest, MultiplyOfConstants) {
  using T = TypeParam;
  constexpr double kConstantUnits = 11.8;
  const std::vector<std::pair<T, T>> kWorstFound = {{T(0x1.a2b204p+0), T(0x1.dd4e4cp+0)},
                                                    {T(0x1.6a8384p+0), T(0x1.13828ap+0)}};
  for (const Target& target : Targets()) {
    const Kernels<T>& kernels = target.Get<T>();
    for (const std::int64_t depth : {32, 200, 256, 512, 1024}) {
      SCOPED_TRACE(target.name + ", depth " + std::to_string(depth));
      const Shape shape{kernels.rows, kernels.vectors, kernels.vectors * kernels.lanes, depth};
      Wide<T> worst = 0;
      for (int draw = 0; draw < 100; ++draw) {
        std::vector<T> a, b;
        for (int r = 0; r < shape.rows; ++r) a.push_back(this->Uniform(1, 2));
        for (int c = 0; c < shape.width; ++c) b.push_back(this->Uniform(1, 2));
        for (std::size_t i = 0; i < kWorstFound.size(); ++i) {
          a[i] = kWorstFound[i].first;
          b[i] = kWorstFound[i].second;
        }
        Panels<T> panels(shape);
        for (std::int64_t k = 0; k < depth; ++k) {
          for (int r = 0; r < shape.rows; ++r) panels.Left(r, k) = a[static_cast<std::size_t>(r)];
          for (int c = 0; c < shape.width; ++c) panels.Right(k, c) = b[static_cast<std::size_t>(c)];
        }
        Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
        // The first draw goes on for 128 panels: compensation keeps the drift where it is.
        const int calls = draw == 0 ? 128 : 1;
        for (int call = 0; call < calls; ++call) {
          kernels.multiply(panels.left.data(), shape.rows, panels.right.data(), shape.vectors,
                           depth, high.data(), low.data(), call == 0);
        }
        this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
          const Wide<T> exact = Wide<T>{a[static_cast<std::size_t>(r)]} *
                                Wide<T>{b[static_cast<std::size_t>(c)]} *
                                static_cast<Wide<T>>(depth * calls);
          worst = std::max(worst, std::abs(Wide<T>{high[at]} + Wide<T>{low[at]} - exact) / exact);
        });
      }
      EXPECT_LE(worst / kUnit<T>, kConstantUnits);
    }
  }
}

// The other extreme: one large term first, and every later one lost beside it.
TYPED_TEST(GemmTest, MultiplyOfOneLargeTerm) {
  using T = TypeParam;
  const T lost = static_cast<T>(kUnit<T>) * (1 - std::numeric_limits<T>::epsilon());
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const Kernels<T>& kernels = target.Get<T>();
    Panels<T> panels({1, 1, kernels.lanes, kChunk});
    panels.Fill([] { return T{1}; });
    for (std::int64_t k = 1; k < kChunk; ++k) panels.Left(0, k) = lost;
    Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
    kernels.multiply(panels.left.data(), 1, panels.right.data(), 1, kChunk, high.data(), low.data(),
                     true);
    EXPECT_NEAR(Wide<T>{high[0]} + Wide<T>{low[0]}, 1 + (kChunk - 1) * Wide<T>{lost},
                kUnitsLost * kUnit<T>);
  }
}

// Few different values, so that ties abound, and infinities, so that NaN terms do.
TYPED_TEST(GemmTest, MaxPlusMatchesPlainLoops) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  this->ForEachShape([&](const Kernels<T>& kernels, const Shape& shape) {
    Panels<T> panels(shape);
    const T infinities = this->Uniform(0, 1);  // from none to many: some entries stay at -inf
    panels.Fill([&] {
      if (this->Uniform(0, 1) >= infinities) return static_cast<T>(this->Whole(-2, 2));
      return this->Whole(0, 9) == 0 ? kInf<T> : -kInf<T>;
    });
    const I k0 = 1000;
    Aligned<T> best = this->Tile(kernels), best_too = this->Tile(kernels);
    Aligned<I> argmax(kernels.rows * kernels.stride, -1);
    // The same panel again must change nothing: a tie goes to what stands.
    for (const bool first : {true, false}) {
      const I start = first ? k0 : 2 * k0;
      kernels.max(panels.left.data(), shape.rows, panels.right.data(), shape.vectors, shape.depth,
                  best.data(), first);
      kernels.argmax(panels.left.data(), shape.rows, panels.right.data(), shape.vectors,
                     shape.depth, best_too.data(), argmax.data(), start, first);
    }
    this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
      T expected = -kInf<T>;
      I index = k0;
      for (std::int64_t k = 0; k < shape.depth; ++k) {
        const T term = panels.Left(r, k) + panels.Right(k, c);
        if (!(term > expected)) continue;
        expected = term;
        index = k0 + static_cast<I>(k);
      }
      ASSERT_EQ(best[at], expected);
      ASSERT_EQ(best_too[at], expected);
      ASSERT_EQ(argmax[at], index);
    });
    this->ExpectUntouchedBeyond(kernels, shape, best);
    this->ExpectUntouchedBeyond(kernels, shape, best_too);
  });
}

TYPED_TEST(GemmTest, LaterBlocksRaiseTheMaximum) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const Kernels<T>& kernels = target.Get<T>();
    const Shape shape{1, 1, kernels.lanes, 3};
    Aligned<T> best = this->Tile(kernels);
    Aligned<I> argmax(kernels.stride, -1);
    for (const I block : {0, 1, 2, 3}) {
      Panels<T> panels(shape);
      panels.Fill([&] { return static_cast<T>(block); });
      if (block == 2) panels.Left(0, 1) = kNaN<T>;
      kernels.argmax(panels.left.data(), 1, panels.right.data(), 1, shape.depth, best.data(),
                     argmax.data(), block * 3, block == 0);
      EXPECT_EQ(best[0], static_cast<T>(2 * block));
      EXPECT_EQ(argmax[0], block * 3);
    }
  }
}

}  // namespace
}  // namespace logsum::gemm
