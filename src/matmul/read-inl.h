// Blocks of an operand, widened and laid out as a kernel wants them.
#if defined(LOGSUM_MATMUL_READ_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_READ_INL_H_
#undef LOGSUM_MATMUL_READ_INL_H_
#else
#define LOGSUM_MATMUL_READ_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"
#include "hwy/highway.h"
#include "matmul/plan.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Transpose;
using logsum::HWY_NAMESPACE::Widen;
using logsum::HWY_NAMESPACE::WidenRun;

// A block in memory, element (row, column) at data[row * step + column].
template <class Real>
struct Block {
  const Real* data;
  std::int64_t step;
};

// A run, widened.
template <class Real, class Storage>
HWY_INLINE void CopyRun(const Storage* HWY_RESTRICT from, Real* HWY_RESTRICT to,
                        std::int64_t count) {
  if constexpr (std::is_same_v<Real, Storage>) {
    // Sides of squares in two copies of a fixed size, which may overlap: a call would take longer.
    constexpr std::int64_t kHalf = 8;
    if (count >= kHalf && count <= 2 * kHalf) {
      const hn::CappedTag<Real, kHalf> d;
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      const std::int64_t second = count - kHalf;
      for (std::int64_t i = 0; i < kHalf; i += lanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
      for (std::int64_t i = second; i < count; i += lanes) {
        hn::StoreU(hn::LoadU(d, from + i), d, to + i);
      }
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(Real));
    }
  } else {
    WidenRun(from, to, count);
  }
}

// One storage type: to[r * to_step + c] = from[rows(r) + columns(c)], by runs of neighbours along
// whichever index has them.
template <class Real, class Storage>
void CopyBlock(const Storage* from, const Offsets& rows, Span r, const Offsets& columns, Span c,
               Real* to, std::int64_t to_step) {
  constexpr std::int64_t kSide = 16;
  if (columns.IsRun()) {
    for (std::int64_t i = 0; i < r.count; ++i) {
      CopyRun(from + rows(r.begin + i) + columns(c.begin), to + i * to_step, c.count);
    }
  } else if (rows.IsRun()) {
    // Squares of it pass through a small buffer, widened, and are transposed whole.
    HWY_ALIGN Real square[kSide * kSide] = {}, turned[kSide * kSide];
    for (std::int64_t j = 0; j < c.count; j += kSide) {
      const std::int64_t width = std::min(kSide, c.count - j);
      for (std::int64_t i = 0; i < r.count; i += kSide) {
        const std::int64_t height = std::min(kSide, r.count - i);
        const auto run = [&](std::int64_t k) {
          return from + rows(r.begin + i) + columns(c.begin + j + k);
        };
        const Real* full = square;
        std::int64_t step = kSide;
        bool in_place = false;
        if constexpr (std::is_same_v<Real, Storage>) {
          in_place = height == kSide && width == kSide && columns.IsEven();
          if (in_place) {
            full = run(0);
            step = columns.Stride();
          }
        }
        for (std::int64_t k = 0; !in_place && k < width; ++k) {
          CopyRun(run(k), square + k * kSide, height);
        }
        Transpose(full, step, kSide, kSide, turned, kSide);
        for (std::int64_t h = 0; h < height; ++h) {
          CopyRun(turned + h * kSide, to + (i + h) * to_step + j, width);
        }
      }
    }
  } else {
    for (std::int64_t i = 0; i < r.count; ++i) {
      for (std::int64_t j = 0; j < c.count; ++j) {
        to[i * to_step + j] = Widen<Real>(from[rows(r.begin + i) + columns(c.begin + j)]);
      }
    }
  }
}

template <class Real>
void CopyBlock(const Source& source, std::int64_t batch, const Offsets& rows, Span r,
               const Offsets& columns, Span c, Real* to, std::int64_t to_step) {
  VisitFloating(source.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    const auto* const from = static_cast<const Storage*>(source.data) + source.batch(batch);
    CopyBlock(from, rows, r, columns, c, to, to_step);
  });
}

// The block of a source with `rows` along its rows and `columns` along its columns, whose rows may
// be read up to a multiple of `lanes`: in memory as it stands where that is possible, else copied
// to `space` (r.count times `step` elements) with the last column repeated beyond the end. A
// repetition changes no maximum, and what is computed from it is never used.
template <class Real>
Block<Real> ViewBlock(const Source& source, std::int64_t batch, const Offsets& rows, Span r,
                      const Offsets& columns, Span c, std::int64_t lanes, Real* space,
                      std::int64_t step) {
  constexpr DType kOwn = sizeof(Real) == sizeof(double) ? DType::f64 : DType::f32;
  if (source.dtype == kOwn && columns.IsRun() && rows.IsEven() && c.count % lanes == 0) {
    const auto* const data = static_cast<const Real*>(source.data);
    return {data + source.batch(batch) + rows(r.begin) + columns(c.begin), rows.Stride()};
  }
  CopyBlock(source, batch, rows, r, columns, c, space, step);
  const std::int64_t padded = (c.count + lanes - 1) / lanes * lanes;
  for (std::int64_t i = 0; i < r.count; ++i) {
    for (std::int64_t j = c.count; j < padded; ++j) space[i * step + j] = space[i * step + j - 1];
  }
  return {space, step};
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
