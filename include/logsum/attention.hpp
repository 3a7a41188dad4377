// Exact attention that returns the log-sum-exp of its scores, in memory linear in the context.
//
//   s[i, j] = score(cap(scale q[i] . k[j])) + bias[i, j]    for the pairs (i, j) that take part
//   lse[i]  = log sum_j exp(s[i, j])                         (a sink adds exp(sink) to the sum)
//   out[i]  = sum_j exp(s[i, j] - lse[i]) v[j]
//
// Shapes: q (B, Hq, M, D), k (B, Hkv, N, D), v (B, Hkv, N, Dv), out (B, Hq, M, Dv), lse (B, Hq, M);
// Hq is a multiple of Hkv, and query head h reads key head h / (Hq / Hkv). Any strides, so that a
// (B, M, H, D) array is a view with two axes exchanged; outputs may not overlap inputs or one
// another.
//
// Types: q, k, v and out are all f16, bf16, f32 or f64 of one dtype. Half types are widened when
// read, and arithmetic is f32 for them. lse is f32, or f64 for f64. Biases, sinks and floating
// score arguments have q's dtype or f32 (f64 beside f64).
//
// Which pairs take part: those that `causal`, `window`, `mask` and the lengths all admit. What is
// excluded is never seen: NaN or infinity in its key or value does not reach a result. A bias or a
// score of -inf excludes its pair too. A row without any pair has lse -inf and out 0 (a sink makes
// its lse the sink); so have the rows from lengths_q on. +inf dominates and is shared equally; NaN
// in a pair that takes part makes its row NaN.
//
// Error (docs/numerics.md): the exact attention of slightly perturbed scores, by a small multiple
// of 2^-24 (2^-53) of sum_d |q_d k_d| scale + |bias|; sums do not lose digits with N.
//
// Errors: std::invalid_argument, before anything is written. Time B Hq M N (D + Dv) multiply-adds,
// less what causal, window, masks and lengths empty; memory beside the results a few MB a thread.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "logsum/tensor.hpp"

namespace logsum {

struct AttentionOptions {
  // The diagonal that query i may look up to: key i + shift, with shift 0 for top_left and N - M
  // for bottom_right (lengths_k[b] - lengths_q[b] where there are lengths).
  enum class Causal { none, top_left, bottom_right } causal = Causal::none;
  // Keys i + shift - window_left to i + shift + window_right take part; -1: no bound. shift is 0
  // unless causal is bottom_right.
  std::int64_t window_left = -1, window_right = -1;
  double scale = 0;    // 0: 1/sqrt(D)
  double softcap = 0;  // cap(s) = softcap tanh(s / softcap); 0: none
  // A formula of reduce.hpp's language in s (the scaled and capped score), the indices i, j, b, h,
  // the lengths q_len, k_len, and the arrays in score_names, indexed by the letters of their axes:
  // "s - slope(h) * Abs(i - j)", "Where(doc(b, i) == doc(b, j), s, -inf)". Empty: s.
  std::string_view score = {};
};

struct AttentionArrays {
  // Both broadcast to (B, Hq, M, N): aligned at the right, axes of size 1 repeated. A pair takes
  // part where the mask (boolean) is true.
  const Tensor* mask = nullptr;
  const Tensor* bias = nullptr;
  const Tensor* sinks = nullptr;                            // (Hq,)
  const Tensor *lengths_q = nullptr, *lengths_k = nullptr;  // (B,), i32 or i64, 0 to M, 0 to N
  std::span<const Tensor> score_args = {};                  // floating, or i32, i64, boolean
  std::span<const std::string_view> score_names = {};
};

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArrays&,
               Tensor& out, Tensor& lse, AttentionOptions = {}, Context = {});

// Each may be null; a gradient has its array's shape, summed over the axes that the array repeats,
// and its array's dtype or f32 (f64 beside f64). score_args: empty, or one for each score argument,
// with `data` null where none is wanted (always for integers).
struct AttentionGradients {
  Tensor *q = nullptr, *k = nullptr, *v = nullptr, *bias = nullptr, *sinks = nullptr;
  std::span<Tensor> score_args = {};
};

// Gradients of sum(grad_out out) + sum(grad_lse lse); a null grad_lse is zero. p = exp(s - lse) is
// rebuilt from `out`'s lse, nothing of size M N is stored (but a bias's gradient, if that is its
// shape). Deterministic. Five products in one pass. Gradients in half types are summed in f32,
// which takes memory for as many floats as they have elements.
void attention_backward(const Tensor& grad_out, const Tensor* grad_lse, const Tensor& q,
                        const Tensor& k, const Tensor& v, const AttentionArrays&, const Tensor& out,
                        const Tensor& lse, AttentionGradients&, AttentionOptions = {},
                        Context = {});

// A direction: what each array moves by, in its shape and its dtype or f32 (f64 beside f64). Null,
// an empty list, or an argument with null `data`: that array stays.
struct AttentionTangents {
  const Tensor *q = nullptr, *k = nullptr, *v = nullptr, *bias = nullptr, *sinks = nullptr;
  std::span<const Tensor> score_args = {};
};

// Forward mode: the derivatives of out and lse along a direction, in their shapes and dtypes; each
// may be null. p is rebuilt from `out` and `lse`, the results of attention at the same arguments;
// nothing of size M N is stored. Deterministic. Time up to B Hq M N (3 D + 2 Dv) multiply-adds.
//
// They are also the gradients, for grad_out and grad_lse, of a function that takes
// attention_backward's gradients to the sum of their products with the direction.
void attention_tangent(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArrays&,
                       const Tensor& out, const Tensor& lse, const AttentionTangents&,
                       Tensor* out_tangent, Tensor* lse_tangent, AttentionOptions = {},
                       Context = {});

// The derivatives of attention_backward's gradients along a direction, with grad_out and grad_lse
// held; out_tangent and lse_tangent are attention_tangent's of the same direction. As the Hessian
// is symmetric, they are also the gradients, for q, k, v, the bias, the sinks and the arrays of the
// score, of the sum of products of attention_backward's gradients with the direction: double
// backward. Each may be null; shapes, dtypes, order of sums and memory are attention_backward's, in
// twice its products.
void attention_backward_tangent(const Tensor& grad_out, const Tensor* grad_lse, const Tensor& q,
                                const Tensor& k, const Tensor& v, const AttentionArrays&,
                                const Tensor& out, const Tensor& lse, const AttentionTangents&,
                                const Tensor& out_tangent, const Tensor& lse_tangent,
                                AttentionGradients& gradient_tangents, AttentionOptions = {},
                                Context = {});

}  // namespace logsum
