// Holds every statement of core/extended-inl.h's comments against measurement.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/exp_constants.hpp"
#include "core/float_mode.hpp"
#include "primitives.hpp"
#include "reference.hpp"
#include "ulp.hpp"

namespace logsum {
namespace {

using primitives::kStep;
using primitives::Op;
using primitives::Target;
using primitives::Targets;

constexpr double kLn2 = 0x1.62e42fefa39efp-1;

// fraction 2^exponent, arrays of them, and scalars in long double as the reference.
template <class T>
struct Numbers {
  std::vector<T> fraction, exponent;
  explicit Numbers(std::size_t count) : fraction(count), exponent(count) {}
  std::size_t size() const { return fraction.size(); }
};

template <class T>
class ExtendedTest : public testing::Test {
 protected:
  using Limits = std::numeric_limits<T>;
  static constexpr T kInf = Limits::infinity();
  static constexpr T kZero = kZeroExponent;
  static constexpr T kInfinite = kInfiniteExponent;

  static Numbers<T> Call(const Target& target, Op op, const std::vector<const Numbers<T>*>& in) {
    Numbers<T> out(in[0]->size());
    primitives::Arrays<T> arrays{{}, {out.fraction.data(), out.exponent.data()}, out.size()};
    for (std::size_t i = 0; i < in.size(); ++i) {
      arrays.in[2 * i] = in[i]->fraction.data();
      arrays.in[2 * i + 1] = in[i]->exponent.data();
    }
    target.Get<T>(op)(arrays);
    return out;
  }

  static Numbers<T> Split(const Target& target, const std::vector<T>& x) {
    Numbers<T> out(x.size());
    target.Get<T>(Op::kSplitExp)(
        {{x.data()}, {out.fraction.data(), out.exponent.data()}, x.size()});
    return out;
  }

  static std::vector<T> ToLog(const Target& target, const Numbers<T>& a) {
    return Call(target, Op::kToLog, {&a}).fraction;
  }

  static Numbers<T> All(T fraction, T exponent) {
    Numbers<T> all(kStep);
    all.fraction.assign(kStep, fraction);
    all.exponent.assign(kStep, exponent);
    return all;
  }

  static Numbers<T> SplitOne(const Target& target, T x) {
    return Split(target, std::vector<T>(kStep, x));
  }

  // Normalised numbers of either sign whose exponents are within `spread` of `middle`.
  static Numbers<T> Random(std::mt19937_64& random, std::size_t count, int middle, int spread) {
    std::uniform_real_distribution<double> fraction(0.7072, 1.4142);
    std::uniform_int_distribution<int> exponent(middle - spread, middle + spread);
    Numbers<T> numbers(count);
    for (std::size_t i = 0; i < count; ++i) {
      numbers.fraction[i] =
          static_cast<T>((random() & 1) != 0 ? fraction(random) : -fraction(random));
      numbers.exponent[i] = static_cast<T>(exponent(random));
    }
    return numbers;
  }

  // In units of 2^exponent; what underflows has no weight in any comparison made here.
  static long double Value(const Numbers<T>& a, std::size_t i, double exponent) {
    const double shift = std::max(a.exponent[i] - exponent, -16000.0);
    return std::ldexp(static_cast<long double>(a.fraction[i]), static_cast<int>(shift));
  }

