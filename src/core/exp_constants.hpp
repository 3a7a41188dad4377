// Constants of exp, log and the power-of-two split, per element type.
//
// The polynomials and the parts of ln 2 are what `python tools/minimax.py` prints.
#pragma once

#include <cstdint>

namespace logsum {

// Exponents of an extended-range zero and infinity. Apart from each other and from every finite
// number by more than any product moves them, and small enough for sums of two to fit an int32.
inline constexpr int kZeroExponent = -(1 << 29);
inline constexpr int kInfiniteExponent = 1 << 28;

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr int kMantissaBits = 23;
  static constexpr int kExponentBias = 127;
  static constexpr std::uint32_t kSqrtHalfBits = 0x3f3504f3;

  // t = x log2(e) + kRounder leaves round(x log2 e) in the low bits of t, for |x log2 e| < 2^22.
  static constexpr float kRounder = 0x1.8p23f;
  static constexpr float kLog2E = 0x1.715476p0f;

  // ln 2 = kLn2Hi + kLn2Lo to 2^-54. With FMA, x - n kLn2Hi is exact (see ReduceByLn2).
  static constexpr float kLn2Hi = 0x1.62e43p-1f;
  static constexpr float kLn2Lo = -0x1.05c61p-29f;
  // The same with a 15 bit head, so that n times it is exact without FMA for |n| <= 2^9.
  static constexpr float kLn2ShortHi = 0x1.62e4p-1f;
  static constexpr float kLn2ShortLo = 0x1.7f7d1cp-20f;

  // Domains, see ExpScaled and SplitExp: the largest |x| of a scale, and of a split.
  static constexpr float kMaxScaleInput = 0x1p21f;
  static constexpr float kMaxSplitInput = 0x1p24f;

  // e^x rounds to 0 below, to +inf above, whatever the last bits of these two are.
  static constexpr float kExpToZero = -104.0f;
  static constexpr float kExpToInf = 89.0f;

  // 2^p: or-ing an integer below 2^p into its bits adds that integer to it.
  static constexpr float kIntegerOne = 0x1p23f;
  static constexpr std::uint32_t kIntegerBits = 0x4b000000;
  // x from which 1 + x is x to far below an ulp of log(1 + x).
  static constexpr float kOneIsLost = 0x1p30f;

  // e^r = 1 + r + r^2/2 + r^3 q(r); relative error 2^-27.5 on |r| <= 0.36, 2^-27 to 0.375.
  static constexpr float kExp[] = {0x1.555488p-3f, 0x1.5556bep-5f, 0x1.12458ep-7f, 0x1.6b5dfp-10f};

  // log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2); relative error 2^-30.2 for (1+s)/(1-s) in
  // [sqrt(1/2), sqrt(2)].
  static constexpr float kLog[] = {0x1.55557ap-1f, 0x1.995edp-2f, 0x1.31e0cap-2f};
};

template <>
struct ExpConstants<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr int kExponentBias = 1023;
  static constexpr std::uint64_t kSqrtHalfBits = 0x3fe6a09e667f3bcd;

  static constexpr double kRounder = 0x1.8p52;
  static constexpr double kLog2E = 0x1.71547652b82fep0;

  static constexpr double kLn2Hi = 0x1.62e42fefa39efp-1;
  static constexpr double kLn2Lo = 0x1.abc9e3b39803fp-56;
  // 42 bit head: n times it is exact without FMA for |n| <= 2^11.
  static constexpr double kLn2ShortHi = 0x1.62e42fefa38p-1;
  static constexpr double kLn2ShortLo = 0x1.ef35793c7673p-45;
  // Two heads of 21 bits: n times either is exact for |n| <= 2^32.
  static constexpr double kLn2Head = 0x1.62e43p-1;
  static constexpr double kLn2Middle = -0x1.05c61p-29;
  static constexpr double kLn2Tail = -0x1.950d871319ffp-54;

  static constexpr double kMaxScaleInput = 0x1p28;
  static constexpr double kMaxSplitInput = 0x1p24;

  static constexpr double kExpToZero = -745.2;
  static constexpr double kExpToInf = 710.0;

  static constexpr double kIntegerOne = 0x1p52;
  static constexpr std::uint64_t kIntegerBits = 0x4330000000000000;
  static constexpr double kOneIsLost = 0x1p60;

  // Relative error 2^-57.3 on |r| <= 0.3467.
  static constexpr double kExp[] = {
      0x1.5555555555501p-3,  0x1.55555555531f4p-5,  0x1.1111111128934p-7,
      0x1.6c16c17cc9e66p-10, 0x1.a01a011bf1777p-13, 0x1.a019ab15ef8dep-16,
      0x1.71df5587c2cdbp-19, 0x1.289fa407143eap-22, 0x1.ad1ff1ed39d11p-26};

  // Relative error 2^-59.3.
  static constexpr double kLog[] = {
      0x1.5555555555592p-1, 0x1.999999997fee7p-2, 0x1.24924941e0c3ep-2, 0x1.c71c52165256ap-3,
      0x1.74663c5257c3fp-3, 0x1.39a1fba6ea505p-3, 0x1.2f02e65e446e7p-3};
};

// Of exp_table-inl.h.
struct ExpTableConstants {
  static constexpr double kInverseStep = 0x1.71547652b82fep+4;  // 16 / ln 2
  static constexpr double kStepHi = 0x1.62e42fefa39efp-5;
  static constexpr double kStepLo = 0x1.abc9e3b39803fp-60;
  static constexpr double kLeast = -0x1.6232bdd7abcd2p+9;  // log(2^-1022)

  // e^r = 1 + r + r^2 q(r); relative error 2^-65.2 on |r| <= 0.02167.
  static constexpr double kQuotient[] = {0x1.0000000000004p-1,  0x1.5555555555545p-3,
                                         0x1.555555547fda3p-5,  0x1.111111125621ep-7,
                                         0x1.6c18413b347d7p-10, 0x1.a01919f1688fcp-13};
  // The same with relative error 2^-47.3, for results that need not be right to the last digits.
  static constexpr double kShortQuotient[] = {0x1.fffffffdbef6fp-2, 0x1.5555555761e6fp-3,
                                              0x1.55573be934baep-5, 0x1.11109220d9851p-7};
  // 2^(k/16).
  static constexpr double kPowers[] = {
      0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
      0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0,
      0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
      0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};
};

}  // namespace logsum
