// Rows of q, k, v and gradients brought into a thread's memory: in the type of the arithmetic,
// contiguous, padded with zeros, and, if asked for, free of NaN and infinities.
//
// A row that is not finite is then staged as zeros and its number noted: 0 times NaN must not leak
// out of a pair that takes no part. The terms of such rows are added one by one (special-inl.h),
// where the pair does take part. Operands of scores need no such care: there a row or a lane is
// alone, and what is excluded is overwritten.
#if defined(LOGSUM_ATTENTION_STAGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_STAGE_INL_H_
#undef LOGSUM_ATTENTION_STAGE_INL_H_
#else
#define LOGSUM_ATTENTION_STAGE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "attention/problem.hpp"
#include "attention/tile.hpp"
#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Numbers, within what was staged, of the rows that are not finite; ascending.
struct SpecialRows {
  int count = 0;
  std::int16_t* rows = nullptr;  // room for all
};

template <class Real>
inline constexpr DType kStorageOf = sizeof(Real) == sizeof(float) ? DType::f32 : DType::f64;

// The element of an array's row where component 0 is.
template <class Storage>
HWY_INLINE const Storage* RowOf(const View<4>& array, std::int64_t batch, std::int64_t head,
                                std::int64_t row) {
  return static_cast<const Storage*>(array.data) + batch * array.strides[0] +
         head * array.strides[1] + row * array.strides[2];
}

// Components [begin, begin + count) of a row, widened.
template <class Real>
HWY_INLINE void ReadRow(const View<4>& array, std::int64_t batch, std::int64_t head,
                        std::int64_t row, std::int64_t begin, std::int64_t count,
                        Real* HWY_RESTRICT to) {
  VisitFloating(array.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    const std::int64_t step = array.strides[3];
    const Storage* const from = RowOf<Storage>(array, batch, head, row) + begin * step;
    if (step == 1) {
      logsum::HWY_NAMESPACE::WidenRun(from, to, count);
    } else {
      for (std::int64_t d = 0; d < count; ++d) {
        to[d] = logsum::HWY_NAMESPACE::Widen<Real>(from[d * step]);
      }
    }
  });
}

// `to` = `from` times factor, whole vectors; false if something is not finite then.
template <class Real, bool kAligned>
HWY_INLINE bool ScaleRow(const Real* from, std::int64_t count, Real factor, Real* to) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, factor), zero = hn::Zero(d);
  auto probe = zero;  // 0 times what is not finite is NaN
  for (std::int64_t c = 0; c < count; c += lanes) {
    const auto x = hn::Mul(kAligned ? hn::Load(d, from + c) : hn::LoadU(d, from + c), scale);
    probe = hn::MulAdd(x, zero, probe);
    hn::Store(x, d, to + c);
  }
  return hn::AllTrue(d, hn::Eq(probe, zero));
}

// One row of StageRows.
template <class Real>
HWY_INLINE bool StageRow(const View<4>& array, std::int64_t batch, std::int64_t head,
                         std::int64_t row, std::int64_t dim, Real factor, Real* HWY_RESTRICT to,
                         std::int64_t stride) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
  std::int64_t whole = 0;
  bool is_finite = true;
  if (array.dtype == kStorageOf<Real> && array.strides[3] == 1) {
    whole = dim / lanes * lanes;
    is_finite = ScaleRow<Real, false>(RowOf<Real>(array, batch, head, row), whole, factor, to);
  }
  if (whole < stride) {
    ReadRow(array, batch, head, row, whole, dim - whole, to + whole);
    std::fill(to + dim, to + stride, Real{0});
    is_finite &= ScaleRow<Real, true>(to + whole, stride - whole, factor, to + whole);
  }
  return is_finite;
}

// Rows [begin, begin + count) of head (batch, head) times `factor`, row-major, `stride` elements
// apart (a multiple of a vector, at least the dimension; the rest of a row is zero). Rows up to
// `padded` are zeros.
template <class Real>
void StageRows(const View<4>& array, std::int64_t batch, std::int64_t head, std::int64_t begin,
               int count, int padded, std::int64_t dim, Real factor, Real* HWY_RESTRICT rows,
               std::int64_t stride, SpecialRows& special) {
  special.count = 0;
  for (int r = 0; r < count; ++r, rows += stride) {
    if (StageRow(array, batch, head, begin + r, dim, factor, rows, stride)) continue;
    std::fill(rows, rows + stride, Real{0});
    special.rows[special.count++] = static_cast<std::int16_t>(r);
  }
  std::fill(rows, rows + (padded - count) * stride, Real{0});
}

