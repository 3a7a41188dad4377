// Python arrays as logsum::Tensor, without copying.
#pragma once
#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum::python {

// One array for the length of one call. The object is anything with the buffer protocol (NumPy's
// arrays, whatever their strides, float16 and read-only ones too), or a tuple (address, dtype,
// shape, strides) with dtype a number of Python's `_core.DType` and strides in elements: a tensor
// of a library that is not linked here, whose owner keeps it alive. Raises TypeError for an object
// or element type that is neither, ValueError for a shape or alignment that logsum::Tensor lacks.
class Array {
 public:
  enum class Access { read, write };

  Array(nanobind::handle object, Access access);
  ~Array();
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  Tensor& tensor() { return tensor_; }

 private:
  void ReadTuple(nanobind::handle object);
  void ReadBuffer(nanobind::handle object, Access access);

  std::array<std::int64_t, Tensor::max_axes> shape_{};
  std::array<std::int64_t, Tensor::max_axes> strides_{};
  Tensor tensor_;
  Py_buffer buffer_{};  // obj stays null when there is no buffer to give back
};

// An array that may be None.
class OptionalArray {
 public:
  OptionalArray(nanobind::handle object, Array::Access access) {
    if (!object.is_none()) array_.emplace(object, access);
  }
  Tensor* get() { return array_ ? &array_->tensor() : nullptr; }

 private:
  std::optional<Array> array_;
};

// The arrays of a sequence.
class ArrayList {
 public:
  ArrayList(nanobind::handle objects, Array::Access access) {
    for (const nanobind::handle object : nanobind::borrow<nanobind::sequence>(objects)) {
      tensors_.push_back(arrays_.emplace_back(object, access).tensor());
    }
  }
  std::span<Tensor> tensors() { return tensors_; }

 private:
  std::deque<Array> arrays_;  // they do not move
  std::vector<Tensor> tensors_;
};

// Axes from a tuple of int.
std::vector<int> Axes(nanobind::handle axes);

// Runs `call` without the interpreter lock: other Python threads go on meanwhile.
template <class Call>
void WithoutLock(const Call& call) {
  const nanobind::gil_scoped_release unlocked;
  call();
}

}  // namespace logsum::python
