// Packing panels of split exponentials, a fraction and an integer exponent each: nothing is scaled,
// so nothing can be flushed.
#if defined(LOGSUM_MATMUL_SPLIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_SPLIT_INL_H_
#undef LOGSUM_MATMUL_SPLIT_INL_H_
#else
#define LOGSUM_MATMUL_SPLIT_INL_H_
#endif

#include <cstdint>

#include "core/exp_constants.hpp"
#include "core/extended-inl.h"
#include "gemm/panel.hpp"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "matmul/packing.hpp"
#include "matmul/terms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Extended;
using logsum::HWY_NAMESPACE::SplitExp;

using gemm::HWY_NAMESPACE::Integer;

// m e^(x + rest) 2^exponent as fraction 2^integer; zero for what lies below the domain, which the
// caller accounts for. Terms above the domain are the caller's to avoid.
template <class D>
HWY_INLINE Extended<D> SplitTerm(D d, const TermKind& kind, const Term<D>& term) {
  using T = hn::TFromD<D>;
  const hn::RebindToSigned<D> di;
  const auto low = hn::Lt(term.x, hn::Set(d, -ScalingLimits<T>::kDomain));
  const auto x = hn::IfThenElse(low, hn::Set(d, -std::numeric_limits<T>::infinity()), term.x);
  Extended<D> split = SplitExp(d, x);
  if (kind.has_residual) {
    // Zero has no rest, but the value that it stands for may.
    split.fraction = hn::IfThenZeroElse(low, hn::Mul(split.fraction, ExpOfRest(d, term.rest)));
  }
  if (kind.has_weight) {
    split.fraction = hn::Mul(split.fraction, term.mantissa);
    split.exponent = hn::Add(split.exponent, hn::ConvertTo(di, term.exponent));
  }
  return split;
}

// A panel of pairs.
template <class Real>
struct SplitPanel {
  Real* fraction;
  Integer<Real>* exponent;
};

// Depth `depth` (from a chunk's first index) of at most kRows lines of the left operand.
template <class Real>
void SplitLeft(const Packing<Real>& packing, Span lines, Span depth, Real* scratch,
               std::int64_t stage, const SplitPanel<Real>& panel) {
  const hn::ScalableTag<Real> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto blocks = ViewTerms(*packing.operand, scratch, lines.count * stage,
                                [&](const Source& source, Real* space) {
                                  return ViewBlock(source, packing.batch, source.outer, lines,
                                                   source.inner, depth, lanes, space, stage);
                                });
  const int rows = static_cast<int>(lines.count);
  for (int r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < depth.count; k += lanes) {
      const auto split = SplitTerm(d, packing.kind, LoadTerm(d, packing.kind, blocks, r, k));
      const std::int64_t at = gemm::LeftOffset(rows, r, k);
      hn::StoreU(split.fraction, d, panel.fraction + at);
      hn::StoreU(split.exponent, di, panel.exponent + at);
    }
  }
}

// Likewise of the right operand's lines, `width` with the repeated ones.
template <class Real>
void SplitRight(const Packing<Real>& packing, Span lines, std::int64_t width, Span depth,
                Real* scratch, const SplitPanel<Real>& panel) {
  const hn::ScalableTag<Real> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kStride = gemm::HWY_NAMESPACE::kTileStride<Real>;
  const auto blocks = ViewTerms(*packing.operand, scratch, depth.count * kStride,
                                [&](const Source& source, Real* space) {
                                  return ViewBlock(source, packing.batch, source.inner, depth,
                                                   source.outer, lines, width, space, kStride);
                                });
  for (std::int64_t k = 0; k < depth.count; ++k) {
    for (std::int64_t c = 0; c < width; c += lanes) {
      const auto split = SplitTerm(d, packing.kind, LoadTerm(d, packing.kind, blocks, k, c));
      hn::Store(split.fraction, d, panel.fraction + k * width + c);
      hn::Store(split.exponent, di, panel.exponent + k * width + c);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
