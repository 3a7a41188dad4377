// The exponentials of a scan's weights against long double, on every CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scan_exp_test.cpp"
#include <cmath>

#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "scan/exp_weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::testing::HWY_NAMESPACE {
namespace {

// e^x as for weights read as float (or double), for as many x as a vector of double holds.
template <class Raw>
void WeightExps(const double* x, double* result) {
  const hwy::HWY_NAMESPACE::ScalableTag<double> d;
  const auto weights = scan::HWY_NAMESPACE::WeightExp<Raw>(hwy::HWY_NAMESPACE::LoadU(d, x));
  hwy::HWY_NAMESPACE::StoreU(weights, d, result);
}

void ExpsOfFloat(const double* x, double* result) { WeightExps<float>(x, result); }
void ExpsOfDouble(const double* x, double* result) { WeightExps<double>(x, result); }

}  // namespace
}  // namespace logsum::testing::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>

#include "core/float_mode.hpp"
#include "core/target.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {

HWY_EXPORT(ExpsOfFloat);
HWY_EXPORT(ExpsOfDouble);

namespace {

using Exps = std::function<void(const double*, double*)>;
using Vector = std::array<double, 8>;

class WeightExpOnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

double LargestError(const Exps& exps) {
  const FloatModeGuard flush;
  constexpr int kSteps = 200'000;
  double worst = 0;
  for (int i = 0; i < kSteps; ++i) {
    // Denser near zero, from -708 to 0.
    const double part = static_cast<double>(i) / kSteps;
    Vector x{}, got{};
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] = -708 * std::pow(part, 1.0 + static_cast<double>(k));
    }
    exps(x.data(), got.data());
    // As many as the target's vectors hold were computed; the others are 0.
    for (std::size_t k = 0; k < x.size() && got[k] != 0; ++k) {
      const long double exact = std::exp(static_cast<long double>(x[k]));
      worst = std::max(worst, static_cast<double>(std::fabs(got[k] / exact - 1)));
    }
  }
  return worst;
}

double AtEnds(const Exps& exps, double x) {
  Vector all{}, got{};
  all.fill(x);
  exps(all.data(), got.data());
  return got[0];
}

void Check(const Exps& exps, double bound) {
  EXPECT_LE(LargestError(exps), bound);
  EXPECT_EQ(AtEnds(exps, 0), 1);
  EXPECT_GE(AtEnds(exps, -708), std::numeric_limits<double>::min());
  EXPECT_LT(AtEnds(exps, -708), 0x1p-1021);
  EXPECT_TRUE(std::isnan(AtEnds(exps, std::numeric_limits<double>::quiet_NaN())));
}

TEST_P(WeightExpOnEveryTarget, KeepsItsBound) {
  EnsureTarget();
  Check([](const double* x, double* y) { HWY_DYNAMIC_DISPATCH(ExpsOfFloat)(x, y); }, 0x1p-44);
  Check(
      [](const double* x, double* y) {
        HWY_DYNAMIC_DISPATCH(ExpsOfDouble)
        (x, y);
      },
      1.1 * 0x1p-52);
}

INSTANTIATE_TEST_SUITE_P(Targets, WeightExpOnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
#endif
