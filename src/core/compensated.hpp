// A sum that keeps what its additions round off.
#pragma once
#include <cmath>

namespace logsum {

// Neumaier's variant of Kahan's sum: the error of n terms is about one rounding of the result plus
// n u^2 times the sum of magnitudes. NaN and a single infinity pass through.
class CompensatedSum {
 public:
  void Add(double x) {
    const double next = sum_ + x;
    lost_ += std::abs(sum_) >= std::abs(x) ? (sum_ - next) + x : (x - next) + sum_;
    sum_ = next;
  }
  double Value() const { return std::isfinite(sum_) ? sum_ + lost_ : sum_; }

  // The two parts, for sums that go on in another scale.
  double High() const { return sum_; }
  double Low() const { return lost_; }

 private:
  double sum_ = 0, lost_ = 0;
};

}  // namespace logsum
