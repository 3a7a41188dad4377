// The log-space matrix product, and the weighted means that its derivatives are made of.
//
// Shapes: A (..., M, K), B (..., K, N), C (..., M, N), each of at least two axes. Batch axes
// broadcast: they are aligned at the right, an axis that an operand lacks or has with size 1 is
// repeated, and C has the full batch shape. A gradient has its operand's shape, and sums over the
// batch axes that the operand repeats. Any strides; outputs may not overlap inputs or themselves.
//
// Types: A, B and C are all f16, bf16, f32 or f64 of one dtype. Half types are widened when read,
// and what is a residual, a bound or a weight may be f32 beside them.
//
// Special values (docs/numerics.md): -inf is a true zero and absorbs every finite number and +inf;
// +inf dominates, several share the probability equally; NaN in A[i, k] makes row i NaN, NaN in
// B[k, j] column j. K = 0 gives -inf.
//
// Errors: std::invalid_argument, before anything is written. Time M N K multiply-adds; memory for
// a packed copy of the smaller operand, and per thread for a block of the other.
#pragma once

#include "logsum/semiring.hpp"
#include "logsum/tensor.hpp"

namespace logsum {

struct MatmulOptions {
  Semiring semiring = Semiring::log;
};

// C[..., i, j] = log sum_k exp(A[..., i, k] + B[..., k, j]), or with Semiring::max the maximum of
// A[..., i, k] + B[..., k, j] over k.
//
// `bound` (C's shape, its dtype or f32) receives an upper bound of |C - exact|. `argmax` (i64, C's
// shape; Semiring::max only) the lowest k that attains the maximum, -1 when K = 0.
void logmatmulexp(const Tensor& A, const Tensor& B, Tensor& C, Tensor* bound, Tensor* argmax,
                  MatmulOptions = {}, Context = {});

// The same with the residual: what rounding took from C, so that C + residual is the logarithm to
// twice the digits and exp(A + B - C - residual) sums to one however large C is. Where C is +inf it
// is the logarithm of the number of infinite terms, where C is -inf or NaN it is zero. Shape of C,
// f64 for f64 operands and f32 for all others; the log semiring only.
void logmatmulexp(const Tensor& A, const Tensor& B, Tensor& C, Tensor* bound, Tensor* argmax,
                  Tensor* residual, MatmulOptions = {}, Context = {});

// grad_A[i, k] = sum_j grad[i, j] p[i, j, k] and grad_B[k, j] = sum_i grad[i, j] p[i, j, k], with
// p = exp(A[i, k] + B[k, j] - C[i, j] - residual[i, j]) for Semiring::log, and 1 at the lowest k
// that attains C, else 0, for Semiring::max. Either gradient may be null. Without a residual p is
// off by up to |C| times C's unit roundoff.
void logmatmulexp_backward(const Tensor& grad, const Tensor& A, const Tensor& B, const Tensor& C,
                           Tensor* grad_A, Tensor* grad_B, MatmulOptions = {}, Context = {});
void logmatmulexp_backward(const Tensor& grad, const Tensor& A, const Tensor& B, const Tensor& C,
                           const Tensor* residual, Tensor* grad_A, Tensor* grad_B,
                           MatmulOptions = {}, Context = {});

// The index that a mean sums over.
enum class MatmulIndex { row, inner, column };  // i, k, j

// Real weights on the terms of a product, each null for ones: weight_A (A's shape), weight_B (B's),
// weight_C (C's). Their dtype is A's or f32.
struct MatmulWeights {
  const Tensor* A = nullptr;
  const Tensor* B = nullptr;
  const Tensor* C = nullptr;
};

// The sum of p[i, j, k] = exp(A[i, k] + B[k, j] - C[i, j] - residual[i, j]) times the weights over
// one index, from which derivatives of every order are made:
//
//   inner   out[i, j] = sum_k weight_A[i, k] weight_B[k, j] p[i, j, k]   (out has C's shape)
//   column  out[i, k] = sum_j weight_C[i, j] weight_B[k, j] p[i, j, k]   (A's shape)
//   row     out[k, j] = sum_i weight_C[i, j] weight_A[i, k] p[i, j, k]   (B's shape)
//
// The weight of the operand that `out` is shaped like must be null. out's dtype is A's or f32.
// Where p is zero a weight takes no part, infinite ones included. Error relative to the sum of the
// weights' magnitudes along the sum: a few hundred units roundoff.
void logmatmulexp_mean(const Tensor& A, const Tensor& B, const Tensor& C, const Tensor* residual,
                       MatmulIndex over, MatmulWeights weights, Tensor& out, Context = {});

}  // namespace logsum
