#include "tensor.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace logsum::python {
namespace nb = nanobind;

namespace {

// A number of `_core.DType` is the DType's own.
constexpr int kDTypes = static_cast<int>(DType::boolean) + 1;

void CheckAxes(std::int64_t axes) {
  if (axes > Tensor::max_axes) {
    throw std::invalid_argument("expected an array of at most " + std::to_string(Tensor::max_axes) +
                                " axes, got " + std::to_string(axes));
  }
}

std::int64_t Integer(PyObject* object) {
  const long long value = PyLong_AsLongLong(object);
  if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return value;
}

// The element type of a buffer in native byte order, from its format in the notation of Python's
// `struct`; "l" is long, which is what NumPy's int64 is on most systems.
DType BufferDType(const Py_buffer& buffer) {
  const std::string_view format = buffer.format == nullptr ? "B" : buffer.format;
  const auto is = [&](std::string_view name, Py_ssize_t size) {
    return format == name && buffer.itemsize == size;
  };
  if (is("f", 4)) return DType::f32;
  if (is("d", 8)) return DType::f64;
  if (is("e", 2)) return DType::f16;
  if (is("?", 1)) return DType::boolean;
  if (is("i", 4) || is("l", 4)) return DType::i32;
  if (is("l", 8) || is("q", 8)) return DType::i64;
  throw nb::type_error(("expected an array of float16, float32, float64, int32, int64 or bool in "
                        "native byte order, got the buffer format '" +
                        std::string(format) + "'")
                           .c_str());
}

}  // namespace

Array::Array(nb::handle object, Access access) {
  if (PyTuple_Check(object.ptr())) {
    ReadTuple(object);
  } else {
    ReadBuffer(object, access);
  }
}

Array::~Array() {
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
}

void Array::ReadTuple(nb::handle object) {
  PyObject* tuple = object.ptr();
  if (PyTuple_GET_SIZE(tuple) != 4 || !PyTuple_Check(PyTuple_GET_ITEM(tuple, 2)) ||
      !PyTuple_Check(PyTuple_GET_ITEM(tuple, 3))) {
    throw nb::type_error("expected (address, dtype, shape, strides), got another tuple");
  }
  PyObject* shape = PyTuple_GET_ITEM(tuple, 2);
  PyObject* strides = PyTuple_GET_ITEM(tuple, 3);
  const Py_ssize_t axes = PyTuple_GET_SIZE(shape);
  const std::int64_t dtype = Integer(PyTuple_GET_ITEM(tuple, 1));
  CheckAxes(axes);
  if (PyTuple_GET_SIZE(strides) != axes || dtype < 0 || dtype >= kDTypes) {
    throw std::invalid_argument("expected a stride for each axis and a number of DType");
  }
  for (Py_ssize_t i = 0; i < axes; ++i) {
    shape_[i] = Integer(PyTuple_GET_ITEM(shape, i));
    strides_[i] = Integer(PyTuple_GET_ITEM(strides, i));
  }
  void* address = PyLong_AsVoidPtr(PyTuple_GET_ITEM(tuple, 0));
  if (address == nullptr && PyErr_Occurred() != nullptr) throw nb::python_error();
  const auto count = static_cast<std::size_t>(axes);
  tensor_ = {.data = address,
             .dtype = static_cast<DType>(dtype),
             .shape = {shape_.data(), count},
             .strides = {strides_.data(), count}};
}

void Array::ReadBuffer(nb::handle object, Access access) {
  const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (access == Access::write ? PyBUF_WRITABLE : 0);
  if (PyObject_CheckBuffer(object.ptr()) == 0) {
    throw nb::type_error("expected an array with the buffer protocol, or a tuple");
  }
  if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) throw nb::python_error();
  try {
    const DType dtype = BufferDType(buffer_);
    CheckAxes(buffer_.ndim);
    for (int i = 0; i < buffer_.ndim; ++i) {
      shape_[i] = buffer_.shape[i];
      strides_[i] = buffer_.strides[i] / buffer_.itemsize;
      if (buffer_.strides[i] % buffer_.itemsize != 0 && buffer_.shape[i] > 1) {
        throw std::invalid_argument("expected strides of whole elements");
      }
    }
    if (reinterpret_cast<std::uintptr_t>(buffer_.buf) % buffer_.itemsize != 0) {
      throw std::invalid_argument("expected memory aligned to its elements");
    }
    const auto count = static_cast<std::size_t>(buffer_.ndim);
    tensor_ = {.data = buffer_.buf,
               .dtype = dtype,
               .shape = {shape_.data(), count},
               .strides = {strides_.data(), count}};
  } catch (...) {
    PyBuffer_Release(&buffer_);
    throw;
  }
}

std::vector<int> Axes(nb::handle axes) {
  if (!PyTuple_Check(axes.ptr()) && !PyList_Check(axes.ptr())) {
    throw nb::type_error("expected the axes as a tuple or list of int");
  }
  const auto items = nb::borrow<nb::sequence>(axes);
  std::vector<int> result;
  for (const nb::handle item : items) {
    const std::int64_t axis = Integer(item.ptr());
    if (axis != static_cast<int>(axis)) {
      throw std::invalid_argument("expected small axes, got " + std::to_string(axis));
    }
    result.push_back(static_cast<int>(axis));
  }
  return result;
}

}  // namespace logsum::python
