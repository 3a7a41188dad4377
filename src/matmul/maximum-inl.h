// The Max semiring: the same panels with the logarithms themselves, added and compared.
#if defined(LOGSUM_MATMUL_MAXIMUM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_MAXIMUM_INL_H_
#undef LOGSUM_MATMUL_MAXIMUM_INL_H_
#else
#define LOGSUM_MATMUL_MAXIMUM_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/buffer.hpp"
#include "gemm/max_plus-inl.h"
#include "gemm/panel.hpp"
#include "hwy/highway.h"
#include "matmul/blocks-inl.h"
#include "matmul/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::Integer;

// Depth indices packed at a time.
inline constexpr std::int64_t kMaximumDepth = 512;

// One row group of a batch entry against all columns.
template <class Real>
class MaximumBlock {
 public:
  MaximumBlock(const Plan& plan, std::int64_t batch, Span rows)
      : plan_(plan),
        batch_(batch),
        rows_(rows),
        left_(static_cast<std::size_t>(NumPanels(rows, kLeftLines<Real>) *
                                       gemm::LeftSize(kLeftLines<Real>, kMaximumDepth))),
        right_(static_cast<std::size_t>(gemm::RightSize(kRightLines<Real>, kMaximumDepth))),
        best_(static_cast<std::size_t>(NumPanels(rows, kLeftLines<Real>) * kTile)),
        argmax_(static_cast<std::size_t>(NumPanels(rows, kLeftLines<Real>) * kTile)) {}

  void Run() {
    // With all of the depth in one stage, as usual, the rows are packed once.
    const bool one_stage = plan_.depth <= kMaximumDepth;
    if (one_stage) PackRows({0, plan_.depth});
    const Span all{0, plan_.columns};
    for (std::int64_t j = 0; j < NumPanels(all, kRightLines<Real>); ++j) {
      const Span columns = PanelLines(all, kRightLines<Real>, j);
      std::int64_t k0 = 0;
      do {  // at least once: over nothing the maximum is -inf
        const Span depth{k0, std::min(kMaximumDepth, plan_.depth - k0)};
        if (!one_stage) PackRows(depth);
        Multiply(columns, depth);
        k0 += kMaximumDepth;
      } while (k0 < plan_.depth);
      Write(columns);
    }
  }

 private:
  static constexpr std::int64_t kTile =
      gemm::HWY_NAMESPACE::kRows<Real> * gemm::HWY_NAMESPACE::kTileStride<Real>;

  std::int64_t Panels() const { return NumPanels(rows_, kLeftLines<Real>); }
  Real* LeftPanel(std::int64_t panel) const {
    return left_.get() + panel * gemm::LeftSize(kLeftLines<Real>, kMaximumDepth);
  }

  void PackRows(Span depth) {
    const Source& source = plan_.left.value;
    for (std::int64_t p = 0; p < Panels(); ++p) {
      const Span lines = PanelLines(rows_, kLeftLines<Real>, p);
      const int count = static_cast<int>(lines.count);
      for (std::int64_t k = 0; k < depth.count; k += gemm::kChunk) {
        const Span chunk{depth.begin + k, std::min<std::int64_t>(gemm::kChunk, depth.count - k)};
        CopyBlock(source, batch_, source.outer, lines, source.inner, chunk,
                  LeftPanel(p) + gemm::LeftOffset(count, 0, k), gemm::kChunk);
      }
    }
  }

  void Multiply(Span columns, Span depth) {
    const Source& source = plan_.right.value;
    const int vectors = VectorsFor<Real>(columns.count);
    const std::int64_t width = vectors * kLanes<Real>;
    std::fill_n(right_.get(), width * depth.count, Real{0});
    CopyBlock(source, batch_, source.inner, depth, source.outer, columns, right_.get(), width);
    for (std::int64_t p = 0; p < Panels(); ++p) {
      const int rows = static_cast<int>(PanelLines(rows_, kLeftLines<Real>, p).count);
      Real* const best = best_.get() + p * kTile;
      if (plan_.argmax.Exists()) {
        gemm::HWY_NAMESPACE::MaxPlus(LeftPanel(p), rows, right_.get(), vectors, depth.count, best,
                                     argmax_.get() + p * kTile,
                                     static_cast<Integer<Real>>(depth.begin), depth.begin == 0);
      } else {
        gemm::HWY_NAMESPACE::MaxPlus(LeftPanel(p), rows, right_.get(), vectors, depth.count, best,
                                     depth.begin == 0);
      }
    }
  }

  void Write(Span columns) {
    const Rounding rounding = RoundingOf(plan_.out.dtype);
    for (std::int64_t i = 0; i < rows_.count; ++i) {
      const std::int64_t at = i / kLeftLines<Real> * kTile +
                              i % kLeftLines<Real> * gemm::HWY_NAMESPACE::kTileStride<Real>;
      const Entry row{batch_, rows_.begin + i, 0};
      WriteRow(plan_.out, row, columns, best_.get() + at);
      for (std::int64_t c = 0; c < columns.count; ++c) {
        const Entry entry{batch_, row.row, columns.begin + c};
        if (plan_.argmax.Exists()) {
          static_cast<std::int64_t*>(plan_.argmax.data)[At(plan_.argmax, entry)] =
              plan_.depth == 0 ? -1 : static_cast<std::int64_t>(argmax_.get()[at + c]);
        }
        if (plan_.bound.Exists()) {
          const double best = static_cast<double>(best_.get()[at + c]);
          // Beside infinities nothing is rounded; else one addition, and once more for half types.
          const double rounded = std::abs(best) * rounding.relative + rounding.absolute;
          if (std::isinf(best)) {
            Store(plan_.bound, entry, 0);
          } else {
            StoreAbove(plan_.bound, entry, 2 * rounded);
          }
        }
      }
    }
  }

  const Plan& plan_;
  const std::int64_t batch_;
  const Span rows_;
  const Buffer<Real> left_, right_, best_;
  const Buffer<Integer<Real>> argmax_;
};

template <class Real>
void Maximum(const Plan& plan, std::int64_t batch, Span rows) {
  MaximumBlock<Real>(plan, batch, rows).Run();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
