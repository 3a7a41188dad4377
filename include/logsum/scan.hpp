// Partition functions of sparse graphs over time, their gradients and their best paths.
//
// A path takes T steps along the arcs of a graph of C states. Its weight is the sum of v0 at its
// first state, of Ms[t] at the arc of every step t, and of vT at its last state; logZ is the
// logarithm of the sum of e^weight over all paths, or with Semiring::max the largest weight.
//
// Shapes: T steps, N sequences, C states, E slots (Graph::num_slots). Ms is (T, N, E), or
// (T, N, C, nz) for a graph from an index of that shape; v0 and vT (N, C); lengths (N,) i32 or i64,
// each between 0 and T, or null for T: sequence n takes lengths[n] steps, frames of Ms past them
// are never read and have zero gradient. Any strides; outputs may not overlap inputs.
//
// Types: Ms, v0 and vT are f16, bf16, f32 or f64 of one dtype. Scores are f64 for f64 inputs and
// f32 for all others, gradients have their operand's dtype. All arithmetic is double.
//
// Special values (docs/numerics.md): -inf and everything from -1e30 down is a true zero, whose
// gradient is zero; a sequence without a path has the score -inf and zero gradients. +inf
// dominates, and so does in f64 what adds up to 1e99; NaN on a path gives NaN, in no other
// sequence.
//
// Errors: std::invalid_argument, before anything is written. Time T N E.
#pragma once
#include <cstdint>
#include <memory>

#include "logsum/semiring.hpp"
#include "logsum/tensor.hpp"

namespace logsum {

// The arcs of a scan, validated and sorted by target and by source once; cheap to copy, immutable,
// shareable between threads.
class Graph {
 public:
  // idx (C, nz) i32 or i64: slot c nz + j is an arc from state idx[c, j] to c, or no arc where
  // idx[c, j] is -1.
  static Graph from_index(const Tensor& idx);
  // source, target (E,) i32 or i64: slot e is an arc from source[e] to target[e]. Parallel arcs and
  // states without arcs are fine.
  static Graph from_arcs(const Tensor& source, const Tensor& target, std::int64_t num_states);

  std::int64_t num_states() const;
  std::int64_t num_slots() const;  // weights of a frame, padding included
  std::int64_t num_arcs() const;   // slots that hold an arc
  std::int64_t width() const;      // nz for a graph from an index, else 0

  struct Arcs;  // src/scan/graph.hpp
  const Arcs& arcs() const { return *arcs_; }

 private:
  explicit Graph(std::shared_ptr<const Arcs> arcs) : arcs_(std::move(arcs)) {}
  std::shared_ptr<const Arcs> arcs_;
};

struct ScanOptions {
  Semiring semiring = Semiring::log;
  // How often the forward sweep of a gradient keeps its scores: every `checkpoint` steps, what lies
  // between is computed again; 0 keeps all, -1 keeps all while that is little, else every sqrt(T).
  std::int64_t checkpoint = -1;
};

// How the scores were reached.
struct ScanReport {
  std::int64_t repaired = 0;  // sequences that left the certified linear domain
};

// logZ (N,), and the gradients of its sum, any of them null: grad_Ms (the posterior probability of
// every arc; the indicator of viterbi's path with Semiring::max), grad_v0 and grad_vT.
//
// Memory per thread, with V sequences of a SIMD group (8 at most), M the larger of E and C, and
// interval k of checkpoints: 8 V (2 M + 5 C) bytes; with a gradient 8 V (2 M + 4 C + T + C T), or
// with checkpoints C (T / k + k) in place of C T; at most twice that while sequences are repaired.
ScanReport logZ(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                const Tensor* lengths, Tensor& logZ, Tensor* grad_Ms, Tensor* grad_v0,
                Tensor* grad_vT, ScanOptions = {}, Context = {});

// alpha (T + 1, N, C): alpha[t, n, c] sums the paths of t steps that end in state c, final weights
// left out; beta (T + 1, N, C): beta[t, n, c] sums what follows state c after t steps, initial
// weights left out. -inf past a sequence's length.
void forward_scores(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor* lengths,
                    Tensor& alpha, ScanOptions = {}, Context = {});
void backward_scores(const Tensor& Ms, const Graph& graph, const Tensor& vT, const Tensor* lengths,
                     Tensor& beta, ScanOptions = {}, Context = {});

// The path of largest weight: score (N,), states (T + 1, N) i64 and arcs (T, N) i64, the slots it
// takes. It is one connected path for every number of threads; among equal ones the lowest last
// state, then going back the lowest slot into each. -1 past a sequence's length, and everywhere
// when there is no path.
void viterbi(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
             const Tensor* lengths, Tensor& score, Tensor& states, Tensor& arcs, Context = {});

// The derivative of logZ and of its gradients along a direction, from which double backward and
// forward mode are made. With f(path) the sum of the direction along a path, mean (N,) is the
// posterior mean of f, and cov_* the posterior covariance of f with the use of an arc (or of a
// first, a last state). Directions are null for zeros; mean and cov_* are f32 or wider where they
// are not the operand's dtype, null where not wanted. Where a path is impossible its direction
// takes no part, infinite or not.
struct ScanDirection {
  const Tensor* Ms = nullptr;
  const Tensor* v0 = nullptr;
  const Tensor* vT = nullptr;
};
void logZ_covariance(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                     const Tensor* lengths, ScanDirection direction, Tensor* mean, Tensor* cov_Ms,
                     Tensor* cov_v0, Tensor* cov_vT, Context = {});

}  // namespace logsum
