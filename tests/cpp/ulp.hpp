// Measured error of the primitives: how it is counted, reported and compared with a bound.
//
// An ulp is the spacing of the type's numbers in the binade of the exact result (the spacing of
// the subnormal numbers below the smallest normal one).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

namespace logsum::ulp {

template <class T>
long double Spacing(long double exact) {
  using Limits = std::numeric_limits<T>;
  if (!std::isfinite(exact)) return std::numeric_limits<T>::max();
  const int exponent = exact == 0 ? Limits::min_exponent : std::ilogb(exact) + 1;
  return std::ldexp(1.0L, std::max(exponent, Limits::min_exponent) - Limits::digits);
}

// The distance in ulp; infinite between a NaN and a number, or an infinity and a finite number that
// is not next to it.
template <class T>
double Distance(T got, long double exact) {
  if (std::isnan(got) || std::isnan(exact)) {
    return std::isnan(got) && std::isnan(exact) ? 0 : std::numeric_limits<double>::infinity();
  }
  if (got == exact) return 0;
  return static_cast<double>(std::fabs(got - exact) / Spacing<T>(exact));
}

// The worst error of one primitive on one target.
class Record {
 public:
  Record(std::string primitive, std::string target)
      : name_(std::move(primitive) + " " + std::move(target)) {}

  void Add(double error, double at) {
    if (!(error <= worst_)) {
      worst_ = error;
      at_ = at;
    }
  }

  void Add(const Record& other) { Add(other.worst_, other.at_); }

  // Prints and records the worst error, and holds it against the bound of the primitive's comment.
  void Expect(double bound) const {
    char text[64];
    std::snprintf(text, sizeof text, "%.4f at %a", worst_, at_);
    std::printf("[   ulp    ] %-36s %s (bound %g)\n", name_.c_str(), text, bound);
    std::string key = name_;
    std::replace_if(key.begin(), key.end(), [](char c) { return c == ' ' || c == ','; }, '_');
    testing::Test::RecordProperty(key, text);
    EXPECT_LE(worst_, bound) << name_ << " at " << text;
  }

 private:
  std::string name_;
  double worst_ = 0;
  double at_ = 0;
};

// LOGSUM_TEST_STRIDE=n keeps every n-th sample of the long sweeps, for runs under a sanitizer.
inline unsigned Stride() {
  const char* const text = std::getenv("LOGSUM_TEST_STRIDE");
  const int stride = text == nullptr ? 1 : std::atoi(text);
  return stride > 1 ? static_cast<unsigned>(stride) : 1;
}

}  // namespace logsum::ulp