  static constexpr double kHalfUlp = Limits::epsilon() / 2;
};

using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(ExtendedTest, Floats);

// float64 against the table of e^x 2^-n, as far as it lies in the domain.
TEST(SplitExpFloat64, Table) {
  std::vector<reference::Row> rows;
  for (const reference::Row& row : reference::kScaledRows) {
    if (std::fabs(row.x) <= ExpConstants<double>::kMaxSplitInput) rows.push_back(row);
  }
  ASSERT_GT(rows.size(), 300u);
  rows.resize(rows.size() / kStep * kStep);
  std::vector<double> x, fraction(rows.size()), exponent(rows.size());
  for (const reference::Row& row : rows) x.push_back(row.x);
  for (const Target& target : Targets()) {
    target.Get<double>(Op::kSplitExp)({{x.data()}, {fraction.data(), exponent.data()}, x.size()});
    ulp::Record record("SplitExp f64 table", target.name);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double got = std::ldexp(fraction[i], static_cast<int>(exponent[i] - rows[i].n));
      const auto unit = static_cast<double>(ulp::Spacing<double>(rows[i].rounded));
      record.Add(std::fabs((got - rows[i].rounded) / unit - rows[i].remainder), x[i]);
    }
    record.Expect(1.0);
  }
}

TEST(SplitExpFloat32, WholeDomain) {
  constexpr std::size_t kCount = 1 << 19;
  std::vector<float> x(kCount), fraction(kCount), exponent(kCount);
  for (const Target& target : Targets()) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> size(-20, 24);
    for (std::size_t i = 0; i < kCount; ++i) {
      const auto magnitude = static_cast<float>(std::exp2(size(random)));
      x[i] = (random() & 1) != 0 ? magnitude : -magnitude;
    }
    target.Get<float>(Op::kSplitExp)({{x.data()}, {fraction.data(), exponent.data()}, kCount});
    ulp::Record record("SplitExp f32", target.name);
    for (std::size_t i = 0; i < kCount; ++i) {
      // 2^24 log2(e) is beyond what the float array holds exactly: recover the integer.
      const double n = std::round(x[i] / kLn2);
      ASSERT_NEAR(exponent[i], n, 1) << x[i];
      const double exact = std::exp(std::fma(-n, kLn2, static_cast<double>(x[i])));
      record.Add(ulp::Distance(fraction[i], exact), x[i]);
      ASSERT_GE(fraction[i], 0.7071f);
      ASSERT_LE(fraction[i], 1.4143f);
    }
    record.Expect(1.0);
  }
}

TYPED_TEST(ExtendedTest, SplitOfSpecialValues) {
  using T = TypeParam;
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const auto expect = [&](T x, T fraction, T exponent) {
      const auto got = this->SplitOne(target, x);
      EXPECT_EQ(got.fraction[0], fraction) << x;
      EXPECT_EQ(got.exponent[0], exponent) << x;
    };
    expect(0, 1, 0);
    expect(-T{0}, 1, 0);
    expect(-this->kInf, 0, this->kZero);
    expect(this->kInf, 1, this->kInfinite);
    expect(T(-1e38), 1, -this->kInfinite);
    expect(T(1e38), 1, this->kInfinite);
    expect(-TestFixture::Limits::max(), 1, -this->kInfinite);
    EXPECT_TRUE(std::isnan(this->SplitOne(target, TestFixture::Limits::quiet_NaN()).fraction[0]));

    const auto inside = [&](Op op, T x) {
      const std::vector<T> in(kStep, x);
      std::vector<T> out(kStep);
      target.Map(op, in.data(), out.data(), kStep);
      return out[0] != 0;
    };
    const T bound = ExpConstants<T>::kMaxSplitInput;
    EXPECT_TRUE(inside(Op::kInSplitDomain, bound));
    EXPECT_TRUE(inside(Op::kInSplitDomain, -bound));
    EXPECT_TRUE(inside(Op::kInSplitDomain, this->kInf));
    EXPECT_TRUE(inside(Op::kInSplitDomain, -this->kInf));
    EXPECT_TRUE(inside(Op::kInSplitDomain, TestFixture::Limits::quiet_NaN()));
    EXPECT_FALSE(inside(Op::kInSplitDomain, std::nextafter(bound, this->kInf)));
    EXPECT_FALSE(inside(Op::kInSplitDomain, T(-1e38)));
    EXPECT_FALSE(inside(Op::kInSplitDomain, TestFixture::Limits::max()));
    EXPECT_TRUE(inside(Op::kInScaleDomain, ExpConstants<T>::kMaxScaleInput));
    EXPECT_FALSE(inside(Op::kInScaleDomain, -this->kInf));
    EXPECT_FALSE(inside(Op::kInScaleDomain, TestFixture::Limits::quiet_NaN()));
  }
}

