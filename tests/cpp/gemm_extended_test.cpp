// Holds the statements of src/gemm/multiply_extended-inl.h against sums in wider arithmetic, on
// every CPU target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/exp_constants.hpp"
#include "gemm_kernels.hpp"
#include "gemm_panels.hpp"

namespace logsum::gemm {
namespace {

template <class T>
class GemmExtendedTest : public GemmFixture<T> {
 protected:
  using I = IntegerOf<T>;

  // Panels of extended-range numbers: exponents within `spread`, one in eight zero, signs or not.
  struct Pairs {
    Panels<T> fraction;
    Panels<I> exponent;

    explicit Pairs(const Shape& shape) : fraction(shape), exponent(shape) {}
  };
  Pairs RandomPairs(const Shape& shape, std::int64_t spread, bool with_signs) {
    Pairs pairs(shape);
    const auto draw = [&](T& f, I& n) {
      const bool is_zero = this->Whole(0, 7) == 0;
      f = is_zero ? T{0} : this->Uniform(std::sqrt(0.5), std::sqrt(2.0));
      if (with_signs && this->Whole(0, 1) == 0) f = -f;
      n = is_zero ? kZeroExponent : this->Whole(-spread, spread);
    };
    for (std::int64_t k = 0; k < shape.depth; ++k) {
      for (int r = 0; r < shape.rows; ++r)
        draw(pairs.fraction.Left(r, k), pairs.exponent.Left(r, k));
      for (int c = 0; c < shape.width; ++c) {
        draw(pairs.fraction.Right(k, c), pairs.exponent.Right(k, c));
      }
    }
    return pairs;
  }

  struct Sum {
    Wide<T> value = 0, magnitude = 0;
    I exponent = 2 * kZeroExponent;
  };
  static I LargestExponent(Pairs& pairs, int r, int c) {
    I largest = 2 * kZeroExponent;
    for (std::int64_t k = 0; k < pairs.fraction.shape.depth; ++k) {
      largest = std::max<I>(largest, pairs.exponent.Left(r, k) + pairs.exponent.Right(k, c));
    }
    return largest;
  }
  static void AddTerms(Pairs& pairs, int r, int c, Sum& sum) {
    for (std::int64_t k = 0; k < pairs.fraction.shape.depth; ++k) {
      const I n = pairs.exponent.Left(r, k) + pairs.exponent.Right(k, c) - sum.exponent;
      const Wide<T> product =
          Wide<T>{pairs.fraction.Left(r, k)} * Wide<T>{pairs.fraction.Right(k, c)};
      const Wide<T> term = n < -2 * kBias ? Wide<T>{0} : std::ldexp(product, static_cast<int>(n));
      sum.value += term;
      sum.magnitude += std::abs(term);
    }
  }
  static void ExpectSum(const Sum& sum, T high, T low, std::int64_t depth) {
    // Each term may be flushed whose power of two, or a fraction times it, is subnormal.
    const Wide<T> flushed = static_cast<Wide<T>>(2 * depth) * std::numeric_limits<T>::min();
    ASSERT_NEAR(Wide<T>{high} + Wide<T>{low}, sum.value,
                kUnitsLost * kUnit<T> * sum.magnitude + flushed);
  }

  static constexpr int kBias = ExpConstants<T>::kExponentBias;
};
TYPED_TEST_SUITE(GemmExtendedTest, Floats);

TYPED_TEST(GemmExtendedTest, MatchesWideSums) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  const std::int64_t spreads[] = {0, 40, 1000, std::int64_t{1} << 27};
  std::size_t turn = 0;
  this->ForEachShape([&](const Kernels<T>& kernels, const Shape& shape) {
    // Two blocks, of spreads that raise the exponents or do not.
    auto one = this->RandomPairs(shape, spreads[turn++ % 4], false);
    auto two = this->RandomPairs(shape, spreads[(turn / 4) % 4], false);
    Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
    Aligned<I> exponent(kernels.rows * kernels.stride, 7);
    for (auto* pairs : {&one, &two}) {
      kernels.extended(pairs->fraction.left.data(), pairs->exponent.left.data(), shape.rows,
                       pairs->fraction.right.data(), pairs->exponent.right.data(), shape.vectors,
                       shape.depth, high.data(), low.data(), exponent.data(), pairs == &one);
    }
    this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
      typename TestFixture::Sum sum;
      sum.exponent = std::max(this->LargestExponent(one, r, c), this->LargestExponent(two, r, c));
      ASSERT_EQ(exponent[at], sum.exponent);
      this->AddTerms(one, r, c, sum);
      this->AddTerms(two, r, c, sum);
      this->ExpectSum(sum, high[at], low[at], 2 * shape.depth);
    });
    this->ExpectUntouchedBeyond(kernels, shape, high);
    this->ExpectUntouchedBeyond(kernels, shape, low);
  });
}

