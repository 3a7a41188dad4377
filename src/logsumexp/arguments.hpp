// The checks that the array reductions share: axes, and operands of the full and the kept shape.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "logsum/tensor.hpp"

namespace logsum::reduction {

// The input's shape with the axes that are reduced.
class ReducedShape {
 public:
  // Checks `a` and `axes`.
  ReducedShape(std::string_view function, const Tensor& a, std::span<const int> axes);

  std::span<const bool> IsReduced() const { return {is_reduced_.data(), a_.shape.size()}; }

  // An operand of a's shape, or of the kept shape: without the reduced axes, or with size 1 there.
  void CheckFull(std::string_view argument, const Tensor& tensor) const;
  void CheckKept(std::string_view argument, const Tensor& tensor) const;
  // An lse or a gradient of one: a's dtype, or float32 for the half types.
  void CheckLse(std::string_view argument, const Tensor& tensor) const;

 private:
  const std::string_view function_;
  const Tensor& a_;
  std::array<bool, Tensor::max_axes> is_reduced_{};
  std::array<std::int64_t, Tensor::max_axes> dropped_{}, kept_one_{};
  std::size_t dropped_rank_ = 0;
};

}  // namespace logsum::reduction
