// Sums written to the rows of gradients.
#if defined(LOGSUM_ATTENTION_BACKWARD_WRITE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_WRITE_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_WRITE_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_WRITE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_kernels.hpp"
#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
inline constexpr DType kDType = sizeof(Real) == sizeof(float) ? DType::f32 : DType::f64;

// Row `row` of a target = `values`, or += if `add`.
template <class Real>
HWY_INLINE void WriteRow(const Target& to, std::int64_t row, std::int64_t count,
                         const Real* HWY_RESTRICT values, bool add) {
  if (to.dtype == kDType<Real> && to.stride == 1) {
    const hn::ScalableTag<Real> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    Real* const at = static_cast<Real*>(to.data) + row * to.row_stride;
    std::int64_t c = 0;
    for (; c + lanes <= count; c += lanes) {
      const auto value = hn::LoadU(d, values + c);
      hn::StoreU(add ? hn::Add(hn::LoadU(d, at + c), value) : value, d, at + c);
    }
    for (; c < count; ++c) at[c] = add ? at[c] + values[c] : values[c];
    return;
  }
  VisitFloating(to.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    using logsum::HWY_NAMESPACE::Narrow;
    using logsum::HWY_NAMESPACE::Widen;
    Storage* const at = static_cast<Storage*>(to.data) + row * to.row_stride;
    if (!add && to.stride == 1) {
      logsum::HWY_NAMESPACE::NarrowRun(values, at, count);
      return;
    }
    for (std::int64_t c = 0; c < count; ++c) {
      Storage& x = at[c * to.stride];
      x = Narrow<Storage>(add ? Widen<Real>(x) + values[c] : values[c]);
    }
  });
}

// Rows [first, first + count) of a target = or += factor (high + low), whose rows have `stride`.
// low may be null; high is overwritten.
template <class Real>
HWY_INLINE void WriteSums(const Target& to, std::int64_t first, std::int64_t count,
                          std::int64_t dim, Real* HWY_RESTRICT high, const Real* HWY_RESTRICT low,
                          std::int64_t stride, Real factor, bool add) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto scale = hn::Set(d, factor);
  for (std::int64_t r = 0; r < count; ++r) {
    Real* const row = high + r * stride;
    for (std::int64_t c = 0; c < dim && (low != nullptr || factor != 1); c += lanes) {
      auto sum = hn::Load(d, row + c);
      if (low != nullptr) {
        // What an infinity rounds off is NaN.
        const auto is_finite = hn::Eq(hn::Mul(sum, hn::Zero(d)), hn::Zero(d));
        const auto rest = hn::Load(d, low + r * stride + c);
        sum = hn::Add(sum, hn::IfThenElseZero(is_finite, rest));
      }
      hn::Store(hn::Mul(scale, sum), d, row + c);
    }
    WriteRow(to, first + r, dim, row, add);
  }
}

// The sums of tiles, rows x columns of `stride`, added to high and low, or plainly if low is null;
// `first`: stored instead.
template <class Real>
HWY_INLINE void AddSums(const Real* HWY_RESTRICT sums, std::int64_t rows, std::int64_t columns,
                        std::int64_t stride, bool first, Real* HWY_RESTRICT high,
                        Real* HWY_RESTRICT low) {
  if (!first && low != nullptr) {
    gemm::HWY_NAMESPACE::Fold<Real>(sums, rows, columns, stride, nullptr, high, low);
    return;
  }
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r * stride; c < r * stride + columns; c += lanes) {
      const auto sum = hn::Load(d, sums + c);
      hn::Store(first ? sum : hn::Add(hn::Load(d, high + c), sum), d, high + c);
      if (low != nullptr) hn::Store(hn::Zero(d), d, low + c);
    }
  }
}

// Rows of a target = the sums of the same rows of `copies` arrays, contiguous and of `dim`
// elements; no copies: zeros.
template <class Real>
void Gather(const Real* const* sums, std::int64_t copies, std::int64_t first, std::int64_t count,
            std::int64_t dim, const Target& to) {
  constexpr std::int64_t kRun = 128;
  Real total[kRun];
  for (std::int64_t row = first; row < first + count; ++row) {
    for (std::int64_t c = 0; c < dim; c += kRun) {
      const std::int64_t run = std::min(kRun, dim - c);
      std::fill_n(total, run, Real{0});
      for (std::int64_t copy = 0; copy < copies; ++copy) {
        const Real* const from = sums[copy] + row * dim + c;
        for (std::int64_t x = 0; x < run; ++x) total[x] = copy == 0 ? from[x] : total[x] + from[x];
      }
      Target part = to;
      part.data = static_cast<std::byte*>(to.data) +
                  c * to.stride * static_cast<std::int64_t>(SizeOf(to.dtype));
      WriteRow(part, row, run, total, false);
    }
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
