// How far the scaled linear domain reaches, and what is known of the lines that were scaled.
//
// A line is a row of the left operand or a column of the right one. Its exponentials are stored as
// e^x 2^(E - N), N the exponent of its largest term and E a bias that lifts products to the top of
// the range, so that the largest term of a sum may be 2^(2E) and the smallest that counts the
// smallest normal number: 2 E + 126 binades (float32) lie between them.
#pragma once
#include <cstdint>

namespace logsum::matmul {

template <class Real>
struct ScalingLimits;

template <>
struct ScalingLimits<float> {
  static constexpr int kLargestBias = 56;
  static constexpr int kExponents = 120;  // for sums of products, with room to spare
  static constexpr int kSmallestExponent = -126;
  static constexpr float kTiny = 0x1p-126f;
  // An entry is certified if it is this many times what may be missing from it: 2^-26 of a sum is a
  // quarter of a float32's half ulp.
  static constexpr float kCertified = 0x1p26f;
  // |x| up to this has its exponential split without loss (exp-inl.h); a mean adds three such.
  static constexpr float kDomain = 0x1p21f;
};

template <>
struct ScalingLimits<double> {
  static constexpr int kLargestBias = 500;
  static constexpr int kExponents = 1016;
  static constexpr int kSmallestExponent = -1022;
  static constexpr double kTiny = 0x1p-1022;
  static constexpr double kCertified = 0x1p55;
  static constexpr double kDomain = 0x1p24;
};

// The bias for sums of `depth` products: 2 E + log2(depth) stays within the exponents.
template <class Real>
int BiasFor(std::int64_t depth) {
  using Limits = ScalingLimits<Real>;
  int log2_depth = 0;
  while ((std::int64_t{1} << log2_depth) < depth) ++log2_depth;
  const int bias = (Limits::kExponents - log2_depth) / 2;
  return bias < Limits::kLargestBias ? bias : Limits::kLargestBias;
}

// Facts about a run of lines, an array each.
template <class Real>
struct Lines {
  Real* scale;     // N, integral
  Real* lost;      // at most what one line's flushed terms take from a scaled sum; inf: not packed
  Real* smallest;  // at most the smallest stored number that is not zero
  Real* mass;      // of the weights: their sum of magnitudes (1 without weights)
  Real* peak;      // and their largest magnitude (1)
  Real* top;       // the largest level x + ln 2 exponent of a term, -inf if all are zero
  Real* bottom;    // the smallest of a term that is not zero, +inf

  static constexpr int kArrays = 7;

  // Arrays of `count` each, one after another in `memory`.
  static Lines In(Real* memory, std::int64_t count) {
    return {memory,
            memory + count,
            memory + 2 * count,
            memory + 3 * count,
            memory + 4 * count,
            memory + 5 * count,
            memory + 6 * count};
  }
  Lines At(std::int64_t line) const {
    return {scale + line, lost + line, smallest + line, mass + line,
            peak + line,  top + line,  bottom + line};
  }
};

// Whole exponents that a mean or a repair takes from one operand and gives to the other, for every
// depth index: adding t_k to the left's and taking it from the right's changes no term. A depth
// index without a term on one side is cut from both.
template <class Real>
struct Gauge {
  const Real* shift = nullptr;  // t_k, integral
  const Real* cut = nullptr;    // 0, or -inf for an index that is cut
  bool Exists() const { return shift != nullptr; }
};

}  // namespace logsum::matmul
