// Single elements of arrays whose type is known only when a call is made.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "attention/problem.hpp"
#include "core/dtype.hpp"

namespace logsum::attend {

// Where an element is, from the first.
template <int kAxes>
std::int64_t OffsetOf(const View<kAxes>& array, const std::array<std::int64_t, kAxes>& index) {
  std::int64_t at = 0;
  for (std::size_t axis = 0; axis < index.size(); ++axis) at += index[axis] * array.strides[axis];
  return at;
}

// An element of a floating array.
template <int kAxes>
double ElementOf(const View<kAxes>& array, const std::array<std::int64_t, kAxes>& index) {
  return VisitFloating(array.dtype, [&](auto storage) -> double {
    using Storage = decltype(storage);
    return ToFloat(static_cast<const Storage*>(array.data)[OffsetOf<kAxes>(array, index)]);
  });
}
template <int kAxes>
void SetElement(const View<kAxes>& array, const std::array<std::int64_t, kAxes>& index,
                double value) {
  VisitFloating(array.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    static_cast<Storage*>(array.data)[OffsetOf<kAxes>(array, index)] = FromDouble<Storage>(value);
  });
}

}  // namespace logsum::attend
