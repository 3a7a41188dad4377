// Views of arrays with other strides, for tests.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/dtype.hpp"
#include "logsum/tensor.hpp"

namespace logsum::testing {

// A view of an array with axes swapped, reversed or thinned, by its own shape and strides.
class View {
 public:
  View(const Tensor& tensor)  // NOLINT(google-explicit-constructor)
      : tensor_(tensor),
        shape_(tensor.shape.begin(), tensor.shape.end()),
        strides_(tensor.strides.begin(), tensor.strides.end()) {}
  View& Swap(std::size_t a, std::size_t b) {
    std::swap(shape_[a], shape_[b]);
    std::swap(strides_[a], strides_[b]);
    return *this;
  }
  View& Reverse(std::size_t axis) {
    const auto element = static_cast<std::int64_t>(SizeOf(tensor_.dtype));
    tensor_.data = static_cast<char*>(tensor_.data) + (shape_[axis] - 1) * strides_[axis] * element;
    strides_[axis] = -strides_[axis];
    return *this;
  }
  View& EverySecond(std::size_t axis) {
    shape_[axis] = (shape_[axis] + 1) / 2;
    strides_[axis] *= 2;
    return *this;
  }
  View& Repeat(std::size_t axis, std::int64_t size) {
    shape_[axis] = size;
    strides_[axis] = 0;
    return *this;
  }
  operator Tensor() const {  // NOLINT(google-explicit-constructor)
    Tensor tensor = tensor_;
    tensor.shape = shape_;
    tensor.strides = strides_;
    return tensor;
  }

  // The element at row-major `index`.
  template <class T>
  T& At(std::int64_t index) const {
    std::int64_t offset = 0;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      offset += index % shape_[i] * strides_[i];
      index /= shape_[i];
    }
    return static_cast<T*>(tensor_.data)[offset];
  }

 private:
  Tensor tensor_;
  std::vector<std::int64_t> shape_, strides_;
};

}  // namespace logsum::testing
