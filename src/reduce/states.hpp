// How the states of folds lie in memory.
//
// Entries are arrays over lines: a kept index and a component are line
// component * component_step + kept * kept_step. Kept indices are neighbours, except in weighted
// states, whose components are. Kernels touch the lines of the kept indices they are given and no
// others, so threads may share a state.
//
//   sum               total
//   logsumexp         max, reference, total: log-sum-exp = max + log1p(total e^(reference - max))
//   softmax_weight    the same for each kept index, in `rest`, and total: the sum of weights under
//                     e^(F - reference)
//   logsumexp_weight  max, reference, total: log(total) + reference
//   min, max          value, index
//   kmin              value, index: `count` neighbours for each line
//
// `max` is the largest formula so far. Its own exponential is kept out of the sum of the others,
// since a dominated sum has its digits there. `reference` is what exponents are taken relative to:
// a maximum of some time, at most kSlack below the present one, so that a slowly rising formula
// does not round its sum again with every tile. Where max is +inf, reference is too, and the sum
// counts the other infinite terms; logsumexp_weight leaves infinite terms out of both and has them
// in the total, for each component by itself.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "reduce/fold.hpp"

namespace logsum::reduce {

// A new maximum moves the reference where it exceeds it by more. e^kSlack times a tile is far from
// overflow, and what a move rounds has lost 11 bits already.
inline constexpr int kSlack = 8;

// A total is a double, or two for doubles: the second holds what the first rounded off.
template <class Real>
inline constexpr bool kPairs = std::is_same_v<Real, double>;

constexpr bool HasExponent(Fold fold) {
  return fold == Fold::logsumexp || fold == Fold::logsumexp_weight || fold == Fold::softmax_weight;
}

constexpr bool IsExtremum(Fold fold) {
  return fold == Fold::min || fold == Fold::max || fold == Fold::kmin;
}

template <class Real>
struct Totals {
  double* high = nullptr;
  double* low = nullptr;  // null unless kPairs<Real>

  Totals operator+(std::int64_t line) const {
    return {high + line, low == nullptr ? nullptr : low + line};
  }
};

template <class Real>
struct StateView {
  explicit StateView(const FoldState<Real>& state)
      : StateView(state.shape, state.size, state.memory) {}

  StateView(const FoldShape& shape, std::int64_t size, std::byte* memory) {
    constexpr std::int64_t kRun = kStateAlign / sizeof(Real);
    const std::int64_t padded = (size + kRun - 1) / kRun * kRun;
    kept_step = shape.weighted ? PackedStride<Real>(shape.dim) : 1;
    component_step = shape.weighted ? 1 : padded;
    lines = shape.weighted ? size * kept_step : padded * shape.dim;
    const bool softmax = shape.fold == Fold::softmax_weight;
    exponents = !HasExponent(shape.fold) ? 0 : softmax ? padded : lines;
    const auto take = [&](auto* type, std::int64_t count) {
      using T = std::remove_pointer_t<decltype(type)>;
      // Without memory only sizes are asked for.
      T* const taken = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + bytes);
      const std::size_t size_of = static_cast<std::size_t>(count) * sizeof(T);
      bytes += (size_of + kStateAlign - 1) / kStateAlign * kStateAlign;
      return taken;
    };
    const auto take_totals = [&](std::int64_t count) {
      Totals<Real> totals;
      totals.high = take(static_cast<double*>(nullptr), count);
      if (kPairs<Real>) totals.low = take(static_cast<double*>(nullptr), count);
      return totals;
    };
    if (IsExtremum(shape.fold)) {
      each = shape.fold == Fold::kmin ? shape.count : 1;
      value = take(static_cast<Real*>(nullptr), lines * each);
      index = take(static_cast<std::int64_t*>(nullptr), lines * each);
      return;
    }
    total = take_totals(lines);
    if (exponents > 0) {
      max = take(static_cast<Real*>(nullptr), exponents);
      reference = take(static_cast<Real*>(nullptr), exponents);
    }
    rest = softmax ? take_totals(exponents) : total;
  }

  std::int64_t Line(std::int64_t kept, std::int64_t component) const {
    return kept * kept_step + component * component_step;
  }

  std::int64_t lines = 0;      // of totals or values
  std::int64_t exponents = 0;  // of max, reference and rest
  std::int64_t each = 1;       // values a line
  std::int64_t kept_step = 1, component_step = 0;
  Totals<Real> total, rest;
  Real* max = nullptr;
  Real* reference = nullptr;
  Real* value = nullptr;
  std::int64_t* index = nullptr;
  std::size_t bytes = 0;
};

// A value of a fold of extrema with its index; -1: there is none.
template <class Real>
struct Indexed {
  Real value = std::numeric_limits<Real>::infinity();
  std::int64_t index = -1;
};

// Whether a stands before b: what is there before what is not, numbers before NaN (NaN first where
// it wins), the lower number, the lower index. Largest: the higher number.
template <bool kNanFirst, bool kLargest, class Real>
constexpr bool Before(const Indexed<Real>& a, const Indexed<Real>& b) {
  if (a.index < 0 || b.index < 0) return a.index >= 0;
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return kNanFirst ? a_nan : b_nan;
  if (!a_nan && a.value != b.value) return kLargest ? a.value > b.value : a.value < b.value;
  return a.index < b.index;
}

// Puts x into its place among `count` ascending ones, the last of which falls out.
template <class Real>
void InsertLowest(const Indexed<Real>& x, std::int64_t count, Real* value, std::int64_t* index) {
  std::int64_t k = count;
  for (; k > 0 && Before<false, false>(x, {value[k - 1], index[k - 1]}); --k) {
    if (k == count) continue;
    value[k] = value[k - 1];
    index[k] = index[k - 1];
  }
  if (k == count) return;
  value[k] = x.value;
  index[k] = x.index;
}

}  // namespace logsum::reduce
