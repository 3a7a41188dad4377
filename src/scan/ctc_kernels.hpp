// The kernels of a CTC sequence, compiled once for each CPU target (ctc_cpu.cpp).
#pragma once
#include <cstdint>
#include <optional>

#include "logsum/tensor.hpp"
#include "scan/ctc_states.hpp"
#include "scan/ctc_work.hpp"

namespace logsum::scan {

// The frames of one sequence in log_probs or in a gradient.
struct CtcFrames {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t frame_stride = 0, label_stride = 0;
  std::int64_t labels = 0;  // C
};

// How a sequence's frames are read and its gradient is written.
struct CtcJob {
  CtcFrames frames;
  CtcFrames gradient;  // no data: none
  double weight = 1;   // of the gradient
  bool from_logits = false;
  bool emissions_only = false;  // the softmax was read, and its gradient written, before
};

// A number fraction 2^exponent.
struct CtcTotal {
  double fraction, exponent;
};

struct CtcKernels {
  std::int64_t lanes;  // positions and classes come in multiples of this

  // Reads frames [begin, end) of one side: emissions, relative to the largest one of the frame
  // among the sequence's classes, and their offset; with from_logits the softmax's denominators,
  // and its gradient where there is one. Stops at a frame that holds +inf or NaN.
  void (*prepare)(const CtcJob&, const CtcStates&, CtcNumbers, CtcWork&, CtcSide&,
                  std::int64_t begin, std::int64_t end);
  // Forward scores of frames [0, end), backward scores of frames [begin, T).
  void (*forward)(const CtcStates&, CtcNumbers, CtcWork&, CtcSide&, std::int64_t end);
  void (*backward)(const CtcStates&, CtcNumbers, CtcWork&, CtcSide&, std::int64_t begin);
  // The mass of all paths, where the sweeps meet; their exponents left out.
  CtcTotal (*meet)(const CtcStates&, CtcNumbers, const CtcWork&);
  // Each sweep goes on through the other's frames; posteriors on the way become the gradient.
  // `unit` is the exponent of the total, `forward` the direction.
  void (*gradient)(const CtcJob&, const CtcStates&, CtcNumbers, CtcWork&, CtcSide&, double unit,
                   bool forward);
  // The slopes of log emissions along a direction; with from_logits also the softmax's tangent, in
  // the job's gradient if it has one.
  void (*slopes)(const CtcJob&, const CtcFrames& direction, const CtcStates&, CtcWork&);
  // The posterior mean of the slopes' sum along an alignment, that is minus the derivative of the
  // loss; and into the job's gradient the derivative of the gradient. Frames have been prepared as
  // ranged numbers, with slopes. Nothing when there is no alignment.
  std::optional<double> (*tangent)(const CtcJob&, const CtcStates&, CtcWork&);
};

const CtcKernels& CtcKernelsOfTarget();

}  // namespace logsum::scan
