// The roundings of storage and arithmetic types.
#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/dtype.hpp"

namespace logsum::testing {

// The type of the arithmetic on T.
template <class T>
using WideOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Unit roundoff of the arithmetic.
template <class T>
constexpr double kRoundoff = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;

// Half an ulp of T at `value`.
template <class T>
double HalfUlp(double value) {
  constexpr int kDigits = std::is_same_v<T, double>     ? 53
                          : std::is_same_v<T, float>    ? 24
                          : std::is_same_v<T, BFloat16> ? 8
                                                        : 11;
  constexpr int kLeast = std::is_same_v<T, Half> ? -14 : -126;
  const int exponent = value == 0 ? kLeast : std::max(kLeast, std::ilogb(value));
  return std::ldexp(1.0, exponent - kDigits);
}

}  // namespace logsum::testing
