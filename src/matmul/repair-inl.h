// The second rung: tiles computed again with an exponent for every term. No exp and no log inside,
// nothing flushed but what is 2^-126 of its sum. Entries decided by what even a split does not hold
// go to the last rung.
#if defined(LOGSUM_MATMUL_REPAIR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_REPAIR_INL_H_
#undef LOGSUM_MATMUL_REPAIR_INL_H_
#else
#define LOGSUM_MATMUL_REPAIR_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/buffer.hpp"
#include "core/exp_constants.hpp"
#include "gemm/multiply_extended-inl.h"
#include "hwy/highway.h"
#include "matmul/blocks-inl.h"
#include "matmul/careful.hpp"
#include "matmul/finish_split-inl.h"
#include "matmul/kernels.hpp"
#include "matmul/split-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Depth indices that are split at a time, so that all panels of a block and the states of its tiles
// stay in the second level cache.
inline constexpr std::int64_t kSplitDepth = 128;
static_assert(3 * kSplitDepth * 32 <= kPackScratch);

// Tiles of one block of lines, from their operands to their results.
template <class Real>
class RepairBlock {
 public:
  RepairBlock(const Plan& plan, std::int64_t batch, Span left, Span right,
              const std::vector<TileId>& tiles)
      : plan_(plan),
        batch_(batch),
        left_(left),
        right_(right),
        tiles_(tiles),
        left_packing_(MakePacking<Real>(plan, true, batch, 0, {})),
        right_packing_(MakePacking<Real>(plan, false, batch, 0, {})),
        left_panels_(NumPanels(left, kLeftLines<Real>)),
        right_panels_(NumPanels(right, kRightLines<Real>)),
        scratch_(Size(kPackScratch)),
        facts_(Size(Lines<Real>::kArrays * (LeftPadded() + RightPadded()))),
        fractions_(Size((LeftPadded() + RightPadded()) * kSplitDepth)),
        exponents_(Size((LeftPadded() + RightPadded()) * kSplitDepth)),
        sums_(Size(2 * kTile * NumTiles())),
        tile_exponents_(Size(kTile * NumTiles())) {}

  void Run() {
    Survey();
    if (plan_.is_mean) {
      for (std::int64_t t = 0; t < NumTiles(); ++t) {
        SetMeanExponents(plan_, At(t), TileExponents(t));
      }
    }
    std::int64_t k0 = 0;
    do {  // at least once, so that sums over nothing are written too
      const Span depth{k0, std::min(kSplitDepth, plan_.depth - k0)};
      Split(depth);
      for (std::int64_t t = 0; t < NumTiles(); ++t) Multiply(t, depth.count, k0 == 0);
      k0 += kSplitDepth;
    } while (k0 < plan_.depth);
    for (std::int64_t t = 0; t < NumTiles(); ++t) Finish(t);
  }

 private:
  static constexpr std::int64_t kTile =
      gemm::HWY_NAMESPACE::kRows<Real> * gemm::HWY_NAMESPACE::kTileStride<Real>;

  static std::size_t Size(std::int64_t count) { return static_cast<std::size_t>(count); }
  std::int64_t NumTiles() const { return static_cast<std::int64_t>(tiles_.size()); }
  std::int64_t LeftPadded() const { return left_panels_ * kLeftLines<Real>; }
  std::int64_t RightPadded() const { return right_panels_ * kRightLines<Real>; }

  Lines<Real> LeftFacts() const { return Lines<Real>::In(facts_.get(), LeftPadded()); }
  Lines<Real> RightFacts() const {
    return Lines<Real>::In(facts_.get() + Lines<Real>::kArrays * LeftPadded(), RightPadded());
  }
  Span LeftLines(std::int64_t panel) const { return PanelLines(left_, kLeftLines<Real>, panel); }
  Span RightLines(std::int64_t panel) const { return PanelLines(right_, kRightLines<Real>, panel); }
  static std::int64_t PaddedWidth(Span lines) {
    return VectorsFor<Real>(lines.count) * kLanes<Real>;
  }
  SplitPanel<Real> LeftSplit(std::int64_t panel) const {
    const std::int64_t at = panel * kLeftLines<Real> * kSplitDepth;
    return {fractions_.get() + at, exponents_.get() + at};
  }
  SplitPanel<Real> RightSplit(std::int64_t panel) const {
    const std::int64_t at = (LeftPadded() + panel * kRightLines<Real>)*kSplitDepth;
    return {fractions_.get() + at, exponents_.get() + at};
  }
  std::int64_t LeftPanelOf(std::int64_t t) const {
    return tiles_[Size(t)].left - left_.begin / kLeftLines<Real>;
  }
  std::int64_t RightPanelOf(std::int64_t t) const {
    return tiles_[Size(t)].right - right_.begin / kRightLines<Real>;
  }
  Real* High(std::int64_t t) const { return sums_.get() + 2 * t * kTile; }
  Real* Low(std::int64_t t) const { return High(t) + kTile; }
  Integer<Real>* TileExponents(std::int64_t t) const { return tile_exponents_.get() + t * kTile; }

