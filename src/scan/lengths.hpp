// Reading the small integer arrays of a call: lengths, labels, indices.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum::scan {

// i32 or i64, in host memory, well formed.
void CheckInteger(std::string_view function, std::string_view argument, const Tensor& tensor);

// The element `at` elements from the first, of an i32 or i64 tensor.
inline std::int64_t IntegerAt(const Tensor& tensor, std::int64_t at) {
  return tensor.dtype == DType::i32
             ? std::int64_t{static_cast<const std::int32_t*>(tensor.data)[at]}
             : static_cast<const std::int64_t*>(tensor.data)[at];
}

// `count` lengths, each checked to be in [0, largest].
std::vector<std::int64_t> ReadLengths(std::string_view function, std::string_view argument,
                                      const Tensor& tensor, std::int64_t count,
                                      std::int64_t largest);

}  // namespace logsum::scan
