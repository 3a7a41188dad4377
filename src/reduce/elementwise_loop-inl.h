// The loops of instructions over tiles.
#if defined(LOGSUM_REDUCE_ELEMENTWISE_LOOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_ELEMENTWISE_LOOP_INL_H_
#undef LOGSUM_REDUCE_ELEMENTWISE_LOOP_INL_H_
#else
#define LOGSUM_REDUCE_ELEMENTWISE_LOOP_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <utility>

#include "hwy/highway.h"
#include "reduce/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
HWY_INLINE const Real* RowOf(const TileValue<Real>& value, std::int64_t d, std::int64_t row) {
  return value.data + d * value.component + row * value.row;
}

// One row of an operand as vectors. What is not per column is one vector that is loaded again and
// again: a step of zero costs less than a loop for each kind of operand.
template <class Real>
struct OperandRow {
  const Real* at;
  std::int64_t step;
};

template <class D, class Real>
HWY_INLINE OperandRow<Real> OpenRow(D d, const TileValue<Real>& value, std::int64_t component,
                                    std::int64_t row, Real* HWY_RESTRICT repeated) {
  const Real* const at = RowOf(value, component, row);
  if (value.per_column) return {at, static_cast<std::int64_t>(hn::Lanes(d))};
  hn::Store(hn::Set(d, *at), d, repeated);
  return {repeated, 0};
}

// Whether the rows of a value lie one behind the other, or are all one.
template <class Real>
HWY_INLINE bool IsOneRow(const TileValue<Real>& value, std::int64_t columns) {
  return value.row == (value.per_column ? columns : 0);
}

// result = function(operands), element by element. The result may be one of the operands.
template <class Real, class Function, std::size_t... kOperands>
HWY_INLINE void MapOver(const Operation<Real>& operation, const Function& function,
                        std::index_sequence<kOperands...>) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::size_t kMaxLanes = HWY_MAX_BYTES / sizeof(Real);
  alignas(HWY_MAX_BYTES) Real repeated[sizeof...(kOperands)][kMaxLanes];
  std::int64_t rows = operation.rows, columns = operation.columns;
  if (IsOneRow(operation.result, columns) &&
      (IsOneRow(operation.operands[kOperands], columns) && ...)) {
    columns *= rows;
    rows = 1;
  }
  for (std::int64_t component = 0; component < operation.dim; ++component) {
    for (std::int64_t row = 0; row < rows; ++row) {
      OperandRow<Real> in[] = {
          OpenRow(d, operation.operands[kOperands], component, row, repeated[kOperands])...};
      Real* out = operation.result.data + component * operation.result.component +
                  row * operation.result.row;
      for (Real* const end = out + columns; out != end; out += lanes) {
        hn::Store(function(hn::Load(d, in[kOperands].at)...), d, out);
        ((in[kOperands].at += in[kOperands].step), ...);
      }
    }
  }
}

template <std::size_t kOperands, class Real, class Function>
HWY_NOINLINE void Map(const Operation<Real>& operation, const Function& function) {
  MapOver(operation, function, std::make_index_sequence<kOperands>());
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
