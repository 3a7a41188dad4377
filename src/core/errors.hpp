// Errors in the one form they all have: function, argument, what was expected, what came.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "logsum/tensor.hpp"

namespace logsum {

// Throws std::invalid_argument("FUNCTION: ARGUMENT: expected EXPECTED, got GIVEN").
[[noreturn]] void ThrowInvalid(std::string_view function, std::string_view argument,
                               std::string_view expected, std::string_view given);

std::string ShapeString(std::span<const std::int64_t> shape);  // "(2, 3)"
std::string_view DTypeName(DType dtype);                       // "float32"

// Checks that hold for every operand of every CPU operation: the view is well formed (matching
// ranks, no negative size, data where there are elements) and lies in host memory.
void CheckTensor(std::string_view function, std::string_view argument, const Tensor& tensor);
void CheckShape(std::string_view function, std::string_view argument, const Tensor& tensor,
                std::span<const std::int64_t> expected);
void CheckDType(std::string_view function, std::string_view argument, const Tensor& tensor,
                DType expected);
void CheckFloating(std::string_view function, std::string_view argument, const Tensor& tensor);

// Of checked operands those that are written to, null for none: that none has all its elements
// along an axis in one place.
struct NamedOutput {
  std::string_view name;
  const Tensor* tensor;
};
void CheckOutputs(std::string_view function, std::initializer_list<NamedOutput> outputs);

}  // namespace logsum
