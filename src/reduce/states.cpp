#include "reduce/states.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace logsum::reduce {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// high + low = a + b exactly (Knuth's TwoSum), low meaningless where high is not finite.
void AddExactly(double& high, double& low, double x) {
  const double sum = high + x;
  const double seen = sum - high;
  low += (high - (sum - seen)) + (x - seen);
  high = sum;
}

// to = to * to_scale + from * from_scale. An infinite part stays infinite unless its scale is 0.
template <class Real>
void AddScaled(const Totals<Real>& to, double to_scale, const Totals<Real>& from,
               double from_scale) {
  const auto scaled = [](double x, double scale) {
    return std::isinf(x) && scale == 0 ? 0 : x * scale;
  };
  double high = scaled(*to.high, to_scale), low = 0;
  if (kPairs<Real>) low = scaled(*to.low, to_scale);
  AddExactly(high, low, scaled(*from.high, from_scale));
  if (kPairs<Real>) *to.low = low + scaled(*from.low, from_scale);
  *to.high = high;
}

// How two states of exponentials come to one scale: factors of each, and the exponential of the
// smaller maximum, which joins the sum.
struct Scales {
  double to, from, old;
};

// e^difference of finite numbers and equal infinities; never 0, so that infinite weights stay.
double Move(double from, double to) {
  if (from == to) return 1;
  return std::max(std::exp(from - to), std::numeric_limits<double>::min());
}

// Brings the maximum and reference of two lines together in the first.
template <class Real>
Scales Join(Real& to_max, Real& to_reference, Real from_max, Real from_reference) {
  constexpr double kNothing = -kInfinity;
  if (from_max == kNothing) return {1, 1, 0};
  const bool from_larger = from_max > to_max;
  const double smaller = from_larger ? to_max : from_max;
  const double from = from_reference, to = to_reference;
  const bool dominated = std::max(from_max, to_max) == kInfinity && smaller != kInfinity;
  const double reference = from_larger ? from : to;
  Scales scales{1, 1, 0};
  if (smaller == kNothing) {
    // Nothing, or infinite: at home on any scale.
  } else if (dominated) {
    (from_larger ? scales.to : scales.from) = 0;
  } else {
    (from_larger ? scales.to : scales.from) = from_larger ? Move(to, from) : Move(from, to);
    scales.old = smaller == reference ? 1 : std::exp(smaller - reference);
  }
  if (from_larger) {
    to_max = from_max;
    to_reference = from_reference;
  }
  return scales;
}

template <class Real>
void MergeSums(const StateView<Real>& to, const StateView<Real>& from) {
  for (std::int64_t line = 0; line < to.lines; ++line) {
    AddScaled(to.total + line, 1, from.total + line, 1);
  }
}

// Log-sum-exps of any kind: exponents line by line, or for each kept index where totals are beside
// their sum.
template <class Real>
void MergeExponents(const FoldState<Real>& state, const StateView<Real>& to,
                    const StateView<Real>& from) {
  const bool softmax = state.shape.fold == Fold::softmax_weight;
  const bool join = state.shape.fold != Fold::logsumexp_weight;
  for (std::int64_t line = 0; line < to.exponents; ++line) {
    const Scales scales =
        Join(to.max[line], to.reference[line], from.max[line], from.reference[line]);
    AddScaled(to.rest + line, scales.to, from.rest + line, scales.from);
    if (join && scales.old != 0) {
      double low = 0;
      AddExactly(to.rest.high[line], kPairs<Real> ? to.rest.low[line] : low, scales.old);
    }
    if (!softmax || line >= state.size) continue;
    for (std::int64_t d = 0; d < state.shape.dim; ++d) {
      const std::int64_t at = to.Line(line, d);
      AddScaled(to.total + at, scales.to, from.total + at, scales.from);
    }
  }
}

template <class Real, bool kLargest>
void MergeExtrema(const StateView<Real>& to, const StateView<Real>& from) {
  for (std::int64_t line = 0; line < to.lines; ++line) {
    if (!Before<true, kLargest, Real>({from.value[line], from.index[line]},
                                      {to.value[line], to.index[line]})) {
      continue;
    }
    to.value[line] = from.value[line];
    to.index[line] = from.index[line];
  }
}

template <class Real>
void MergeLowest(const StateView<Real>& to, const StateView<Real>& from) {
  for (std::int64_t line = 0; line < to.lines; ++line) {
    const std::int64_t at = line * to.each;
    for (std::int64_t k = 0; k < to.each && from.index[at + k] >= 0; ++k) {
      InsertLowest<Real>({from.value[at + k], from.index[at + k]}, to.each, to.value + at,
                         to.index + at);
    }
  }
}

}  // namespace

template <class Real>
std::size_t StateBytes(const FoldShape& shape, std::int64_t size) {
  return StateView<Real>(shape, size, nullptr).bytes;
}

template <class Real>
void InitState(const FoldState<Real>& state) {
  const StateView<Real> view(state);
  std::memset(state.memory, 0, view.bytes);
  constexpr Real kHighest = std::numeric_limits<Real>::infinity();
  if (IsExtremum(state.shape.fold)) {
    const Real worst = state.shape.fold == Fold::max ? -kHighest : kHighest;
    std::fill_n(view.value, view.lines * view.each, worst);
    std::fill_n(view.index, view.lines * view.each, -1);
  }
  std::fill_n(view.max, view.exponents, -kHighest);
}

template <class Real>
void MergeStates(const FoldState<Real>& state, const FoldState<Real>& other) {
  const StateView<Real> to(state), from(other);
  switch (state.shape.fold) {
    case Fold::sum:
      return MergeSums(to, from);
    case Fold::min:
      return MergeExtrema<Real, false>(to, from);
    case Fold::max:
      return MergeExtrema<Real, true>(to, from);
    case Fold::kmin:
      return MergeLowest(to, from);
    default:
      return MergeExponents(state, to, from);
  }
}

template std::size_t StateBytes<float>(const FoldShape&, std::int64_t);
template std::size_t StateBytes<double>(const FoldShape&, std::int64_t);
template void InitState<float>(const FoldState<float>&);
template void InitState<double>(const FoldState<double>&);
template void MergeStates<float>(const FoldState<float>&, const FoldState<float>&);
template void MergeStates<double>(const FoldState<double>&, const FoldState<double>&);

}  // namespace logsum::reduce
