// Rows of a tile on their way between registers and memory.
#if defined(LOGSUM_MATMUL_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_ROWS_INL_H_
#undef LOGSUM_MATMUL_ROWS_INL_H_
#else
#define LOGSUM_MATMUL_ROWS_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/log-inl.h"
#include "gemm/fold-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "matmul/plan.hpp"
#include "matmul/scaling.hpp"
#include "matmul/terms-inl.h"
#include "matmul/write.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::kFold;
using logsum::HWY_NAMESPACE::Narrow;
using logsum::HWY_NAMESPACE::NarrowRun;

// Writes a row of results, `columns` of the output's row `entry.row`.
template <class Real>
void WriteRow(const Source& to, const Entry& entry, Span columns, const Real* values) {
  VisitFloating(to.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    auto* const row = static_cast<Storage*>(to.data) + to.batch(entry.batch) + to.outer(entry.row);
    if (to.inner.IsRun()) {
      NarrowRun(values, row + to.inner(columns.begin), columns.count);
    } else {
      for (std::int64_t c = 0; c < columns.count; ++c) {
        row[to.inner(columns.begin + c)] = Narrow<Storage>(values[c]);
      }
    }
  });
}

// Where a row of results begins if it can be stored as it is computed, else null.
template <class Real>
Real* DirectRow(const Source& to, const Entry& row, Span columns) {
  constexpr DType kOwn = sizeof(Real) == sizeof(double) ? DType::f64 : DType::f32;
  if (to.dtype != kOwn || !to.inner.IsRun()) return nullptr;
  return static_cast<Real*>(to.data) + to.At(row.batch, row.row, columns.begin);
}

// A row of results on its way to memory: whole vectors directly where possible, the rest by way of
// a buffer.
template <class Real>
class RowWriter {
 public:
  explicit RowWriter(const Source& to) : to_(to) {}

  HWY_INLINE void Begin(const Entry& row, Span columns) {
    row_ = row;
    columns_ = columns;
    direct_ = DirectRow<Real>(to_, row, columns);
  }
  template <class D>
  HWY_INLINE void Put(D d, std::int64_t c, hn::Vec<D> values) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const bool fits = direct_ != nullptr && c + lanes <= columns_.count;
    hn::StoreU(values, d, (fits ? direct_ : buffer_) + c);
  }
  HWY_INLINE void End() {
    if (direct_ == nullptr) {
      WriteRow(to_, row_, columns_, buffer_);
      return;
    }
    const hn::ScalableTag<Real> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t c = columns_.count / lanes * lanes; c < columns_.count; ++c) {
      direct_[c] = buffer_[c];
    }
  }

 private:
  const Source& to_;
  Entry row_{};
  Span columns_{};
  Real* direct_ = nullptr;
  HWY_ALIGN Real buffer_[gemm::HWY_NAMESPACE::kTileStride<Real>];
};

// The relative error of a scaled sum beside what was flushed, in units of its roundoff: two factors
// of 1.1 ulp (2.2 units) each, a chain of kChunk terms and one of kFold chunks, compensated
// additions of those, the final rounding, and the logarithm's own error (docs/matmul.md).
inline constexpr int kSumError = 5 + gemm::kChunk + kFold + 8;

// A row of forward results with residuals and bounds, where those are wanted.
template <class Real>
class SumRows {
 public:
  explicit SumRows(const Plan& plan)
      : plan_(plan),
        writer_(plan.out),
        has_residual_(plan.residual.Exists()),
        has_bound_(plan.bound.Exists()),
        rounding_(RoundingOf(plan.out.dtype)),
        bound_rounding_(RoundingOf(has_bound_ ? plan.bound.dtype : plan.out.dtype)) {}

  HWY_INLINE void Begin(const Entry& row, Span columns) {
    row_ = row;
    columns_ = columns;
    writer_.Begin(row, columns);
  }

