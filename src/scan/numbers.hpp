// What the number systems of scans agree on with the code around the kernels.
#pragma once

namespace logsum::scan {

// A row of numbers in memory: their fractions and, apart, their exponents (Ranged and RangedDual)
// and slopes (RangedDual).
struct Row {
  double* fractions = nullptr;
  double* exponents = nullptr;
  double* slopes = nullptr;
};

// Log weights from here down are zeros: people write zero as -1e38.
inline constexpr double kZeroWeight = -1e30;

// Exponents of zero and of infinity, far apart from each other and from the exponents of finite
// weights, and from overflow after as many products as there can be steps.
inline constexpr double kZeroExponent = -1e200;
inline constexpr double kInfiniteExponent = 1e150;

// From where on an exponent is infinity's: 1e38 times any number of steps stays below.
inline constexpr double kFirstInfiniteExponent = 1e100;

}  // namespace logsum::scan