TYPED_TEST(GemmExtendedTest, AtMatchesWideSums) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  this->ForEachShape([&](const Kernels<T>& kernels, const Shape& shape) {
    auto pairs = this->RandomPairs(shape, this->Whole(0, 100), true);
    Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
    Aligned<I> exponent(kernels.rows * kernels.stride, 0);
    this->ForEachEntry(kernels, shape,
                       [&](int, int, int at) { exponent[at] = this->Whole(90, 210); });
    for (const bool first : {true, false}) {
      kernels.extended_at(pairs.fraction.left.data(), pairs.exponent.left.data(), shape.rows,
                          pairs.fraction.right.data(), pairs.exponent.right.data(), shape.vectors,
                          shape.depth, exponent.data(), high.data(), low.data(), first);
    }
    this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
      typename TestFixture::Sum sum;
      sum.exponent = exponent[at];
      this->AddTerms(pairs, r, c, sum);
      this->AddTerms(pairs, r, c, sum);
      this->ExpectSum(sum, high[at], low[at], 2 * shape.depth);
    });
    this->ExpectUntouchedBeyond(kernels, shape, high);
    this->ExpectUntouchedBeyond(kernels, shape, low);
  });
}

// One term f f 2^(n + n), everywhere in the tile.
template <class T>
struct OneTerm {
  using I = IntegerOf<T>;
  T high, low;
  I exponent;

  OneTerm(const Kernels<T>& kernels, T f, I n, const I* at = nullptr) {
    const Shape shape{1, 1, kernels.lanes, 1};
    Panels<T> fractions(shape);
    Panels<I> exponents(shape);
    fractions.Fill([&] { return f; });
    exponents.Fill([&] { return n; });
    Aligned<T> h(kernels.stride, 0), l(kernels.stride, 0);
    Aligned<I> e(kernels.stride, at == nullptr ? I{0} : *at);
    if (at == nullptr) {
      kernels.extended(fractions.left.data(), exponents.left.data(), 1, fractions.right.data(),
                       exponents.right.data(), 1, 1, h.data(), l.data(), e.data(), true);
    } else {
      kernels.extended_at(fractions.left.data(), exponents.left.data(), 1, fractions.right.data(),
                          exponents.right.data(), 1, 1, e.data(), h.data(), l.data(), true);
    }
    high = h[0];
    low = l[0];
    exponent = e[0];
  }
};

TYPED_TEST(GemmExtendedTest, Extremes) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  constexpr int kBias = ExpConstants<T>::kExponentBias;
  constexpr I kLimit = I{1} << 27;
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const Kernels<T>& kernels = target.Get<T>();
    const auto exponent_kept = [&](T f, I n) {
      const OneTerm<T> got(kernels, f, n);
      EXPECT_EQ(got.exponent, 2 * n);
      return got.high + got.low;
    };
    EXPECT_EQ(exponent_kept(T{1.25}, kLimit), T{1.5625});
    EXPECT_EQ(exponent_kept(T{1.25}, -kLimit), T{1.5625});
    EXPECT_EQ(exponent_kept(T{0}, kZeroExponent), T{0});
    EXPECT_TRUE(std::isnan(exponent_kept(kNaN<T>, 0)));

    const auto over = [&](T f, I n, I at) {
      const OneTerm<T> got(kernels, f, n, &at);
      EXPECT_EQ(got.low, T{0});
      return got.high;
    };
    EXPECT_EQ(over(T{1}, 0, kBias - 1), std::numeric_limits<T>::min());
    EXPECT_EQ(over(T{1.25}, 0, kBias), T{0});
    EXPECT_EQ(over(T{1.25}, -kLimit, I{1} << 30), T{0});
    EXPECT_EQ(over(T{1}, 0, -kBias), std::ldexp(T{1}, kBias));
    EXPECT_EQ(over(T{0.5}, kLimit, -(I{1} << 30)), std::ldexp(T{0.25}, kBias));
    EXPECT_EQ(over(T{0}, kZeroExponent, I{1} << 30), T{0});
    EXPECT_EQ(over(T{0}, kZeroExponent, -(I{1} << 30)), T{0});
    EXPECT_TRUE(std::isnan(over(kNaN<T>, 0, 5000)));
  }
}

// A NaN reaches its own row or column, in a first block as in later ones, past any rescaling.
TYPED_TEST(GemmExtendedTest, NaN) {
  using T = TypeParam;
  using I = IntegerOf<T>;
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const Kernels<T>& kernels = target.Get<T>();
    const Shape shape{kernels.rows, 2, 2 * kernels.lanes, 40};
    auto with_nan = this->RandomPairs(shape, 1000, false);
    const int row = shape.rows - 1, column = shape.width - 1;
    with_nan.fraction.Left(row, 33) = kNaN<T>;
    with_nan.exponent.Left(row, 33) = 0;
    with_nan.fraction.Right(2, column) = kNaN<T>;
    with_nan.exponent.Right(2, column) = 0;
    auto higher = this->RandomPairs(shape, 1'000'000, false);
    Aligned<T> high = this->Tile(kernels), low = this->Tile(kernels);
    Aligned<I> exponent(kernels.rows * kernels.stride, 0);
    for (auto* pairs : {&with_nan, &higher}) {
      kernels.extended(pairs->fraction.left.data(), pairs->exponent.left.data(), shape.rows,
                       pairs->fraction.right.data(), pairs->exponent.right.data(), 2, shape.depth,
                       high.data(), low.data(), exponent.data(), pairs == &with_nan);
      this->ForEachEntry(kernels, shape, [&](int r, int c, int at) {
        ASSERT_EQ(std::isnan(high[at] + low[at]), r == row || c == column) << r << ", " << c;
      });
    }
  }
}

}  // namespace
}  // namespace logsum::gemm
