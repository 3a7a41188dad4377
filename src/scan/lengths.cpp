#include "scan/lengths.hpp"

#include <array>
#include <string>

#include "core/errors.hpp"

namespace logsum::scan {

void CheckInteger(std::string_view function, std::string_view argument, const Tensor& tensor) {
  if (tensor.dtype != DType::i32 && tensor.dtype != DType::i64) {
    ThrowInvalid(function, argument, "int32 or int64", DTypeName(tensor.dtype));
  }
  CheckTensor(function, argument, tensor);
}

std::vector<std::int64_t> ReadLengths(std::string_view function, std::string_view argument,
                                      const Tensor& tensor, std::int64_t count,
                                      std::int64_t largest) {
  CheckInteger(function, argument, tensor);
  CheckShape(function, argument, tensor, std::array{count});
  std::vector<std::int64_t> lengths;
  lengths.reserve(static_cast<std::size_t>(count));
  for (std::int64_t n = 0; n < count; ++n) {
    const std::int64_t length = IntegerAt(tensor, n * tensor.strides[0]);
    if (length < 0 || length > largest) {
      ThrowInvalid(function, argument, "lengths in [0, " + std::to_string(largest) + "]",
                   std::to_string(length) + " at " + std::to_string(n));
    }
    lengths.push_back(length);
  }
  return lengths;
}

}  // namespace logsum::scan