  // The logarithms of sum 2^exponent, columns [c, c + lanes) of the tile.
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE void Put(D d, std::int64_t c, V sum, V exponent, V lost) {
    if (!has_residual_) {
      const V result = logsum::HWY_NAMESPACE::LogScaledOfSum(d, sum, exponent);
      writer_.Put(d, c, result);
      if (has_bound_) PutBound(d, c, result, sum, lost);
      return;
    }
    V rest;
    const V result = logsum::HWY_NAMESPACE::LogScaledOfSum(d, sum, exponent, rest);
    writer_.Put(d, c, result);
    hn::Store(result, d, results_ + c);
    hn::Store(rest, d, rests_ + c);
    if (has_bound_) PutBound(d, c, result, sum, lost);
  }

  HWY_INLINE void End() {
    writer_.End();
    if (has_residual_ || has_bound_) WriteOthers();
  }

 private:
  void WriteOthers() {
    if (has_residual_) {
      if (sizeof(Real) == sizeof(float) && plan_.out.dtype != DType::f32) {
        for (std::int64_t c = 0; c < columns_.count; ++c) {
          const Real kept = static_cast<Real>(RoundTo(plan_.out.dtype, results_[c]));
          if (kept - kept == 0) rests_[c] += results_[c] - kept;
        }
      }
      WriteRow(plan_.residual, row_, columns_, rests_);
    }
    if (has_bound_) WriteRow(plan_.bound, row_, columns_, bounds_);
  }

  template <class D, class V = hn::Vec<D>>
  HWY_INLINE void PutBound(D d, std::int64_t c, V result, V sum, V lost) {
    constexpr Real kInf = std::numeric_limits<Real>::infinity();
    constexpr Real kUnit = std::numeric_limits<Real>::epsilon() / 2;
    const V size = hn::Abs(result);
    V bound = hn::MulAdd(size, Constant(d, rounding_.relative), Constant(d, rounding_.absolute));
    // And what the compensations of so many additions round off themselves.
    const Real folds = static_cast<Real>(plan_.depth) / (gemm::kChunk * kFold) * kUnit;
    bound = hn::Add(bound, hn::Set(d, kSumError * kUnit + folds * folds));
    bound = hn::Add(bound, hn::Div(hn::Add(lost, lost), sum));
    bound = hn::MulAdd(bound, Constant(d, 1 + 4 * bound_rounding_.relative),
                       Constant(d, 2 * bound_rounding_.absolute));
    // No error in a zero; what float16 cannot hold has become infinite.
    const Real largest = plan_.out.dtype == DType::f16 ? Real{65504} : kInf;
    bound = hn::IfThenElse(hn::Gt(size, hn::Set(d, largest)), hn::Set(d, kInf), bound);
    bound = hn::IfThenZeroElse(hn::Eq(size, hn::Set(d, kInf)), bound);
    hn::Store(bound, d, bounds_ + c);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Constant(D d, double x) {
    return hn::Set(d, static_cast<Real>(x));
  }

  static constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const Plan& plan_;
  RowWriter<Real> writer_;
  Entry row_{};
  Span columns_{};
  const bool has_residual_, has_bound_;
  const Rounding rounding_, bound_rounding_;
  HWY_ALIGN Real results_[kStride];
  HWY_ALIGN Real rests_[kStride];
  HWY_ALIGN Real bounds_[kStride];
};

// The target of a mean over a tile, widened.
template <class Real>
class TargetRows {
 public:
  TargetRows(const Plan& plan, const Tile& tile) : kind_(plan.target) {
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    blocks_.value = View(plan.target.value, tile, lanes, values_);
    if (kind_.has_residual) {
      blocks_.residual = View(plan.target.residual, tile, lanes, residuals_);
    }
  }
  const TermKind& kind() const { return kind_; }
  const TermBlocks<Real>& blocks() const { return blocks_; }

 private:
  static constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  static constexpr std::int64_t kSize = gemm::HWY_NAMESPACE::kRows<Real> * kStride;

  static Block<Real> View(const Source& source, const Tile& tile, std::int64_t lanes, Real* space) {
    return ViewBlock(source, tile.batch, source.outer, tile.rows, source.inner, tile.columns, lanes,
                     space, kStride);
  }

  TermKind kind_;
  TermBlocks<Real> blocks_;
  HWY_ALIGN Real values_[kSize];
  HWY_ALIGN Real residuals_[kSize];
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
