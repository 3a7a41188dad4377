// Choosing gauges: whole exponents moved from one operand to the other, index by index of the
// depth, which change no term but how well each side can be scaled.
#pragma once
#include <cstddef>
#include <cstdint>

#include "matmul/kernels.hpp"
#include "matmul/plan.hpp"
#include "matmul/scaling.hpp"

namespace logsum::matmul {

// Elements of a gauge's two arrays, padded for vectors that read past the end.
std::size_t GaugeSize(std::int64_t depth);

// The gauge of a mean one of whose factors divides (C, far from zero where A and B are): the other
// factor's largest term of each depth index becomes one. Where the target divides, none is needed.
template <class Real>
class MeanGauge {
 public:
  explicit MeanGauge(const Plan& plan);

  std::size_t Size() const { return needed_ ? GaugeSize(plan_.depth) : 0; }
  // Of one batch entry, in `memory`; `scratch` as packing's.
  Gauge<Real> Make(std::int64_t batch, Real* scratch, Real* memory) const;
  // The same on several threads, for a long depth.
  Gauge<Real> MakeParallel(std::int64_t batch, Real* memory, int threads) const;

 private:
  // Fills the gauge at some depth indices.
  void Fill(std::int64_t batch, Span depth, Real* scratch, Real* memory) const;

  const Plan& plan_;
  bool needed_;
};

// Equilibrates the operands of a forward product: a few sweeps that give both sides of each depth
// index the same largest term, relative to their lines'. Depth indices without a term on one side
// are cut. An empty gauge where that changes nothing.
template <class Real>
Gauge<Real> Equilibrate(const Plan& plan, std::int64_t batch, Real* memory);

}  // namespace logsum::matmul
