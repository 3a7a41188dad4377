// Arguments as arrays of any stride and dtype.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"
#include "formula/expression.hpp"
#include "logsum/tensor.hpp"

namespace logsum::reduce {

// One batch entry of an argument: element (index, component) lies at
// data[index * index_stride + component * component_stride].
struct ArgumentView {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t index_stride = 0, component_stride = 0;

  std::int64_t Integer(std::int64_t index, std::int64_t component) const {
    return reinterpret_cast<const std::int64_t*>(
        data)[index * index_stride + component * component_stride];
  }
};

}  // namespace logsum::reduce
