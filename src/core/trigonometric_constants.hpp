// Constants of sin, cos and atan, per element type: what `python tools/minimax.py` prints.
#pragma once

namespace logsum {

// pi / 2 in parts so short that an integer below 2^28 (float32, whose reduction runs in double),
// 2^20 (float64) times each but the last is exact in double.
inline constexpr double kHalfPiForFloat[] = {0x1.921fb5p+0, 0x1.110b46p-26, 0x1.1a62633145c07p-54};
inline constexpr double kHalfPiForDouble[] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69,
                                              0x1.b839a252049c1p-104};
inline constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

template <class T>
struct TrigonometricConstants;

template <>
struct TrigonometricConstants<float> {
  // Beyond, sin and cos are taken one by one.
  static constexpr float kLargest = 0x1p28f;
  // sin r = r + r^3 q(r^2), relative error 2^-27.5, and cos r = 1 - r^2/2 + r^4 q(r^2), 2^-30.9, on
  // |r| <= pi/4.
  static constexpr float kSin[] = {-0x1.555546p-3f, 0x1.11076p-7f, -0x1.994e64p-13f};
  static constexpr float kCos[] = {0x1.55554ap-5f, -0x1.6c0c8ap-10f, 0x1.9a01fcp-16f};
  // atan t = t + t^3 q(t^2), relative error 2^-28.7 on |t| <= tan(pi/8).
  static constexpr float kAtan[] = {-0x1.55554ap-2f, 0x1.9991aep-3f, -0x1.23b6c2p-3f,
                                    0x1.b202a8p-4f, -0x1.f258e6p-5f};
  static constexpr float kHalfPiHi = 0x1.921fb6p+0f, kHalfPiLo = -0x1.777a5cp-25f;
};

template <>
struct TrigonometricConstants<double> {
  static constexpr double kLargest = 0x1p20;
  // Relative errors 2^-57.3, 2^-60.0 and 2^-58.7.
  static constexpr double kSin[] = {-0x1.5555555555549p-3,  0x1.111111110f87bp-7,
                                    -0x1.a01a019c119f4p-13, 0x1.71de3577b9759p-19,
                                    -0x1.ae5e663bf817cp-26, 0x1.5d93014804a9ep-33};
  static constexpr double kCos[] = {0x1.555555555554cp-5,  -0x1.6c16c16c1517ep-10,
                                    0x1.a01a019cb1baep-16, -0x1.27e4f809ee0bdp-22,
                                    0x1.1ee9ebe726ba3p-29, -0x1.8fae9b504a37dp-37};
  static constexpr double kAtan[] = {
      -0x1.555555555553dp-2, 0x1.99999999958f3p-3, -0x1.24924922b15a7p-3, 0x1.c71c70e7bab25p-4,
      -0x1.745cf90e01bc5p-4, 0x1.3b111c9a78e7dp-4, -0x1.10ebe01923868p-4, 0x1.df118ca3e2504p-5,
      -0x1.9cdcd26faa2c8p-5, 0x1.37eefde0d9c49p-5, -0x1.25a12cd582064p-6};
  static constexpr double kHalfPiHi = 0x1.921fb54442d18p+0, kHalfPiLo = 0x1.1a62633145c07p-54;
};

}  // namespace logsum
