// The mergeable state is a commutative monoid, up to rounding.
#include "logsum/state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace logsum {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <class Real>
class StateTest : public ::testing::Test {
 protected:
  // A merge rounds its sum, one exponential and one product: 3 half ulps, of a value up to log s.
  static constexpr Real kMergeError = 8 * std::numeric_limits<Real>::epsilon();

  static State<Real> Random(std::mt19937& random) {
    std::normal_distribution<Real> normal(0, 20);
    State<Real> state;
    for (unsigned n = random() % 5; n > 0; --n) state.push(normal(random));
    return state;
  }
  static void ExpectSame(const State<Real>& a, const State<Real>& b) {
    if (std::isinf(a.value())) {
      EXPECT_EQ(a.value(), b.value());
    } else {
      EXPECT_NEAR(a.value(), b.value(), kMergeError * (1 + std::abs(a.value())));
    }
  }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(StateTest, Reals);

TYPED_TEST(StateTest, EmptyIsTheUnit) {
  std::mt19937 random(1);
  for (int i = 0; i < 100; ++i) {
    const auto state = this->Random(random);
    for (const auto& merged :
         {merge(state, State<TypeParam>::empty()), merge(State<TypeParam>::empty(), state)}) {
      EXPECT_EQ(merged.m, state.m);
      EXPECT_EQ(merged.s, state.s);
    }
  }
}

TYPED_TEST(StateTest, MergeIsAssociativeAndCommutative) {
  std::mt19937 random(2);
  for (int i = 0; i < 1000; ++i) {
    const auto a = this->Random(random), b = this->Random(random), c = this->Random(random);
    this->ExpectSame(merge(a, b), merge(b, a));
    this->ExpectSame(merge(merge(a, b), c), merge(a, merge(b, c)));
  }
}

TYPED_TEST(StateTest, AnyGroupingGivesTheLogSumExp) {
  std::mt19937 random(3);
  std::normal_distribution<TypeParam> normal(0, 5);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<TypeParam> x(40);
    long double sum = 0;
    for (auto& value : x) sum += std::exp(static_cast<long double>(value = normal(random)));
    State<TypeParam> parts[4];
    for (std::size_t i = 0; i < x.size(); ++i) parts[random() % 4].push(x[i]);
    const auto whole = merge(merge(parts[0], parts[1]), merge(parts[2], parts[3]));
    EXPECT_NEAR(whole.value(), static_cast<double>(std::log(sum)),
                40 * std::numeric_limits<TypeParam>::epsilon());
  }
}

TEST(State, ScalesCarryAWeightedMean) {
  // The mean of v weighted by e^x, in two parts.
  const double x[] = {3, -1, 700, 699.5}, v[] = {1, 2, 3, 4};
  State<double> state[2];
  double sum[2] = {0, 0};
  for (int i = 0; i < 4; ++i) {
    const auto one = State<double>::of(x[i]);
    const auto scale = merge_scales(state[i % 2], one);
    sum[i % 2] = sum[i % 2] * scale.a + v[i] * scale.b;
    state[i % 2] = merge(state[i % 2], one);
  }
  const auto scale = merge_scales(state[0], state[1]);
  const double mean = (sum[0] * scale.a + sum[1] * scale.b) / merge(state[0], state[1]).s;
  EXPECT_NEAR(mean, (3 + 4 * std::exp(-0.5)) / (1 + std::exp(-0.5)), 1e-14);
}

TEST(State, SpecialValues) {
  const auto value_of = [](std::vector<double> terms) {
    State<double> state;
    for (const double x : terms) state.push(x);
    return state.value();
  };
  EXPECT_EQ(value_of({}), -kInf);
  EXPECT_EQ(value_of({-kInf, -kInf}), -kInf);
  EXPECT_EQ(value_of({-kInf, 2, -kInf}), 2);
  EXPECT_EQ(value_of({1, kInf, 3}), kInf);
  EXPECT_EQ(value_of({1e300, 1e300}), 1e300);
  for (const auto& terms : {std::vector<double>{kNaN}, {kNaN, 1}, {1, kNaN}, {kInf, kNaN, 1}}) {
    EXPECT_TRUE(std::isnan(value_of(terms)));
  }
  State<double> infinite;
  for (const double x : {kInf, 5.0, kInf}) infinite.push(x);
  EXPECT_EQ(infinite.s, 2) << "counts the infinite terms";
}

}  // namespace
}  // namespace logsum
