// From a panel's sums to results, directly or by way of the parts of the keys.
#if defined(LOGSUM_ATTENTION_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_FINISH_INL_H_
#undef LOGSUM_ATTENTION_FINISH_INL_H_
#else
#define LOGSUM_ATTENTION_FINISH_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/kernels.hpp"
#include "attention/panel.hpp"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/softmax-inl.h"
#include "attention/tile.hpp"
#include "core/convert-inl.h"
#include "core/dtype.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// e^(x - top) for x <= top, where +inf is as large as +inf.
inline double ShareOf(double x, double top) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (x == -kInfinity) return 0;
  return x == top ? 1 : std::exp(x - top);
}

// A compensated sum, whose error term means nothing beside an infinity.
template <class Real>
HWY_INLINE Real Total(Real high, Real low) {
  return std::isfinite(high) ? high + low : high;
}

// Writes query i's results: `sum` and (high + low) relative to e^reference. `row` has room for a
// row of values.
template <class Real>
void FinishRow(const Problem& problem, const PanelPlace& place, int i, double reference, double sum,
               const Real* high, const Real* low, Real* row) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double top = reference, share = 1;
  if (problem.sinks) {
    const double sink = VisitFloating(problem.sinks.dtype, [&](auto storage) {
      const auto* const sinks = static_cast<const decltype(storage)*>(problem.sinks.data);
      return static_cast<double>(ToFloat(sinks[place.head * problem.sinks.strides[0]]));
    });
    if (!(sink <= top)) top = sink;  // NaN too
    share = ShareOf(reference, top);
    sum = sum * share + ShareOf(sink, top);
  }
  const std::int64_t query = place.query + i;
  const bool is_empty = top == -kInfinity && !std::isnan(sum);
  const auto lse = static_cast<Real>(is_empty ? top : top + std::log(sum));  // NaN if all is NaN
  static_cast<Real*>(
      problem.lse.data)[place.batch * problem.lse.strides[0] + place.head * problem.lse.strides[1] +
                        query * problem.lse.strides[2]] = lse;
  const auto factor = static_cast<Real>(is_empty ? 0 : share / sum);
  const std::int64_t dim = problem.value_dim;
  for (std::int64_t c = 0; c < dim; ++c) {
    row[c] = factor == Real{0} ? Real{0} : Total(high[c], low[c]) * factor;
  }
  VisitFloating(problem.out.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    const std::int64_t step = problem.out.strides[3];
    Storage* const to = static_cast<Storage*>(problem.out.data) +
                        place.batch * problem.out.strides[0] + place.head * problem.out.strides[1] +
                        query * problem.out.strides[2];
    if (step == 1) {
      logsum::HWY_NAMESPACE::NarrowRun(row, to, dim);
    } else {
      for (std::int64_t c = 0; c < dim; ++c) {
        to[c * step] = logsum::HWY_NAMESPACE::Narrow<Storage>(row[c]);
      }
    }
  });
}

template <class Real>
Real* PartialOf(const ForwardTask<Real>& task, std::int64_t panel, std::int64_t part) {
  return task.partials +
         (panel * task.plan.parts + part) * PartialSize<Real>(task.problem.value_dim);
}

template <class Real>
void WritePartial(const RowState<Real>& state, int queries, const Real* high, const Real* low,
                  std::int64_t stride, Real* partial) {
  for (int i = 0; i < queries; ++i) {
    partial[i] = state.reference[i];
    partial[kTileQueries + i] = state.high[i] + state.low[i];
  }
  partial += 2 * kTileQueries;
  for (std::int64_t c = 0; c < queries * stride; ++c) partial[c] = Total(high[c], low[c]);
}

// What a task's sums over its keys give for panel `panel` of all heads: results, or where there are
// parts of the keys a partial one.
template <class Real>
void WritePanel(const ForwardTask<Real>& task, const PanelPlace& place, std::int64_t panel,
                std::int64_t part, const RowState<Real>& state, const Real* high, const Real* low,
                std::int64_t stride, Real* row) {
  if (task.plan.parts > 1) {
    return WritePartial(state, place.queries, high, low, stride, PartialOf(task, panel, part));
  }
  for (int i = 0; i < place.queries; ++i) {
    FinishRow(task.problem, place, i, state.reference[i],
              static_cast<double>(state.high[i]) + static_cast<double>(state.low[i]),
              high + i * stride, low + i * stride, row);
  }
}

// Whether rows of sums, whole vectors, are finite.
template <class Real>
bool AreFinite(const Real* sums, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto probe = hn::Zero(d);  // 0 times what is not finite is NaN
  for (std::int64_t i = 0; i < rows; ++i, sums += stride) {
    for (std::int64_t c = 0; c < columns; c += lanes) {
      probe = hn::MulAdd(hn::Load(d, sums + c), hn::Zero(d), probe);
    }
  }
  return hn::AllTrue(d, hn::Eq(probe, hn::Zero(d)));
}

// Panel task.number of all: its parts, added in order, in double for float.
template <class Real>
void MergePanel(const ForwardTask<Real>& task) {
  const Problem& problem = task.problem;
  const ForwardPlan& plan = task.plan;
  const PanelPlace place =
      PanelOf(problem, plan.head_panels, task.number / plan.panels, task.number % plan.panels);
  const std::int64_t dim = problem.value_dim, stride = RowStride<Real>(dim);
  Real *const high = task.memory, *const low = high + stride, *const row = low + stride;
  for (int i = 0; i < place.queries; ++i) {
    double top = -std::numeric_limits<double>::infinity();
    for (std::int64_t part = 0; part < plan.parts; ++part) {
      const double reference = PartialOf(task, task.number, part)[i];
      if (!(reference <= top)) top = reference;
    }
    double sum = 0;
    std::fill_n(high, 2 * stride, Real{0});
    for (std::int64_t part = 0; part < plan.parts; ++part) {
      const Real* const partial = PartialOf(task, task.number, part);
      const double share = ShareOf(partial[i], top);
      sum += share * static_cast<double>(partial[kTileQueries + i]);
      if (share == 0) continue;  // nor do its infinities count
      const Real* const values = partial + 2 * kTileQueries + i * stride;
      for (std::int64_t c = 0; c < dim; ++c) high[c] += static_cast<Real>(share) * values[c];
    }
    FinishRow(problem, place, i, top, sum, high, low, row);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
