// Holds every statement of core/log-inl.h's comments against measurement.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "core/float_mode.hpp"
#include "every_float.hpp"
#include "primitives.hpp"
#include "reference.hpp"
#include "ulp.hpp"

namespace logsum {
namespace {

using primitives::Op;
using primitives::Target;
using primitives::Targets;

TEST(LogEveryFloat32, Log) { every_float::Run({Op::kLog, Op::kLog, "Log", 1.0}); }

TEST(LogEveryFloat32, Log1p) { every_float::Run({Op::kLog1p, Op::kLog1p, "Log1p", 1.0}); }

TEST(LogFloat64, Table) {
  reference::ExpectRows(Op::kLog, "Log", reference::kLogRows, 1.0);
  reference::ExpectRows(Op::kLog1p, "Log1p", reference::kLog1pRows, 1.0);
  reference::ExpectRows(Op::kLogScaled, "LogScaled", reference::kLogScaledRows, 1.0);
}

TEST(LogFloat64, LongDouble) {
  if (!reference::kHaveLongDouble) GTEST_SKIP() << "long double is no wider than double";
  using reference::Around, reference::ExpectSamples, reference::Uniform;
  const auto log = [](long double x) { return std::log(x); };
  const auto log1p = [](long double x) { return std::log1p(x); };
  const auto any = [](std::mt19937_64& random) {
    return std::ldexp(1 + Uniform(0, 1)(random), static_cast<int>(random() % 2045) - 1022);
  };
  ExpectSamples(Op::kLog, "Log", 500'000, any, log, 1.0);
  ExpectSamples(Op::kLog, "Log near 1", 1'000'000, Uniform(0.25, 4), log, 1.0);
  ExpectSamples(Op::kLog, "Log very near 1", 500'000, Around(1, -52, -1), log, 1.0);
  ExpectSamples(Op::kLog1p, "Log1p", 500'000, any, log1p, 1.0);
  ExpectSamples(Op::kLog1p, "Log1p near 0", 1'000'000, Uniform(-1, 4), log1p, 1.0);
  ExpectSamples(Op::kLog1p, "Log1p very near 0", 500'000, Around(0, -1000, -1), log1p, 1.0);
  const auto above_minus_1 = [](std::mt19937_64& random) {
    return -1 + std::exp2(Uniform(-52, -1)(random));
  };
  ExpectSamples(Op::kLog1p, "Log1p near -1", 500'000, above_minus_1, log1p, 1.0);
}

// log(x 2^n) in float32 against float64, n to the end of the domain.
TEST(LogFloat32, Scaled) {
  constexpr std::size_t kCount = 1 << 20;
  std::mt19937 random(11);
  std::vector<float> x(kCount), n(kCount), got(kCount);
  std::vector<double> wide(kCount), wide_n(kCount), exact(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto exponent = static_cast<int>(random() % 250) - 124;
    x[i] = std::ldexp(1 + std::uniform_real_distribution<float>(0, 1)(random),
                      i % 2 == 0 ? exponent : -1);
    wide[i] = x[i];
    const double size = std::exp2(std::uniform_real_distribution<double>(0, 24)(random)) - 1;
    wide_n[i] = n[i] = static_cast<float>(std::round(random() & 1 ? size : -size));
  }
  Targets().front().Get<double>(Op::kLogScaled)(
      {{wide.data(), wide_n.data()}, {exact.data()}, kCount});
  for (const Target& target : Targets()) {
    target.Get<float>(Op::kLogScaled)({{x.data(), n.data()}, {got.data()}, kCount});
    ulp::Record record("LogScaled f32", target.name);
    for (std::size_t i = 0; i < kCount; ++i) record.Add(ulp::Distance(got[i], exact[i]), x[i]);
    record.Expect(1.0);
  }
}

// log(x 2^n) for sums of exponentials: the same bound, and with the rest twice the digits.
template <class T>
void CheckLogOfSum(double largest_exponent) {
  using Limits = std::numeric_limits<T>;
  constexpr std::size_t kCount = 1 << 17;
  constexpr long double kUnit = std::is_same_v<T, float> ? 0x1p-24L : 0x1p-53L;
  // ln 2 as 32 bits, whose products with exponents are exact in long double, and what is left.
  constexpr long double kLn2Head = 0xB17217F7p-32L, kLn2Tail = 0xD1CF79ABC9E3B398p-96L;
  std::mt19937_64 random(13);
  std::vector<T> x(kCount), n(kCount), got(kCount), rest(kCount), plain(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const int exponents = Limits::max_exponent - Limits::min_exponent;
    const int exponent = i % 3 == 0 ? static_cast<int>(random() % 3) - 1
                                    : static_cast<int>(random() % static_cast<unsigned>(exponents));
    x[i] = std::ldexp(std::uniform_real_distribution<T>(1, 2)(random),
                      i % 3 == 0 ? exponent : exponent + Limits::min_exponent - 1);
    const double size = std::exp2(reference::Uniform(0, std::log2(largest_exponent))(random)) - 1;
    n[i] = static_cast<T>(std::round(random() & 1 ? size : -size));
  }
  for (const Target& target : Targets()) {
    target.Get<T>(Op::kLogScaledOfSum)({{x.data(), n.data()}, {plain.data()}, kCount});
    target.Get<T>(Op::kLogWithRest)({{x.data(), n.data()}, {got.data(), rest.data()}, kCount});
    const char* const type = std::is_same_v<T, float> ? "f32" : "f64";
    ulp::Record alone(std::string("LogScaledOfSum ") + type, target.name);
    ulp::Record first(std::string("LogScaledOfSum ") + type + " before its rest", target.name);
    ulp::Record both(std::string("LogScaledOfSum ") + type + " with its rest, in u", target.name);
    for (std::size_t i = 0; i < kCount; ++i) {
      int power = 0;
      const long double mantissa = std::frexp(static_cast<long double>(x[i]), &power);
      const long double whole = static_cast<long double>(n[i]) + power;
      const long double small = std::log(mantissa) + whole * kLn2Tail;
      const long double exact = whole * kLn2Head + small;
      alone.Add(ulp::Distance(plain[i], exact), x[i]);
      first.Add(ulp::Distance(got[i], exact), x[i]);
      const long double error = ((whole * kLn2Head - got[i]) - rest[i]) + small;
      both.Add(static_cast<double>(std::fabs(error) / kUnit), x[i]);
    }
    alone.Expect(1.0);
    first.Expect(1.0);
    both.Expect(1.0);
  }
}

TEST(LogOfSum, WithAndWithoutRest) {
  if (!reference::kHaveLongDouble) GTEST_SKIP() << "long double is no wider than double";
  CheckLogOfSum<float>(0x1p24);
  CheckLogOfSum<double>(0x1p26);
}

template <class T>
class LogTest : public testing::Test {};

using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(LogTest, Floats);

TYPED_TEST(LogTest, SpecialValues) {
  using T = TypeParam;
  using Limits = std::numeric_limits<T>;
  const T inf = Limits::infinity(), tiny = Limits::denorm_min();
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    for (const Op op : {Op::kLog, Op::kLogScaled}) {
      EXPECT_EQ(target.One<T>(op, 0), -inf);
      EXPECT_EQ(target.One<T>(op, -T{0}), -inf);
      EXPECT_EQ(target.One<T>(op, inf), inf);
      EXPECT_EQ(target.One<T>(op, 1), 0);
      EXPECT_FALSE(std::signbit(target.One<T>(op, 1)));
      for (const T x : {-inf, T{-1}, -tiny, -Limits::max(), Limits::quiet_NaN(),
                        -Limits::quiet_NaN(), Limits::signaling_NaN()}) {
        EXPECT_TRUE(std::isnan(target.One<T>(op, x))) << x;
      }
    }
    EXPECT_EQ(target.One<T>(Op::kLogScaled, 0, 1000), -inf);
    EXPECT_EQ(target.One<T>(Op::kLogScaled, inf, -1000), inf);

    EXPECT_EQ(target.One<T>(Op::kLog1p, -1), -inf);
    EXPECT_EQ(target.One<T>(Op::kLog1p, inf), inf);
    for (const T x : {T{0}, -T{0}, tiny, -tiny, Limits::min(), -Limits::min()}) {
      EXPECT_EQ(target.One<T>(Op::kLog1p, x), x);
      EXPECT_EQ(std::signbit(target.One<T>(Op::kLog1p, x)), std::signbit(x));
    }
    for (const T x : {-inf, T{-2}, std::nextafter(T{-1}, -inf), -Limits::max(), Limits::quiet_NaN(),
                      -Limits::quiet_NaN()}) {
      EXPECT_TRUE(std::isnan(target.One<T>(Op::kLog1p, x))) << x;
    }
  }
}

TYPED_TEST(LogTest, SpecialSums) {
  using T = TypeParam;
  using Limits = std::numeric_limits<T>;
  const std::vector<T> x(primitives::kStep, 0), nan(primitives::kStep, Limits::quiet_NaN());
  const std::vector<T> n(primitives::kStep, -1000);
  std::vector<T> got(primitives::kStep), rest(primitives::kStep, 7);
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    EXPECT_EQ(target.One<T>(Op::kLogScaledOfSum, 0, 1000), -Limits::infinity());
    EXPECT_TRUE(std::isnan(target.One<T>(Op::kLogScaledOfSum, Limits::quiet_NaN(), 3)));
    EXPECT_EQ(target.One<T>(Op::kLogScaledOfSum, 1, 0), 0);
    target.Get<T>(Op::kLogWithRest)({{x.data(), n.data()}, {got.data(), rest.data()}, x.size()});
    EXPECT_EQ(got[0], -Limits::infinity());
    EXPECT_EQ(rest[0], 0);
    target.Get<T>(Op::kLogWithRest)({{nan.data(), n.data()}, {got.data(), rest.data()}, x.size()});
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_EQ(rest[0], 0);
  }
}

TYPED_TEST(LogTest, SubnormalsAreZeroWhenTheModeSaysSo) {
  using T = TypeParam;
  const T tiny = std::numeric_limits<T>::denorm_min(), inf = std::numeric_limits<T>::infinity();
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    EXPECT_NEAR(target.One<T>(Op::kLog, tiny), std::log(tiny), 1e-4);
    const FloatModeGuard flush;
    EXPECT_EQ(target.One<T>(Op::kLog, tiny), -inf);
  }
}

}  // namespace
}  // namespace logsum
