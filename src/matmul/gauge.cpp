#include "matmul/gauge.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/buffer.hpp"
#include "core/exp_constants.hpp"
#include "core/parallel.hpp"
#include "matmul/packing.hpp"

namespace logsum::matmul {
namespace {

template <class Real>
constexpr Real kInf = std::numeric_limits<Real>::infinity();

// The operand as it is without weights, which say nothing about exponents.
Operand WithoutWeight(Operand operand) {
  operand.weight = {};
  return operand;
}

// Whether a gauge may move terms by so many binades: a line's exponent, of at most half the domain
// beside a gauge, and a shift together must be a scale of ExpScaled's.
template <class Real>
bool InReach(Real exponent) {
  return std::abs(exponent) <= ScalingLimits<Real>::kDomain / 2;
}

// One sweep: moves half the difference of what both sides have at each depth index. How far the
// largest was moved.
template <class Real>
Real Sweep(const Plan& plan, std::int64_t batch, Real* shift, Real* cut, Real* scratch,
           Real* tops) {
  const KernelTable<Real>& kernels = Kernels<Real>();
  const Gauge<Real> gauge{shift, cut};
  const auto left = MakePacking<Real>(plan, true, batch, 0, gauge);
  const auto right = MakePacking<Real>(plan, false, batch, 0, gauge);
  Real* const left_lines = tops;
  Real* const right_lines = left_lines + plan.rows;
  Real* const left_depth = right_lines + plan.columns;
  Real* const right_depth = left_depth + GaugeSize(plan.depth) / 2;
  kernels.line_tops(left, {0, plan.rows}, scratch, left_lines);
  kernels.line_tops(right, {0, plan.columns}, scratch, right_lines);
  kernels.depth_tops(left, left_lines, {0, plan.depth}, plan.rows, scratch, left_depth);
  kernels.depth_tops(right, right_lines, {0, plan.depth}, plan.columns, scratch, right_depth);
  Real furthest = 0;
  for (std::int64_t k = 0; k < plan.depth; ++k) {
    // depth_tops are those of the bare terms; what the gauge has moved already counts too.
    const Real moved = shift[k] * ExpConstants<Real>::kLn2Hi;
    const Real left_top = left_depth[k] + moved, right_top = right_depth[k] - moved;
    if (left_top == -kInf<Real> || right_top == -kInf<Real>) {
      cut[k] = -kInf<Real>;
      continue;
    }
    const Real step = std::round((right_top - left_top) / 2 * ExpConstants<Real>::kLog2E);
    if (!InReach(step) || !InReach(shift[k] + step)) continue;
    shift[k] += step;
    furthest = std::max(furthest, std::abs(step));
  }
  return furthest;
}

}  // namespace

std::size_t GaugeSize(std::int64_t depth) {
  constexpr std::int64_t kPadding = 32;
  return static_cast<std::size_t>(2 * ((depth + kPadding - 1) / kPadding + 1) * kPadding);
}

template <class Real>
MeanGauge<Real>::MeanGauge(const Plan& plan)
    : plan_(plan), needed_(plan.is_mean && !plan.target.negated) {}

template <class Real>
void MeanGauge<Real>::Fill(std::int64_t batch, Span depth, Real* scratch, Real* memory) const {
  const bool of_right = plan_.left.negated;
  const Operand operand = WithoutWeight(of_right ? plan_.right : plan_.left);
  const Packing<Real> packing{&operand, TermKind(operand), batch,        plan_.depth, 0,
                              {},       !of_right,         plan_.is_mean};
  Real* const shift = memory + depth.begin;
  Real* const cut = shift + GaugeSize(plan_.depth) / 2;
  // Whole vectors are written, so a span's end may reach into the next one's: by way of a buffer.
  const Buffer<Real> tops(GaugeSize(depth.count) / 2);
  Kernels<Real>().depth_tops(packing, nullptr, depth, of_right ? plan_.columns : plan_.rows,
                             scratch, tops.get());
  for (std::int64_t k = 0; k < depth.count; ++k) {
    const Real top = tops.get()[k];
    cut[k] = top == -kInf<Real> ? top : Real{0};
    const Real own = std::round(top * ExpConstants<Real>::kLog2E);
    const Real exponent = InReach(own) ? own : Real{0};
    // The gauge takes from the right what it gives to the left.
    shift[k] = of_right ? exponent : -exponent;
  }
}

template <class Real>
Gauge<Real> MeanGauge<Real>::Make(std::int64_t batch, Real* scratch, Real* memory) const {
  if (!needed_) return {};
  std::fill_n(memory, GaugeSize(plan_.depth), Real{0});
  Fill(batch, {0, plan_.depth}, scratch, memory);
  return {memory, memory + GaugeSize(plan_.depth) / 2};
}

template <class Real>
Gauge<Real> MeanGauge<Real>::MakeParallel(std::int64_t batch, Real* memory, int threads) const {
  constexpr std::int64_t kSpan = 8192;
  if (!needed_) return {};
  std::fill_n(memory, GaugeSize(plan_.depth), Real{0});
  ParallelFor((plan_.depth + kSpan - 1) / kSpan, threads, [&](std::int64_t task) {
    const TaskMemory<Real> scratch(static_cast<std::size_t>(Kernels<Real>().scratch));
    const std::int64_t begin = task * kSpan;
    Fill(batch, {begin, std::min(kSpan, plan_.depth - begin)}, scratch.get(), memory);
  });
  return {memory, memory + GaugeSize(plan_.depth) / 2};
}

template <class Real>
Gauge<Real> Equilibrate(const Plan& plan, std::int64_t batch, Real* memory) {
  constexpr int kSweeps = 3;
  // Moving terms by so few binades cannot make certain what was not.
  constexpr Real kWorth = 8;
  const std::size_t half = GaugeSize(plan.depth) / 2;
  std::fill_n(memory, 2 * half, Real{0});
  const Buffer<Real> scratch(static_cast<std::size_t>(Kernels<Real>().scratch));
  const Buffer<Real> tops(static_cast<std::size_t>(plan.rows + plan.columns) + 2 * half);
  Real moved = 0;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    moved = std::max(moved, Sweep(plan, batch, memory, memory + half, scratch.get(), tops.get()));
  }
  const bool cuts =
      std::any_of(memory + half, memory + half + plan.depth, [](Real x) { return x != 0; });
  if (moved < kWorth && !cuts) return {};
  return {memory, memory + half};
}

template class MeanGauge<float>;
template class MeanGauge<double>;
template Gauge<float> Equilibrate(const Plan&, std::int64_t, float*);
template Gauge<double> Equilibrate(const Plan&, std::int64_t, double*);

}  // namespace logsum::matmul
