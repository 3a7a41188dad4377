// What all functions of matmul.hpp check, and the shapes that they agree on.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "logsum/tensor.hpp"

namespace logsum::matmul {

// The shapes of a product A B = C. Throws std::invalid_argument where they do not fit.
class ProductShape {
 public:
  ProductShape(std::string_view function, const Tensor& A, const Tensor& B);

  void CheckC(std::string_view argument, const Tensor& tensor) const;
  void CheckLikeA(std::string_view argument, const Tensor& tensor) const;
  void CheckLikeB(std::string_view argument, const Tensor& tensor) const;
  // A's dtype, or f32.
  void CheckWide(std::string_view argument, const Tensor& tensor) const;
  void CheckSame(std::string_view argument, const Tensor& tensor) const;
  // A residual: C's shape, f64 for f64 operands and f32 for others.
  void CheckResidual(const Tensor& tensor) const;

  std::span<const std::int64_t> Batch() const { return {c_.data(), rank_ - 2}; }

 private:
  std::string_view function_;
  const Tensor& A_;
  const Tensor& B_;
  std::array<std::int64_t, Tensor::max_axes> c_{};
  std::size_t rank_ = 2;
};

}  // namespace logsum::matmul
