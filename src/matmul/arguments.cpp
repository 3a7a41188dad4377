#include "matmul/arguments.hpp"

#include <algorithm>
#include <string>

#include "core/errors.hpp"

namespace logsum::matmul {
namespace {

void CheckMatrices(std::string_view function, std::string_view argument, const Tensor& tensor) {
  CheckTensor(function, argument, tensor);
  CheckFloating(function, argument, tensor);
  if (tensor.shape.size() < 2) {
    ThrowInvalid(function, argument, "at least 2 axes", ShapeString(tensor.shape));
  }
}

std::int64_t FromRight(const Tensor& tensor, std::size_t axis) {
  const std::size_t rank = tensor.shape.size();
  return axis < rank ? tensor.shape[rank - 1 - axis] : 1;
}

}  // namespace

ProductShape::ProductShape(std::string_view function, const Tensor& A, const Tensor& B)
    : function_(function), A_(A), B_(B), rank_(std::max(A.shape.size(), B.shape.size())) {
  CheckMatrices(function, "A", A);
  CheckMatrices(function, "B", B);
  CheckDType(function, "B", B, A.dtype);
  if (FromRight(A, 0) != FromRight(B, 1)) {
    ThrowInvalid(function, "B", "as many rows as A has columns, " + std::to_string(FromRight(A, 0)),
                 "shape " + ShapeString(B.shape));
  }
  c_[rank_ - 2] = FromRight(A, 1);
  c_[rank_ - 1] = FromRight(B, 0);
  for (std::size_t axis = 2; axis < rank_; ++axis) {
    const std::int64_t a = FromRight(A, axis), b = FromRight(B, axis);
    if (a != b && a != 1 && b != 1) {
      ThrowInvalid(function, "B", "batch axes that broadcast with A's " + ShapeString(A.shape),
                   "shape " + ShapeString(B.shape));
    }
    c_[rank_ - 1 - axis] = a == 1 ? b : a;
  }
}

void ProductShape::CheckC(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  CheckShape(function_, argument, tensor, {c_.data(), rank_});
}

void ProductShape::CheckLikeA(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  CheckShape(function_, argument, tensor, A_.shape);
}

void ProductShape::CheckLikeB(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  CheckShape(function_, argument, tensor, B_.shape);
}

void ProductShape::CheckWide(std::string_view argument, const Tensor& tensor) const {
  if (tensor.dtype != DType::f32) CheckDType(function_, argument, tensor, A_.dtype);
}

void ProductShape::CheckSame(std::string_view argument, const Tensor& tensor) const {
  CheckDType(function_, argument, tensor, A_.dtype);
}

void ProductShape::CheckResidual(const Tensor& tensor) const {
  CheckC("residual", tensor);
  CheckDType(function_, "residual", tensor, A_.dtype == DType::f64 ? DType::f64 : DType::f32);
}

}  // namespace logsum::matmul