  SplitTile<Real> At(std::int64_t t) const {
    const std::int64_t left = LeftPanelOf(t), right = RightPanelOf(t);
    return {.tile = {batch_, LeftLines(left), RightLines(right)},
            .high = High(t),
            .low = Low(t),
            .exponent = TileExponents(t),
            .rows = LeftFacts().At(left * kLeftLines<Real>),
            .columns = RightFacts().At(right * kRightLines<Real>)};
  }

  void Survey() {
    for (std::int64_t p = 0; p < left_panels_; ++p) {
      const int rows = static_cast<int>(LeftLines(p).count);
      const PanelTerms<Real, true> terms(left_packing_, LeftLines(p), rows, scratch_.get());
      SurveyLeft(left_packing_, rows, terms, LeftFacts().At(p * kLeftLines<Real>));
    }
    for (std::int64_t p = 0; p < right_panels_; ++p) {
      const std::int64_t width = PaddedWidth(RightLines(p));
      const PanelTerms<Real, false> terms(right_packing_, RightLines(p), width, scratch_.get());
      SurveyRight(right_packing_, width, terms, RightFacts().At(p * kRightLines<Real>));
    }
  }

  void Split(Span depth) {
    for (std::int64_t p = 0; p < left_panels_; ++p) {
      SplitLeft(left_packing_, LeftLines(p), depth, scratch_.get(), kSplitDepth, LeftSplit(p));
    }
    for (std::int64_t p = 0; p < right_panels_; ++p) {
      SplitRight(right_packing_, RightLines(p), PaddedWidth(RightLines(p)), depth, scratch_.get(),
                 RightSplit(p));
    }
  }

  void Multiply(std::int64_t t, std::int64_t depth, bool first) {
    const std::int64_t left = LeftPanelOf(t), right = RightPanelOf(t);
    const int rows = static_cast<int>(LeftLines(left).count);
    const int vectors = VectorsFor<Real>(RightLines(right).count);
    const auto a = LeftSplit(left), b = RightSplit(right);
    if (plan_.is_mean) {
      gemm::HWY_NAMESPACE::MultiplyExtendedAt(a.fraction, a.exponent, rows, b.fraction, b.exponent,
                                              vectors, depth, TileExponents(t), High(t), Low(t),
                                              first);
    } else {
      gemm::HWY_NAMESPACE::MultiplyExtended(a.fraction, a.exponent, rows, b.fraction, b.exponent,
                                            vectors, depth, High(t), Low(t), TileExponents(t),
                                            first);
    }
  }

  void Finish(std::int64_t t) {
    std::uint8_t wanted[kCarefulRows * kCarefulWidth];
    const SplitTile<Real> split = At(t);
    const bool decided = plan_.is_mean ? FinishSplitMeans(plan_, split, wanted)
                                       : FinishSplitSums(plan_, split, wanted);
    if (!decided) RunCareful(plan_, split.tile, wanted);
  }

  const Plan& plan_;
  const std::int64_t batch_;
  const Span left_, right_;
  const std::vector<TileId>& tiles_;
  const Packing<Real> left_packing_, right_packing_;
  const std::int64_t left_panels_, right_panels_;
  const Buffer<Real> scratch_, facts_, fractions_;
  const Buffer<Integer<Real>> exponents_;
  const Buffer<Real> sums_;
  const Buffer<Integer<Real>> tile_exponents_;
};

template <class Real>
void Repair(const Plan& plan, std::int64_t batch, Span left, Span right,
            const std::vector<TileId>& tiles) {
  RepairBlock<Real>(plan, batch, left, right, tiles).Run();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
