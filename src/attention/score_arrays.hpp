// Arrays of a score formula: what is checked, and elements as numbers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "attention/problem.hpp"
#include "attention/score_parse.hpp"
#include "core/dtype.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// Calls visit(Storage{}) with the C++ type of any dtype.
template <class Visit>
decltype(auto) VisitElements(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::i32:
      return visit(std::int32_t{});
    case DType::i64:
      return visit(std::int64_t{});
    case DType::boolean:
      return visit(bool{});
    default:
      return VisitFloating(dtype, visit);
  }
}

template <class Real, class Storage>
Real AsReal(Storage x) {
  if constexpr (std::is_integral_v<Storage>) {
    return static_cast<Real>(x);
  } else {
    return static_cast<Real>(ToFloat(x));
  }
}

inline bool IsFloating(DType dtype) {
  return dtype != DType::i32 && dtype != DType::i64 && dtype != DType::boolean;
}

// `data`, which has no type, moved by elements.
inline const void* Advanced(const void* data, DType dtype, std::int64_t elements) {
  return static_cast<const std::byte*>(data) + elements * static_cast<std::int64_t>(SizeOf(dtype));
}

// Dtype, and integers that the arithmetic holds: throws std::invalid_argument.
void CheckScoreArray(const ArrayShape& shape, const Tensor& array, const Problem& problem);

View<4> ViewOf(const ArrayUse& use, const Tensor& array);

}  // namespace logsum::attend
