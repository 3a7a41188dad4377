// Holds every statement of core/exp-inl.h's comments against measurement.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/exp_constants.hpp"
#include "core/float_mode.hpp"
#include "every_float.hpp"
#include "primitives.hpp"
#include "reference.hpp"
#include "ulp.hpp"

namespace logsum {
namespace {

using primitives::kStep;
using primitives::Op;
using primitives::Target;
using primitives::Targets;

template <class T>
class ExpTest : public testing::Test {
 protected:
  static constexpr T kInf = std::numeric_limits<T>::infinity();
  static constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  static constexpr T kMax = std::numeric_limits<T>::max();
  static constexpr T kMin = std::numeric_limits<T>::min();
  static constexpr T kTiny = std::numeric_limits<T>::denorm_min();
};

using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(ExpTest, Floats);

TEST(ExpEveryFloat32, Exp) { every_float::Run({Op::kExp, Op::kExp, "Exp", 1.1}); }

TEST(ExpEveryFloat32, ExpNonPositive) {
  every_float::Run({.primitive = Op::kExpNonPositive,
                    .oracle = Op::kExp,
                    .name = "ExpNonPositive",
                    .bound = 1.1,
                    .only_non_positive = true,
                    .always_flushes = true});
}

TEST(ExpFloat64, Table) {
  reference::ExpectRows(Op::kExp, "Exp", reference::kExpRows, 1.1);
  reference::ExpectRows(Op::kExpScaled, "ExpScaled", reference::kScaledRows, 1.1);
}

TEST(ExpFloat64, LongDouble) {
  if (!reference::kHaveLongDouble) GTEST_SKIP() << "long double is no wider than double";
  const auto exp = [](long double x) { return std::exp(x); };
  using reference::Around, reference::ExpectSamples, reference::Uniform;
  ExpectSamples(Op::kExp, "Exp", 1'500'000, Uniform(-745.2, 709.78), exp, 1.1);
  ExpectSamples(Op::kExp, "Exp near 0", 1'000'000, Around(0, -60, 1), exp, 1.1);
  ExpectSamples(Op::kExpNonPositive, "ExpNonPositive", 1'000'000, Uniform(-708.3, 0), exp, 1.1);
  ExpectSamples(Op::kExpNonPositive, "ExpNonPositive above 0", 100'000, Uniform(0, 16), exp, 1.1);
  ExpectSamples(Op::kExpReduced, "ExpReduced", 500'000, Uniform(-0.3467, 0.3467), exp, 1.0);
}

TEST(ExpFloat32, NonPositiveAboveZero) {
  std::vector<float> x(1 << 18), got(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 16 * (static_cast<float>(i) * 0x1p-18f);
  for (const Target& target : Targets()) {
    target.Map(Op::kExpNonPositive, x.data(), got.data(), x.size());
    ulp::Record record("ExpNonPositive above 0 f32", target.name);
    for (std::size_t i = 0; i < x.size(); ++i) {
      record.Add(ulp::Distance(got[i], std::exp(static_cast<double>(x[i]))), x[i]);
    }
    record.Expect(1.1);
  }
}

TEST(ExpFloat32, Reduced) {
  std::vector<float> x(1 << 20), got(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = 0.3467f * (static_cast<float>(i) * 0x1p-19f - 1);
  for (const Target& target : Targets()) {
    target.Map(Op::kExpReduced, x.data(), got.data(), x.size());
    ulp::Record record("ExpReduced f32", target.name);
    for (std::size_t i = 0; i < x.size(); ++i) {
      record.Add(ulp::Distance(got[i], std::exp(static_cast<double>(x[i]))), x[i]);
    }
    record.Expect(1.0);
  }
}

TYPED_TEST(ExpTest, SpecialValues) {
  using T = TypeParam;
  const T overflow = sizeof(T) == sizeof(float) ? T(88.8) : T(709.8);
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    for (const bool flush : {false, true}) {
      const auto exp = [&](Op op, T x) {
        if (!flush) return target.One<T>(op, x);
        const FloatModeGuard guard;
        return target.One<T>(op, x);
      };
      for (const Op op : {Op::kExp, Op::kExpNonPositive, Op::kExpScaled}) {
        EXPECT_TRUE(std::isnan(exp(op, this->kNaN)));
        EXPECT_TRUE(std::isnan(exp(op, -this->kNaN)));
        EXPECT_TRUE(std::isnan(exp(op, std::numeric_limits<T>::signaling_NaN())));
        EXPECT_EQ(exp(op, -this->kInf), 0);
        EXPECT_EQ(exp(op, -this->kMax), 0);
        EXPECT_EQ(exp(op, T(-1e38)), 0);
        EXPECT_FALSE(std::signbit(exp(op, -this->kInf)));
        EXPECT_EQ(exp(op, 0), 1);
        EXPECT_EQ(exp(op, -T{0}), 1);
        EXPECT_EQ(exp(op, -this->kTiny), 1);
        EXPECT_EQ(exp(op, -this->kMin), 1);
      }
      EXPECT_EQ(exp(Op::kExp, this->kInf), this->kInf);
      EXPECT_EQ(exp(Op::kExp, this->kMax), this->kInf);
      EXPECT_EQ(exp(Op::kExp, overflow), this->kInf);
      EXPECT_EQ(exp(Op::kExp, this->kTiny), 1);
    }
  }
}

// float32 scales up to the ends of the domain: float64 at the same N is the oracle.
TEST(ExpFloat32, ScaledOverTheDomain) {
  constexpr std::size_t kCount = 1 << 18;
  std::vector<float> x(kCount), got(kCount), fraction(kCount), power(kCount);
  std::vector<double> wide(kCount), exact(kCount);
  for (const Target& target : Targets()) {
    std::mt19937 random(3);
    ulp::Record record("ExpScaled f32", target.name), parts("ExpScaled fraction f32", target.name);
    for (const int scale :
         {0, 1, -1, 100, -100, 30'000, -30'000, 1'000'001, -1'000'001, 3'025'550, -3'025'550}) {
      const std::vector<float> n(kCount, static_cast<float>(scale));
      const std::vector<double> wide_n(kCount, scale);
      std::uniform_real_distribution<double> below(0, 100);
      for (std::size_t i = 0; i < kCount; ++i) {
        wide[i] = x[i] = static_cast<float>(scale * 0x1.62e42fefa39efp-1 - below(random));
      }
      Targets().front().Get<double>(Op::kExpScaled)(
          {{wide.data(), wide_n.data()}, {exact.data()}, kCount});
      target.Get<float>(Op::kExpScaled)({{x.data(), n.data()}, {got.data()}, kCount});
      target.Get<float>(Op::kFraction)(
          {{x.data(), n.data()}, {fraction.data(), power.data()}, kCount});
      for (std::size_t i = 0; i < kCount; ++i) {
        if (exact[i] < 0x1p-126) {
          EXPECT_LE(got[i], 0x1p-126f);
          continue;
        }
        record.Add(ulp::Distance(got[i], exact[i]), x[i]);
        parts.Add(ulp::Distance(fraction[i] * power[i], exact[i]), x[i]);
        int exponent;
        ASSERT_EQ(std::frexp(power[i], &exponent), 0.5f);
        ASSERT_GT(fraction[i], 0.62f);
        ASSERT_LT(fraction[i], 1.6f);
      }
    }
    record.Expect(1.1);
    parts.Expect(1.1);
  }
}

TYPED_TEST(ExpTest, ExponentOfIsMonotoneRoundedAndClamped) {
  using T = TypeParam;
  const T bound = ExpConstants<T>::kMaxScaleInput;
  constexpr std::size_t kCount = 1 << 16;
  std::vector<T> x(kCount), n(kCount);
  for (std::size_t i = 0; i < kCount; ++i) x[i] = std::ldexp(T(i) - T(kCount / 2), -5);
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    target.Map(Op::kExponentOf, x.data(), n.data(), kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(n[i], std::round(n[i]));
      ASSERT_NEAR(n[i], x[i] * 0x1.71547652b82fep0, 0.501);
      ASSERT_GE(n[i], n[i == 0 ? 0 : i - 1]);
    }
    const T top = target.One<T>(Op::kExponentOf, bound);
    EXPECT_NEAR(top, static_cast<double>(bound) * 0x1.71547652b82fep0, 0.75);
    EXPECT_EQ(target.One<T>(Op::kExponentOf, this->kInf), top);
    EXPECT_EQ(target.One<T>(Op::kExponentOf, -this->kInf), -top);
    EXPECT_EQ(target.One<T>(Op::kExponentOf, T(-1e38)), -top);
    EXPECT_TRUE(std::isnan(target.One<T>(Op::kExponentOf, this->kNaN)));
  }
}

// One rounding of r, plus the error of the stored ln 2.
template <class T>
void ExpectReduced(const Target& target, std::span<const T> x, std::span<const T> n,
                   const std::vector<long double>& exact, double error_per_n) {
  std::vector<T> r(x.size());
  target.Get<T>(Op::kReduceByLn2)({{x.data(), n.data()}, {r.data()}, x.size()});
  ulp::Record record(sizeof(T) == sizeof(float) ? "ReduceByLn2 f32" : "ReduceByLn2 f64",
                     target.name);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double unit = ulp::Spacing<T>(exact[i]);
    const long double allowed = error_per_n * std::fabs(n[i]);
    const long double error = std::fabs(r[i] - exact[i]) - allowed;
    record.Add(static_cast<double>(error / unit), x[i]);
  }
  record.Expect(0.5 + 1e-4);
}

TEST(ExpFloat64, ReduceByLn2) {
  const std::size_t count = std::size(reference::kReduceRows) / kStep * kStep;
  std::vector<double> x, n;
  std::vector<long double> exact;
  for (const reference::Row& row : std::span(reference::kReduceRows).first(count)) {
    x.push_back(row.x);
    n.push_back(row.n);
    exact.push_back(row.rounded + row.remainder * ulp::Spacing<double>(row.rounded));
  }
  for (const Target& target : Targets()) {
    ExpectReduced<double>(target, x, n, exact, 0x1p-84);
  }
}

TEST(ExpFloat32, ReduceByLn2) {
  constexpr std::size_t kCount = 1 << 18;
  std::mt19937 random(5);
  std::vector<float> x(kCount), n(kCount);
  std::vector<long double> exact(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    const double size = std::exp2(std::uniform_real_distribution<double>(0, 21.99)(random));
    n[i] = static_cast<float>(std::round(random() & 1 ? size : -size));
    const double near = std::uniform_real_distribution<double>(-0.34, 0.34)(random);
    x[i] = static_cast<float>(n[i] * 0x1.62e42fefa39efp-1 + near);
    // ln 2 as two doubles; the products are exact to 2^-80 in long double, 2^-53 in double.
    exact[i] = x[i] - static_cast<long double>(n[i]) * 0x1.62e42fefa39efp-1 -
               static_cast<long double>(n[i]) * 0x1.abc9e3b39803fp-56;
  }
  for (const Target& target : Targets()) {
    ExpectReduced<float>(target, x, n, exact, 0x1p-53);
  }
}

}  // namespace
}  // namespace logsum
