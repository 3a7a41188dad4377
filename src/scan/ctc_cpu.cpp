// The kernels of a CTC sequence, compiled once for each CPU target. All arithmetic is double.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "scan/ctc_cpu.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "scan/ctc_emissions-inl.h"
#include "scan/ctc_gradient-inl.h"
#include "scan/ctc_sweep-inl.h"

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

void CtcForward(const CtcStates& states, CtcNumbers numbers, CtcWork& work, CtcSide& side,
                std::int64_t end) {
  VisitNumbers(numbers,
               [&](auto system) { ForwardRows<decltype(system)>(states, work, side, end); });
}

void CtcBackward(const CtcStates& states, CtcNumbers numbers, CtcWork& work, CtcSide& side,
                 std::int64_t begin) {
  VisitNumbers(numbers,
               [&](auto system) { BackwardRows<decltype(system)>(states, work, side, begin); });
}

CtcTotal CtcMeet(const CtcStates& states, CtcNumbers numbers, const CtcWork& work) {
  return VisitNumbers(numbers, [&](auto system) { return Meet<decltype(system)>(states, work); });
}

void CtcForwardGradient(const CtcJob& job, const CtcStates& states, CtcNumbers numbers,
                        CtcWork& work, CtcSide& side, double unit) {
  if (numbers == CtcNumbers::ranged) {
    ForwardGradient<Ranged<CtcD>>(job, states, work, side, unit);
  } else {
    ForwardGradient<Linear<CtcD>>(job, states, work, side, unit);
  }
}

void CtcBackwardGradient(const CtcJob& job, const CtcStates& states, CtcNumbers numbers,
                         CtcWork& work, CtcSide& side, double unit) {
  if (numbers == CtcNumbers::ranged) {
    BackwardGradient<Ranged<CtcD>>(job, states, work, side, unit);
  } else {
    BackwardGradient<Linear<CtcD>>(job, states, work, side, unit);
  }
}

const CtcKernels* CtcTableOfTarget() {
  static const CtcKernels table = {.lanes = static_cast<std::int64_t>(hn::Lanes(CtcD())),
                                   .prepare = CtcPrepare,
                                   .forward = CtcForward,
                                   .backward = CtcBackward,
                                   .meet = CtcMeet,
                                   .forward_gradient = CtcForwardGradient,
                                   .backward_gradient = CtcBackwardGradient};
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
