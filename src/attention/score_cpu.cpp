// Arrays of score formulas, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/score_cpu.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <type_traits>

#include "attention/score_arrays.hpp"
#include "attention/score_kernels.hpp"
#include "core/convert-inl.h"
#include "core/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {
namespace {

using logsum::HWY_NAMESPACE::Transpose;
using logsum::HWY_NAMESPACE::WidenRun;

template <class Real, class Storage>
void LoadStorage(const View<4>& pairs, int queries, int keys, Real* to) {
  const auto* const from = static_cast<const Storage*>(pairs.data);
  const std::int64_t query_step = pairs.strides[kQueryAxis], key_step = pairs.strides[kKeyAxis];
  if constexpr (!std::is_integral_v<Storage>) {
    if (query_step == 1) {
      for (int j = 0; j < keys; ++j) WidenRun(from + j * key_step, to + j * kTileQueries, queries);
      return;
    }
    if (key_step == 1) {
      if constexpr (std::is_same_v<Real, Storage>) {
        return Transpose(from, query_step, queries, keys, to, kTileQueries);
      }
      alignas(64) Real wide[kTileQueries * kTileKeys];
      for (int i = 0; i < queries; ++i) WidenRun(from + i * query_step, wide + i * kTileKeys, keys);
      return Transpose(wide, kTileKeys, queries, keys, to, kTileQueries);
    }
  }
  for (int j = 0; j < keys; ++j) {
    for (int i = 0; i < queries; ++i) {
      to[j * kTileQueries + i] = AsReal<Real>(from[i * query_step + j * key_step]);
    }
  }
}

template <class Real>
void LoadPairs(const View<4>& pairs, int queries, int keys, Real* to) {
  VisitElements(pairs.dtype, [&](auto storage) {
    LoadStorage<Real, decltype(storage)>(pairs, queries, keys, to);
  });
  if (queries == kTileQueries) return;
  for (int j = 0; j < keys; ++j) {
    Real* const row = to + j * kTileQueries;
    std::fill(row + queries, row + kTileQueries, row[queries - 1]);
  }
}

template <class Real>
const ScoreKernels<Real>* Table() {
  static constexpr ScoreKernels<Real> table = {.load_pairs = LoadPairs<Real>};
  return &table;
}

const ScoreKernels<float>* TableOfFloat() { return Table<float>(); }
const ScoreKernels<double>* TableOfDouble() { return Table<double>(); }

}  // namespace
}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::attend {

HWY_EXPORT(TableOfFloat);
HWY_EXPORT(TableOfDouble);

template <>
const ScoreKernels<float>& ScoreKernelsOfTarget<float>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfFloat)();
}

template <>
const ScoreKernels<double>& ScoreKernelsOfTarget<double>() {
  EnsureTarget();
  return *HWY_DYNAMIC_DISPATCH(TableOfDouble)();
}

}  // namespace logsum::attend
#endif
