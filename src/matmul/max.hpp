// The gradient of a product in the Max semiring.
#pragma once
#include "logsum/matmul.hpp"
#include "logsum/tensor.hpp"
#include "matmul/arguments.hpp"

namespace logsum::matmul {

// Sends every gradient to the lowest k that attains the maximum. Arguments are checked.
void RunMaxBackward(const ProductShape& shape, const Tensor& grad, const Tensor& A, const Tensor& B,
                    Tensor* grad_A, Tensor* grad_B, int threads);

}  // namespace logsum::matmul
