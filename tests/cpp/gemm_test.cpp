// Holds every statement of src/gemm against plain loops in wider arithmetic, on every CPU target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "core/exp_constants.hpp"
#include "core/float_mode.hpp"
#include "gemm/panel.hpp"
#include "gemm_kernels.hpp"

namespace logsum::gemm {
namespace {

template <class T>
using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;

template <class T>
constexpr Wide<T> kUnit = std::numeric_limits<T>::epsilon() / 2;

template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

// Relative to the sum of magnitudes: 31 additions in a chain and a product's own rounding where
// there is no FMA, 7 additions of chunks; the rest is compensated.
constexpr int kUnitsLost = 31 + 1 + 7;

constexpr std::int64_t kDepths[] = {0, 1, 31, 32, 33, 255, 256, 257, 513, 1024};

template <class T>
class Aligned {
 public:
  Aligned(std::int64_t size, T value) : lines_(static_cast<std::size_t>(size / kLine + 1)) {
    std::fill(data(), data() + static_cast<std::ptrdiff_t>(lines_.size()) * kLine, value);
  }
  T* data() { return lines_[0].elements; }
  const T* data() const { return lines_[0].elements; }
  T& operator[](std::int64_t i) { return data()[i]; }
  const T& operator[](std::int64_t i) const { return data()[i]; }

 private:
  static constexpr int kLine = kPanelAlign / sizeof(T);
  struct alignas(kPanelAlign) Line {
    T elements[kLine];
  };
  std::vector<Line> lines_;
};

struct Shape {
  int rows, vectors, width;
  std::int64_t depth;

  std::string Name() const {
    return std::to_string(rows) + " rows, " + std::to_string(vectors) + " vectors, depth " +
           std::to_string(depth);
  }
};

// What is beside the panel stays as it is: poison that any use would show.
template <class E>
constexpr E kPoison = std::is_floating_point_v<E> ? std::numeric_limits<E>::quiet_NaN()
                                                  : E(kInfiniteExponent);

template <class E>
struct Panels {
  Shape shape;
  Aligned<E> left, right;

  explicit Panels(const Shape& s)
      : shape(s),
        left(LeftSize(s.rows, s.depth), kPoison<E>),
        right(RightSize(s.width, s.depth), kPoison<E>) {}

  template <class Draw>
  void Fill(Draw draw) {
    for (std::int64_t k = 0; k < shape.depth; ++k) {
      for (int r = 0; r < shape.rows; ++r) Left(r, k) = draw();
      for (int c = 0; c < shape.width; ++c) Right(k, c) = draw();
    }
  }

  E& Left(int r, std::int64_t k) { return left[LeftOffset(shape.rows, r, k)]; }
  E& Right(std::int64_t k, int c) { return right[RightOffset(shape.width, k, c)]; }
};

template <class T>
class GemmTest : public testing::Test {
 protected:
  using I = IntegerOf<T>;

  // All shapes of panels on all targets, f(kernels, shape).
  template <class F>
  void ForEachShape(F f) {
    for (const Target& target : Targets()) {
      const Kernels<T>& kernels = target.template Get<T>();
      for (int rows = 1; rows <= kernels.rows; ++rows) {
        for (int vectors = 1; vectors <= kernels.vectors; ++vectors) {
          for (const std::int64_t depth : kDepths) {
            const Shape shape{rows, vectors, vectors * kernels.lanes, depth};
            SCOPED_TRACE(target.name + ": " + shape.Name());
            f(kernels, shape);
            if (this->HasFailure()) return;
          }
        }
      }
    }
  }

  static Aligned<T> Tile(const Kernels<T>& kernels, T value = kNaN<T>) {
    return {kernels.rows * kernels.stride, value};
  }

  // f(row, column, offset in the tile)
  template <class F>
  static void ForEachEntry(const Kernels<T>& kernels, const Shape& shape, F f) {
    for (int r = 0; r < shape.rows; ++r) {
      for (int c = 0; c < shape.width; ++c) f(r, c, r * kernels.stride + c);
    }
  }

  static void ExpectUntouchedBeyond(const Kernels<T>& kernels, const Shape& shape,
                                    const Aligned<T>& tile) {
    for (int r = 0; r < kernels.rows; ++r) {
      for (int c = 0; c < kernels.stride; ++c) {
        if (r < shape.rows && c < shape.width) continue;
        ASSERT_TRUE(std::isnan(tile[r * kernels.stride + c])) << "row " << r << ", column " << c;
      }
    }
  }

  T Uniform(double from, double to) {
    return static_cast<T>(std::uniform_real_distribution<double>(from, to)(generator_));
  }
  I Whole(std::int64_t from, std::int64_t to) {
    return static_cast<I>(std::uniform_int_distribution<std::int64_t>(from, to)(generator_));
  }

  // Panels of extended-range numbers: exponents within `spread`, one in eight zero, signs or not.
  struct Pairs {
    Panels<T> fraction;
    Panels<I> exponent;

    explicit Pairs(const Shape& shape) : fraction(shape), exponent(shape) {}
  };
  Pairs RandomPairs(const Shape& shape, std::int64_t spread, bool with_signs) {
    Pairs pairs(shape);
    const auto draw = [&](T& f, I& n) {
      const bool is_zero = Whole(0, 7) == 0;
      f = is_zero ? T{0} : Uniform(std::sqrt(0.5), std::sqrt(2.0));
      if (with_signs && Whole(0, 1) == 0) f = -f;
      n = is_zero ? kZeroExponent : Whole(-spread, spread);
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
  const FloatModeGuard flush_;
  std::mt19937_64 generator_{20};
};

using Floats = testing::Types<float, double>;
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

TYPED_TEST(GemmTest, ExtendedMatchesWideSums) {
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

TYPED_TEST(GemmTest, ExtendedAtMatchesWideSums) {
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

TYPED_TEST(GemmTest, ExtendedExtremes) {
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
TYPED_TEST(GemmTest, ExtendedNaN) {
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
