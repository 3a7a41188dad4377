// What packing an operand needs to know of it.
#pragma once
#include <cstdint>

#include "matmul/plan.hpp"
#include "matmul/scaling.hpp"

namespace logsum::matmul {

// What kind of terms an operand has. Plain ones are their value and nothing else.
struct TermKind {
  bool negated, has_residual, has_weight;

  explicit TermKind(const Operand& operand)
      : negated(operand.negated),
        has_residual(operand.residual.Exists()),
        has_weight(operand.weight.Exists()) {}
  // For extremes: a residual is at most half an ulp of its value, except where that is half a type.
  TermKind WithoutSmallResidual(const Operand& operand) const {
    TermKind kind = *this;
    const DType dtype = operand.value.dtype;
    if (dtype == DType::f32 || dtype == DType::f64) kind.has_residual = false;
    return kind;
  }
  bool IsPlain() const { return !negated && !has_residual && !has_weight; }
};

// One operand of one batch entry, as it is to be packed.
template <class Real>
struct Packing {
  const Operand* operand;
  TermKind kind;
  std::int64_t batch, depth;
  int bias;
  Gauge<Real> gauge;
  bool is_left, is_mean;

  // What a gauge gives to the left operand it takes from the right.
  Real GaugeSign() const { return is_left ? Real{1} : Real{-1}; }

  bool IsPlain() const { return kind.IsPlain() && !gauge.Exists() && !is_mean; }
};

// All of the depth of a plan's operand.
template <class Real>
Packing<Real> MakePacking(const Plan& plan, bool is_left, std::int64_t batch, int bias,
                          const Gauge<Real>& gauge) {
  const Operand& operand = is_left ? plan.left : plan.right;
  return {&operand, TermKind(operand), batch, plan.depth, bias, gauge, is_left, plan.is_mean};
}

}  // namespace logsum::matmul
