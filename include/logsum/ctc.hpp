// Connectionist temporal classification (Graves et al. 2006): the loss, alignments, decoding.
//
// The loss of a sequence is -log of the sum of e^score over all alignments: paths of labels over
// its frames that give the target when repeats are merged and blanks dropped, whose score is the
// sum of log_probs[t, n, label] along them; with Semiring::max minus the largest score.
//
// Shapes: log_probs (T, N, C); targets (N, S) padded, or (sum of target_lengths,) concatenated, i32
// or i64; input_lengths and target_lengths (N,) i32 or i64. Labels lie in [0, C), and are not the
// blank; those of a padded row past its length are never read, nor are frames past input_lengths.
// Any strides; outputs may not overlap inputs.
//
// Types: log_probs f16, bf16, f32 or f64; losses and scores are f64 for f64 inputs and f32 for all
// others, gradients have log_probs' dtype. All arithmetic is double.
//
// Special values: -inf, and everything from -1e30 down, is a true zero with zero gradient (from
// logits what lies that far below its frame's largest). +inf or NaN in a frame that is read makes
// that sequence's loss and gradient NaN, and no other's. Without an alignment (a target longer than
// its input, say) the loss is +inf and the gradient zero.
//
// Errors: std::invalid_argument, before anything is written, for lengths and labels too.
#pragma once
#include <cstdint>

#include "logsum/scan.hpp"
#include "logsum/semiring.hpp"
#include "logsum/tensor.hpp"

namespace logsum {

// What becomes of the losses of a batch: nothing; their sum; each divided by the length of its
// target, at least 1, and then averaged.
enum class CtcReduction { none, sum, mean };

struct CtcOptions {
  std::int64_t blank = 0;
  // log_probs are logits: log_softmax over C is part of the loss and of its gradient. The loss is
  // then never negative.
  bool from_logits = false;
  Semiring semiring = Semiring::log;
  bool zero_infinity = false;       // losses of +inf are returned as 0
  const Tensor* weights = nullptr;  // (N,) f32 or f64: what each sequence's gradient is times
  CtcReduction reduction = CtcReduction::none;  // of ctc_loss alone; the gradient is of the result
};

// losses (N,), or of no axes where they are reduced (in double, one by one); and the gradient of
// their (weighted) sum, log_probs' shape, or null.
//
// The gradient is that of the stated input: minus the posterior of each label in each frame, plus
// the softmax with from_logits. Time T N (C + L). Memory per thread with a gradient
// T ((2 L + 1) 16 + 128 + 8 C) bytes, L the longest target, without one T (128 + 8 C), and a few
// rows of each; up to 176 T more while a sequence is repaired, by rounding L and C to vectors.
ScanReport ctc_loss(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                    const Tensor& target_lengths, Tensor& losses, Tensor* grad, CtcOptions = {},
                    Context = {});

// The derivative of the losses and of their gradients along a direction (log_probs' shape), from
// which double backward and forward mode are made: losses_tangent (N,), grad_tangent log_probs'
// shape, either null. weights, blank, from_logits and semiring as in ctc_loss.
void ctc_loss_tangent(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
                      const Tensor& target_lengths, const Tensor& direction, Tensor* losses_tangent,
                      Tensor* grad_tangent, CtcOptions = {}, Context = {});

// The best alignment: labels (N, T) i64 with blanks, -1 past input_lengths and everywhere without
// an alignment; scores (N,), -inf without one. Among equal ones it is the one viterbi finds in the
// graph of states blank, label, blank, ..., whose arcs are stay, step and skip, in this order.
void ctc_align(const Tensor& log_probs, const Tensor& targets, const Tensor& input_lengths,
               const Tensor& target_lengths, Tensor& labels, Tensor& scores, std::int64_t blank = 0,
               Context = {});

struct CtcDecodeOptions {
  std::int64_t blank = 0;
  std::int64_t beam = 0;  // 0: greedy; else the number of prefixes kept
};

// Decoding: labels (N, T) i64, -1 past label_lengths (N,) i64; scores (N,).
//
// Greedy takes the likeliest label of every frame (the lowest on a tie), merges repeats and drops
// blanks; the score is that path's. With a beam it is prefix search (Graves 2012, section 7.5.3;
// Hannun et al. 2014): the label sequence of the largest sum over the alignments that the beam
// kept, which is its score; ties go to the prefix found first.
void ctc_decode(const Tensor& log_probs, const Tensor& input_lengths, Tensor& labels,
                Tensor& label_lengths, Tensor& scores, CtcDecodeOptions = {}, Context = {});

}  // namespace logsum
