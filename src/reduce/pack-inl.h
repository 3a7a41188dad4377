// Blocks of arguments, widened, component by component.
#if defined(LOGSUM_REDUCE_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_PACK_INL_H_
#undef LOGSUM_REDUCE_PACK_INL_H_
#else
#define LOGSUM_REDUCE_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"
#include "hwy/highway.h"
#include "reduce/pack.hpp"
#include "reduce/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Vectors of two to four components that lie side by side, a vector of each at a time; returns how
// many indices are done.
template <class Real>
std::int64_t LoadInterleaved(const Real* HWY_RESTRICT from, std::int64_t count, std::int64_t dim,
                             const TileValue<Real>& to) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    V part[4];
    if (dim == 2) {
      hn::LoadInterleaved2(d, from + i * 2, part[0], part[1]);
    } else if (dim == 3) {
      hn::LoadInterleaved3(d, from + i * 3, part[0], part[1], part[2]);
    } else {
      hn::LoadInterleaved4(d, from + i * 4, part[0], part[1], part[2], part[3]);
    }
    hn::Store(part[0], d, to.data + i);
    hn::Store(part[1], d, to.data + to.component + i);
    if (dim > 2) hn::Store(part[2], d, to.data + 2 * to.component + i);
    if (dim > 3) hn::Store(part[3], d, to.data + 3 * to.component + i);
  }
  return i;
}

template <class Real, class Storage>
void LoadStorage(const ArgumentView& argument, std::int64_t begin, std::int64_t count,
                 std::int64_t dim, const TileValue<Real>& to) {
  const auto* const from =
      reinterpret_cast<const Storage*>(argument.data) + begin * argument.index_stride;
  std::int64_t done = 0;
  if constexpr (std::is_same_v<Real, Storage>) {
    if (argument.component_stride == 1 && dim > 4) {
      return logsum::HWY_NAMESPACE::Transpose(from, argument.index_stride, count, dim, to.data,
                                              to.component);
    }
    if (argument.component_stride == 1 && argument.index_stride == dim && dim > 1) {
      done = LoadInterleaved(from, count, dim, to);
    }
  }
  for (std::int64_t component = 0; component < dim; ++component) {
    const Storage* const line = from + component * argument.component_stride;
    Real* const out = to.data + component * to.component;
    if (argument.index_stride == 1) {
      logsum::HWY_NAMESPACE::WidenRun(line, out, count);
    } else {
      for (std::int64_t i = done; i < count; ++i) {
        out[i] = logsum::HWY_NAMESPACE::Widen<Real>(line[i * argument.index_stride]);
      }
    }
  }
}

// Components of indices [begin, begin + count), one row of to.component elements each, filled up to
// `padded` with the last index's.
template <class Real>
void LoadBlock(const ArgumentView& argument, std::int64_t begin, std::int64_t count,
               std::int64_t padded, std::int64_t dim, const TileValue<Real>& to) {
  VisitFloating(argument.dtype, [&](auto storage) {
    LoadStorage<Real, decltype(storage)>(argument, begin, count, dim, to);
  });
  for (std::int64_t component = 0; component < dim; ++component) {
    Real* const out = to.data + component * to.component;
    std::fill(out + count, out + padded, out[count - 1]);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
