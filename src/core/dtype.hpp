// Element types as C++ types, and one way to go from a DType to them.
//
// f16 and bf16 are storage: they are widened to float32 when read and rounded to nearest even when
// written. Both conversions are plain integer code, so that they do not depend on the
// flush-to-zero mode (half subnormals survive it) and compilers vectorise them for each target.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

#include "logsum/tensor.hpp"

namespace logsum {

struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

inline float ToFloat(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = x.bits & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);  // rebias 15 -> 127
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  // A subnormal is its integer times 2^-24: exact, and not subnormal in float32.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(
      static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const std::uint32_t finite = magnitude < 0x400u ? subnormal : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7c00u ? special : finite));
}

inline float ToFloat(BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
inline float ToFloat(float x) { return x; }
inline double ToFloat(double x) { return x; }

template <class Storage>
Storage FromFloat(float x);

template <>
inline Half FromFloat<Half>(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Nearest even: add just under half of the last kept bit, plus that bit itself.
  const std::uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  // Below 2^-14, adding 1/2 rounds to a multiple of 2^-24, the last bit of a half subnormal.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
      std::bit_cast<std::uint32_t>(0.5f);
  std::uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  if (magnitude >= 0x477ff000u) half = 0x7c00u;  // 65520 and above round to infinity
  if (magnitude > 0x7f800000u) half = 0x7e00u;   // NaN
  return {static_cast<std::uint16_t>(sign | half)};
}

template <>
inline BFloat16 FromFloat<BFloat16>(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return {static_cast<std::uint16_t>(is_nan ? 0x7fc0u : rounded)};
}

template <>
inline float FromFloat<float>(float x) {
  return x;
}
template <>
inline double FromFloat<double>(float x) {
  return x;
}

// Rounds the double result of a float32 (or float64) computation once.
template <class Storage>
Storage FromDouble(double x) {
  return FromFloat<Storage>(static_cast<float>(x));
}
template <>
inline double FromDouble<double>(double x) {
  return x;
}

inline constexpr std::size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::boolean:
      return 1;
  }
  return 0;
}

// Calls visit(Storage{}) with the C++ type of a floating dtype.
template <class Visit>
decltype(auto) VisitFloating(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::f16:
      return visit(Half{});
    case DType::bf16:
      return visit(BFloat16{});
    case DType::f64:
      return visit(double{});
    default:
      return visit(float{});
  }
}

}  // namespace logsum
