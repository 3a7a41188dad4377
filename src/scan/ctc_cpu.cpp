// The kernels of a CTC sequence, compiled once for each CPU target. All arithmetic is double.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scan/ctc_cpu.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "scan/ctc_emissions-inl.h"
#include "scan/ctc_gradient-inl.h"
#include "scan/ctc_sweep-inl.h"
#include "scan/ctc_tangent-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan::HWY_NAMESPACE {
namespace {

// Calls visit with (a value of) the number system's type.
template <class Visit>
decltype(auto) VisitNumbers(CtcNumbers numbers, const Visit& visit) {
  switch (numbers) {
    case CtcNumbers::linear_down:
      return visit(Linear<CtcD, false>());
    case CtcNumbers::ranged:
      return visit(Ranged<CtcD>());
    case CtcNumbers::max_plus:
      return visit(MaxPlus<CtcD>());
    default:
      return visit(Linear<CtcD, true>());
  }
}

bool FitsRegisters(const CtcStates& states) {
  return static_cast<std::int64_t>(states.classes.size()) <= kRegisterTableSize;
}

void CtcForward(const CtcStates& states, CtcNumbers numbers, CtcWork& work, CtcSide& side,
                std::int64_t end) {
  VisitNumbers(numbers, [&](auto system) {
    if (FitsRegisters(states)) {
      ForwardRows<decltype(system), RegisterTable>(states, work, side, end);
    } else {
      ForwardRows<decltype(system), MemoryTable>(states, work, side, end);
    }
  });
}

void CtcBackward(const CtcStates& states, CtcNumbers numbers, CtcWork& work, CtcSide& side,
                 std::int64_t begin) {
  VisitNumbers(numbers, [&](auto system) {
    if (FitsRegisters(states)) {
      BackwardRows<decltype(system), RegisterTable>(states, work, side, begin);
    } else {
      BackwardRows<decltype(system), MemoryTable>(states, work, side, begin);
    }
  });
}

CtcTotal CtcMeet(const CtcStates& states, CtcNumbers numbers, const CtcWork& work) {
  return VisitNumbers(numbers, [&](auto system) { return Meet<decltype(system)>(states, work); });
}

template <class N>
void GradientOfSide(const CtcJob& job, const CtcStates& states, CtcWork& work, CtcSide& side,
                    double unit, bool forward) {
  const bool registers = FitsRegisters(states);
  if (forward && registers) {
    ForwardGradient<N, RegisterTable>(job, states, work, side, unit);
  } else if (forward) {
    ForwardGradient<N, MemoryTable>(job, states, work, side, unit);
  } else if (registers) {
    BackwardGradient<N, RegisterTable>(job, states, work, side, unit);
  } else {
    BackwardGradient<N, MemoryTable>(job, states, work, side, unit);
  }
}

void CtcGradient(const CtcJob& job, const CtcStates& states, CtcNumbers numbers, CtcWork& work,
                 CtcSide& side, double unit, bool forward) {
  if (numbers == CtcNumbers::ranged) {
    GradientOfSide<Ranged<CtcD>>(job, states, work, side, unit, forward);
  } else {
    GradientOfSide<Linear<CtcD>>(job, states, work, side, unit, forward);
  }
}

const CtcKernels* CtcTableOfTarget() {
  static const CtcKernels table = {.lanes = static_cast<std::int64_t>(hn::Lanes(CtcD())),
                                   .prepare = CtcPrepare,
                                   .forward = CtcForward,
                                   .backward = CtcBackward,
                                   .meet = CtcMeet,
                                   .gradient = CtcGradient,
                                   .slopes = CtcSlopes,
                                   .tangent = CtcTangent};
  return &table;
}

}  // namespace
}  // namespace logsum::scan::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::scan {

HWY_EXPORT(CtcTableOfTarget);

const CtcKernels& CtcKernelsOfTarget() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(CtcTableOfTarget)();
}

}  // namespace logsum::scan
#endif