// The same as they are, finite or not.
template <class Real>
void CopyRows(const View<4>& array, std::int64_t batch, std::int64_t head, std::int64_t begin,
              int count, std::int64_t dim, Real factor, Real* HWY_RESTRICT rows,
              std::int64_t stride) {
  for (int r = 0; r < count; ++r) {
    StageRow(array, batch, head, begin + r, dim, factor, rows + r * stride, stride);
  }
}

// Rows that kernels may read where they lie, `width` components of each: of the arithmetic's type,
// side by side, and not so far apart that all of them share a set of the first-level cache.
template <class Real>
bool IsReadable(const View<4>& array, std::int64_t dim, std::int64_t width) {
  constexpr std::int64_t kSets = 4096 / sizeof(Real);
  return array.dtype == kStorageOf<Real> && array.strides[3] == 1 && dim == width &&
         array.strides[2] % kSets != 0;
}

// The rows of [begin, begin + count) that are not finite; rows are as IsReadable says, of whole
// vectors.
template <class Real>
void FindSpecialRows(const Real* HWY_RESTRICT rows, std::int64_t stride, int count,
                     std::int64_t dim, SpecialRows& special) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  special.count = 0;
  for (int r = 0; r < count; ++r, rows += stride) {
    auto probe = hn::Zero(d);  // 0 times what is not finite is NaN
    for (std::int64_t c = 0; c < dim; c += lanes) {
      probe = hn::MulAdd(hn::LoadU(d, rows + c), hn::Zero(d), probe);
    }
    if (hn::AllTrue(d, hn::Eq(probe, hn::Zero(d)))) continue;
    special.rows[special.count++] = static_cast<std::int16_t>(r);
  }
}

// Rows as columns: component d of row r times `factor` at columns[d * kTileQueries + r], for one
// panel of kTileQueries rows. The right operand of the products that give scores.
template <class Real>
void CopyColumns(const View<4>& array, std::int64_t batch, std::int64_t head, std::int64_t begin,
                 int count, std::int64_t dim, Real factor, Real* HWY_RESTRICT columns) {
  constexpr std::int64_t kRun = 64;
  alignas(128) Real rows[kTileQueries * kRun];
  std::fill(rows + count * kRun, rows + kTileQueries * kRun, Real{0});
  for (std::int64_t d = 0; d < dim; d += kRun) {
    const std::int64_t run = std::min(kRun, dim - d);
    for (int r = 0; r < count; ++r) {
      ReadRow(array, batch, head, begin + r, d, run, rows + r * kRun);
    }
    logsum::HWY_NAMESPACE::Transpose(rows, kRun, std::int64_t{kTileQueries}, run,
                                     columns + d * kTileQueries, std::int64_t{kTileQueries});
  }
  ScaleRow<Real, true>(columns, dim * kTileQueries, factor, columns);
}

// The same with zeros for rows that are not finite.
template <class Real>
void StageColumns(const View<4>& array, std::int64_t batch, std::int64_t head, std::int64_t begin,
                  int count, std::int64_t dim, Real factor, Real* HWY_RESTRICT columns,
                  SpecialRows& special) {
  CopyColumns(array, batch, head, begin, count, dim, factor, columns);
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  alignas(128) Real probes[kTileQueries];
  for (int v = 0; v < kTileQueries; v += lanes) {
    auto probe = hn::Zero(d);
    for (std::int64_t c = 0; c < dim; ++c) {
      probe = hn::MulAdd(hn::Load(d, columns + c * kTileQueries + v), hn::Zero(d), probe);
    }
    hn::Store(probe, d, probes + v);
  }
  special.count = 0;
  for (int r = 0; r < count; ++r) {
    if (probes[r] == Real{0}) continue;
    for (std::int64_t c = 0; c < dim; ++c) columns[c * kTileQueries + r] = Real{0};
    special.rows[special.count++] = static_cast<std::int16_t>(r);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
