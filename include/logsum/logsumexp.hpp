// Array reductions: logsumexp and its relatives, with their gradients.
//
// Shapes: a reduction over `axes` of a removes those axes (or keeps them with size 1: either
// output shape is accepted). Axes count from the front, negative ones from the back; each at most
// once; empty `axes` reduces nothing. Every operand may have any strides, outputs may not
// overlap inputs or themselves.
//
// Types: a is f16, bf16, f32 or f64 and every other floating operand has a's dtype, with one
// exception: for f16 and bf16 an lse (and a gradient of one) may be f32, which is what keeps
// probabilities rebuilt from it accurate.
//
// Special values (docs/numerics.md): -inf is a true zero, a reduction of nothing or of zeros is
// -inf; +inf dominates, and several share the probability equally; NaN that takes part gives NaN.
//
// Errors: std::invalid_argument, before anything is written. Time is linear in the elements, read
// once (softmax: twice). Scratch is under 100 KB a thread, kept for later calls, and at most 4 MB
// for the partial results of long reductions.
#pragma once
#include <span>

#include "logsum/tensor.hpp"

namespace logsum {

// out = log sum_k b_k exp(a_k) over `axes`. `weights` (b, any sign) and `where` (boolean; false
// leaves the term out) have a's shape or may be null; broadcast them by zero strides. A term with
// b = 0 takes no part, whatever a holds. `sign` (out's dtype and shape) receives the sign of the
// sum and out its logarithm in magnitude; with sign null a negative sum gives NaN.
//
// Error for n terms of one sign: half an ulp of the result plus 1e-6 (float32) or
// (5 + log n) 2^-51 (float64); a result near zero that one term dominates is right to a few ulp of
// itself.
void logsumexp(const Tensor& a, std::span<const int> axes, const Tensor* weights,
               const Tensor* where, Tensor& out, Tensor* sign, Context = {});

// grad_a = grad * exp(a - out), where out is what logsumexp gave. Zero where a is -inf.
void logsumexp_backward(const Tensor& grad, const Tensor& a, const Tensor& out,
                        std::span<const int> axes, Tensor& grad_a, Context = {});

// The same with weights and a mask: grad_a = grad * sign * b * exp(a - out) and
// grad_weights = grad * sign * exp(a - out), both a's shape, either may be null. A term left out
// by `where` has gradient zero. `sign` is logsumexp's (null: +1).
void logsumexp_backward(const Tensor& grad, const Tensor& a, const Tensor* weights,
                        const Tensor* where, const Tensor& out, const Tensor* sign,
                        std::span<const int> axes, Tensor* grad_a, Tensor* grad_weights,
                        Context = {});

// out = exp(a - lse), lse = logsumexp over `axis`. A slice of only -inf gives zeros.
void softmax(const Tensor& a, int axis, Tensor& out, Tensor& lse, Context = {});

// out = a - lse, with full relative accuracy where out is near zero.
void log_softmax(const Tensor& a, int axis, Tensor& out, Tensor& lse, Context = {});

// Gradients of both outputs together, probabilities rebuilt from a and lse. Either incoming
// gradient may be null (zero).
void softmax_backward(const Tensor* grad_out, const Tensor* grad_lse, const Tensor& a,
                      const Tensor& lse, int axis, Tensor& grad_a, Context = {});
void log_softmax_backward(const Tensor* grad_out, const Tensor* grad_lse, const Tensor& a,
                          const Tensor& lse, int axis, Tensor& grad_a, Context = {});

// out = log(exp a + exp b), elementwise; the shapes agree (broadcast by zero strides).
void logaddexp(const Tensor& a, const Tensor& b, Tensor& out, Context = {});

// Merges partial results over disjoint parts of one reduction: merged_lse = log sum_p exp(lse_p),
// and, where the parts carry softmax-weighted means out_p of shape lse.shape + (D,), their mean
// merged_out = sum_p exp(lse_p - merged_lse) out_p. An empty part has lse = -inf and its out is
// not read. `out` is empty (and merged_out null) or has one entry for each lse.
void merge(std::span<const Tensor> lse, std::span<const Tensor> out, Tensor& merged_lse,
           Tensor* merged_out, Context = {});

}  // namespace logsum