// a b + c, a + c and a b on numbers near each other, far apart, and at the ends of the range; with
// flush-to-zero, as in kernels. The unit is half an ulp of |a b| + |c|.
TYPED_TEST(ExtendedTest, SumsAndProductsRoundOnce) {
  if (sizeof(TypeParam) == sizeof(double) && !reference::kHaveLongDouble) GTEST_SKIP();
  constexpr std::size_t kCount = 1 << 14;
  const std::string type = sizeof(TypeParam) == sizeof(float) ? " f32" : " f64";
  for (const Target& target : Targets()) {
    std::mt19937_64 random(2);
    ulp::Record mul("Mul" + type, target.name), add("Add" + type, target.name),
        mul_add("MulAdd" + type, target.name);
    for (const int middle : {0, 1000, -100'000, 8'000'000, -8'000'000}) {
      for (const int spread : {0, 1, 3, 30, 200, 3000}) {
        const auto a = this->Random(random, kCount, middle, spread);
        const auto b = this->Random(random, kCount, -middle, spread);
        const auto c = this->Random(random, kCount, 0, spread);
        const FloatModeGuard flush;
        const auto product = this->Call(target, Op::kMul, {&a, &b});
        const auto sum = this->Call(target, Op::kAdd, {&b, &c});
        const auto both = this->Call(target, Op::kMulAdd, {&a, &b, &c});
        for (std::size_t i = 0; i < kCount; ++i) {
          const auto error = [&](const Numbers<TypeParam>& got, double unit_exponent,
                                 long double exact, long double size) {
            return static_cast<double>(std::fabs(this->Value(got, i, unit_exponent) - exact) /
                                       (size * this->kHalfUlp));
          };
          const double n = std::max(a.exponent[i] + b.exponent[i], c.exponent[i]);
          const long double ab =
              this->Value(a, i, a.exponent[i]) * this->Value(b, i, n - a.exponent[i]);
          const long double cn = this->Value(c, i, n);
          mul.Add(error(product, a.exponent[i] + b.exponent[i],
                        this->Value(a, i, a.exponent[i]) * this->Value(b, i, b.exponent[i]),
                        std::fabs(a.fraction[i] * b.fraction[i])),
                  0);
          mul_add.Add(error(both, n, ab + cn, std::fabs(ab) + std::fabs(cn)), 0);
          const double m = std::max(b.exponent[i], c.exponent[i]);
          const long double bm = this->Value(b, i, m), cm = this->Value(c, i, m);
          add.Add(error(sum, m, bm + cm, std::fabs(bm) + std::fabs(cm)), 0);
        }
      }
    }
    mul.Expect(1);
    add.Expect(1);
    mul_add.Expect(target.has_fma ? 1 : 2);
  }
}

TYPED_TEST(ExtendedTest, NormalizeKeepsTheValue) {
  using T = TypeParam;
  constexpr std::size_t kCount = 1 << 14;
  std::mt19937_64 random(4);
  auto a = this->Random(random, kCount, 0, 1'000'000);
  for (std::size_t i = 0; i < kCount; ++i) {
    a.fraction[i] = std::ldexp(a.fraction[i], static_cast<int>(random() % 120) - 60);
  }
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const FloatModeGuard flush;
    const auto got = this->Call(target, Op::kNormalize, {&a});
    for (std::size_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(std::ldexp(got.fraction[i], static_cast<int>(got.exponent[i] - a.exponent[i])),
                a.fraction[i]);
      ASSERT_GE(std::fabs(got.fraction[i]), T(0.7071));
      ASSERT_LT(std::fabs(got.fraction[i]), T(1.4143));
    }
    const auto expect = [&](T fraction, T exponent, T want_fraction, T want_exponent) {
      const auto in = this->All(fraction, exponent);
      const auto out = this->Call(target, Op::kNormalize, {&in});
      EXPECT_EQ(out.fraction[0], want_fraction);
      EXPECT_EQ(out.exponent[0], want_exponent);
    };
    expect(0, 17, 0, this->kZero);
    expect(1, 2 * this->kInfinite, 1, this->kInfinite);
    expect(-1, -2 * this->kInfinite, -1, -this->kInfinite);
    expect(8, 4, 1, 7);
    const auto nan = this->All(TestFixture::Limits::quiet_NaN(), 3);
    EXPECT_TRUE(std::isnan(this->Call(target, Op::kNormalize, {&nan}).fraction[0]));
  }
}

