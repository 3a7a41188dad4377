#include "core/errors.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>

namespace logsum {

void ThrowInvalid(std::string_view function, std::string_view argument, std::string_view expected,
                  std::string_view given) {
  std::string message;
  message.append(function).append(": ").append(argument).append(": expected ");
  message.append(expected).append(", got ").append(given);
  throw std::invalid_argument(message);
}

std::string ShapeString(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  if (shape.size() == 1) text += ",";
  return text + ")";
}

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::boolean:
      return "bool";
  }
  return "an unknown dtype";
}

void CheckTensor(std::string_view function, std::string_view argument, const Tensor& tensor) {
  if (tensor.shape.size() != tensor.strides.size()) {
    ThrowInvalid(function, argument, "as many strides as axes",
                 std::to_string(tensor.shape.size()) + " axes and " +
                     std::to_string(tensor.strides.size()) + " strides");
  }
  if (tensor.shape.size() > static_cast<std::size_t>(Tensor::max_axes)) {
    ThrowInvalid(function, argument, "at most 8 axes", std::to_string(tensor.shape.size()));
  }
  bool has_elements = true;
  for (const std::int64_t size : tensor.shape) {
    if (size < 0) ThrowInvalid(function, argument, "sizes >= 0", ShapeString(tensor.shape));
    has_elements = has_elements && size > 0;
  }
  if (has_elements && tensor.data == nullptr) {
    ThrowInvalid(function, argument, "a data pointer", "null");
  }
  if (tensor.device != Device::cpu) {
    ThrowInvalid(function, argument, "a CPU tensor (CUDA is not built yet)", "a CUDA tensor");
  }
}

void CheckShape(std::string_view function, std::string_view argument, const Tensor& tensor,
                std::span<const std::int64_t> expected) {
  CheckTensor(function, argument, tensor);
  if (!std::ranges::equal(tensor.shape, expected)) {
    ThrowInvalid(function, argument, "shape " + ShapeString(expected), ShapeString(tensor.shape));
  }
}

void CheckDType(std::string_view function, std::string_view argument, const Tensor& tensor,
                DType expected) {
  if (tensor.dtype != expected) {
    ThrowInvalid(function, argument, DTypeName(expected), DTypeName(tensor.dtype));
  }
}

void CheckFloating(std::string_view function, std::string_view argument, const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::f16:
    case DType::bf16:
    case DType::f32:
    case DType::f64:
      return;
    default:
      ThrowInvalid(function, argument, "float16, bfloat16, float32 or float64",
                   DTypeName(tensor.dtype));
  }
}

void CheckOutputs(std::string_view function, std::initializer_list<NamedOutput> outputs) {
  for (const auto& [name, tensor] : outputs) {
    if (tensor == nullptr || std::ranges::count(tensor->shape, 0) != 0) continue;
    for (std::size_t axis = 0; axis < tensor->shape.size(); ++axis) {
      if (tensor->shape[axis] == 1 || tensor->strides[axis] != 0) continue;
      ThrowInvalid(
          function, name, "elements in different places",
          "stride 0 at axis " + std::to_string(axis) + " of " + ShapeString(tensor->shape));
    }
  }
}

}  // namespace logsum
