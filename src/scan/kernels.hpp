// The kernels of scans, compiled once for each CPU target and chosen at run time (scan_cpu.cpp).
//
// A kernel takes a group of sequences from beginning to end. It is called with memory for
// `*_memory(job, group)` doubles.
#pragma once
#include <array>
#include <cstdint>

#include "scan/arguments.hpp"
#include "scan/group.hpp"

namespace logsum::scan {

// logZ and its gradients; operands without data are not wanted.
struct SumJob {
  const ScanShape& shape;
  Operand v0, vT;
  Operand logZ, grad_Ms, grad_v0, grad_vT;
  std::int64_t checkpoint = -1;

  bool HasGradient() const { return grad_Ms.Exists() || grad_v0.Exists() || grad_vT.Exists(); }
};

// forward_scores, or with `backward` backward_scores; `first` is v0 or vT.
struct ScoresJob {
  const ScanShape& shape;
  Operand first;
  Operand scores;
  bool backward = false;
};

// The best path; what is not wanted has no data.
struct PathJob {
  const ScanShape& shape;
  Operand v0, vT;
  Operand score, states, arcs;
  Operand grad_Ms, grad_v0, grad_vT;
  std::int64_t checkpoint = -1;
};

struct CovarianceJob {
  const ScanShape& shape;
  Operand v0, vT;
  Operand direction_Ms, direction_v0, direction_vT;
  Operand mean, cov_Ms, cov_v0, cov_vT;
};

// The kernels for one number of lanes.
struct LaneKernels {
  std::int64_t (*sum_memory)(const SumJob&, const Group&);
  // The lanes that are not certified, as bits.
  unsigned (*sum)(const SumJob&, const Group&, double* memory);
  // The same on any input.
  std::int64_t (*ranged_sum_memory)(const SumJob&, const Group&);
  void (*ranged_sum)(const SumJob&, const Group&, double* memory);
  std::int64_t (*scores_memory)(const ScoresJob&, const Group&);
  void (*scores)(const ScoresJob&, const Group&, double* memory);
  void (*max_scores)(const ScoresJob&, const Group&, double* memory);
  std::int64_t (*path_memory)(const PathJob&, const Group&);
  void (*path)(const PathJob&, const Group&, double* memory);
  std::int64_t (*covariance_memory)(const CovarianceJob&, const Group&);
  void (*covariance)(const CovarianceJob&, const Group&, double* memory);
};

struct KernelTable {
  int lanes;                            // of the widest kernels
  std::array<LaneKernels, 4> by_lanes;  // 1, 2, 4 and 8 lanes, up to the widest
};

const KernelTable& Kernels();

}  // namespace logsum::scan