// Zero, infinity and NaN as the log semiring wants them, in both orders.
TYPED_TEST(ExtendedTest, SpecialValues) {
  using T = TypeParam;
  for (const Target& target : Targets()) {
    for (const T x : {T{0}, T{700}, T{-700}, T(1e6), T(-1e6), T(1.6e7), T(-1.6e7)}) {
      SCOPED_TRACE(target.name + " x = " + std::to_string(x));
      const auto zero = this->SplitOne(target, -this->kInf);
      const auto infinity = this->SplitOne(target, this->kInf);
      const auto nan = this->SplitOne(target, TestFixture::Limits::quiet_NaN());
      const auto value = this->SplitOne(target, x);
      const auto log = [&](Op op, const std::vector<const Numbers<T>*>& in) {
        return this->ToLog(target, this->Call(target, op, in))[0];
      };
      const T same = this->ToLog(target, value)[0];
      EXPECT_NEAR(same, x, std::fabs(x) * TestFixture::Limits::epsilon());
      EXPECT_EQ(log(Op::kAdd, {&value, &zero}), same);
      EXPECT_EQ(log(Op::kAdd, {&zero, &value}), same);
      EXPECT_EQ(log(Op::kAdd, {&zero, &zero}), -this->kInf);
      EXPECT_EQ(log(Op::kAdd, {&value, &infinity}), this->kInf);
      EXPECT_EQ(log(Op::kAdd, {&infinity, &zero}), this->kInf);
      EXPECT_EQ(log(Op::kMul, {&value, &zero}), -this->kInf);
      EXPECT_EQ(log(Op::kMul, {&zero, &zero}), -this->kInf);
      EXPECT_EQ(log(Op::kMul, {&zero, &infinity}), -this->kInf);
      EXPECT_EQ(log(Op::kMul, {&infinity, &value}), this->kInf);
      EXPECT_EQ(log(Op::kMulAdd, {&zero, &value, &value}), same);
      EXPECT_EQ(log(Op::kMulAdd, {&zero, &infinity, &value}), same);
      EXPECT_EQ(log(Op::kMulAdd, {&zero, &zero, &zero}), -this->kInf);
      EXPECT_EQ(log(Op::kMulAdd, {&infinity, &value, &value}), this->kInf);
      EXPECT_EQ(log(Op::kMulAdd, {&value, &value, &infinity}), this->kInf);
      EXPECT_EQ(log(Op::kMulAdd, {&infinity, &infinity, &infinity}), this->kInf);
      EXPECT_TRUE(std::isnan(log(Op::kMul, {&nan, &value})));
      EXPECT_TRUE(std::isnan(log(Op::kMul, {&nan, &zero})));
      EXPECT_TRUE(std::isnan(log(Op::kAdd, {&nan, &infinity})));
      EXPECT_TRUE(std::isnan(log(Op::kAdd, {&value, &nan})));
      EXPECT_TRUE(std::isnan(log(Op::kMulAdd, {&value, &value, &nan})));
    }
  }
}

TEST(ExtendedFloat64, ToLogTable) {
  for (const Target& target : Targets()) {
    ulp::Record record("ToLog f64 table", target.name);
    for (const reference::Row& row : reference::kLogScaledRows) {
      if (std::fabs(row.n) > 0x1p24 || row.x > 4 || row.x < 0.25) continue;
      const std::vector<double> fraction(kStep, row.x), exponent(kStep, row.n);
      std::vector<double> out(kStep);
      target.Get<double>(Op::kToLog)({{fraction.data(), exponent.data()}, {out.data()}, kStep});
      const auto unit = static_cast<double>(ulp::Spacing<double>(row.rounded));
      record.Add(std::fabs((out[0] - row.rounded) / unit - row.remainder), row.n);
    }
    record.Expect(1.0);
  }
}

// log sum_k e^(a_k + b_k) where every e^a overflows and every e^b underflows, 4096 terms in one
// accumulator without a Normalize, and a product of 4096 factors with one each.
TYPED_TEST(ExtendedTest, LongSumsAndProducts) {
  using T = TypeParam;
  constexpr int kTerms = 4096;
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const FloatModeGuard flush;
    std::mt19937_64 random(9);
    auto sum = this->SplitOne(target, -this->kInf);
    auto product = this->SplitOne(target, 0);
    long double exact_sum = 0, exact_product = 0;
    for (int k = 0; k < kTerms; ++k) {
      const T a = static_cast<T>(2000 + static_cast<double>(random() % 4096) / 64);
      const T b = static_cast<T>(-2000 - static_cast<double>(random() % 4096) / 64);
      exact_sum += std::exp(static_cast<long double>(a) + b);
      exact_product += b;
      const auto x = this->SplitOne(target, a), y = this->SplitOne(target, b);
      sum = this->Call(target, Op::kMulAdd, {&x, &y, &sum});
      product = this->Call(target, Op::kMul, {&product, &y});
      product = this->Call(target, Op::kNormalize, {&product});
    }
    // Each of the terms and each addition rounds by at most half an ulp of the sum.
    const auto log_sum = static_cast<double>(std::log(exact_sum));
    EXPECT_NEAR(this->ToLog(target, sum)[0], log_sum,
                (kTerms + 3) * this->kHalfUlp + std::fabs(log_sum) * this->kHalfUlp);
    const auto log_product = static_cast<double>(exact_product);
    EXPECT_NEAR(this->ToLog(target, product)[0], log_product,
                3 * kTerms * this->kHalfUlp + std::fabs(log_product) * this->kHalfUlp);
  }
}

}  // namespace
}  // namespace logsum
