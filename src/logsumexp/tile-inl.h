// One tile of a reduction: its scratch, its sums, its lse.
#if defined(LOGSUM_LOGSUMEXP_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_TILE_INL_H_
#undef LOGSUM_LOGSUMEXP_TILE_INL_H_
#else
#define LOGSUM_LOGSUMEXP_TILE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/arena.hpp"
#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"
#include "logsumexp/careful-inl.h"
#include "logsumexp/sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

template <class Real>
class TileSum {
 public:
  TileSum(const Plan& plan, std::int64_t tile)
      : plan_(plan),
        tile_(plan.TileAt(tile)),
        by_rows_(!plan.by_lanes || tile_.width == 1),
        width_(by_rows_ ? 1 : BlockAccess<Real>::Stride(tile_.width)),
        depth_(std::min(by_rows_ ? RowBlock(d) : kLaneDepth, kBlock / width_)),
        scope_(kScratchBytes),
        input_(plan, kInput, scope_.Take<Real>(kBlock)) {
    max_ = scope_.Take<Real>(kMaxTileWidth);
    hi_ = scope_.Take<Real>(kMaxTileWidth);
    lo_ = scope_.Take<Real>(kMaxTileWidth);
    block_max_ = scope_.Take<Real>(kMaxTileWidth);
    exponent_ = scope_.Take<Real>(kMaxTileWidth);
    partial_max_ = scope_.Take<double>(kMaxTileWidth);
    rest_ = scope_.Take<double>(kMaxTileWidth);
    log_sum_ = scope_.Take<double>(kMaxTileWidth);
    lse_ = scope_.Take<double>(kMaxTileWidth);
  }

  // The partial results of a segment, in partial_max_ and rest_.
  void Reduce(Segment segment) {
    std::fill(max_, max_ + kMaxTileWidth, -std::numeric_limits<Real>::infinity());
    ClearSums();
    if (by_rows_) {
      for (std::int64_t lane = 0; lane < tile_.width; ++lane) ReduceRow(lane, segment);
    } else {
      ReduceLanes(segment);
    }
    FinishSums();
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      // Also false for NaN. An empty sum is -inf, unless its terms were NaN.
      const bool is_empty = max_[lane] == -std::numeric_limits<Real>::infinity();
      if (std::abs(max_[lane]) <= kMaxMagnitude || (is_empty && hi_[lane] == 0)) continue;
      SetPartial(lane, CarefulReduce(input_, tile_.first + lane, segment));
    }
  }

  void StorePartials(std::int64_t segment) const {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      PartialAt(segment, lane) = {partial_max_[lane], rest_[lane]};
    }
  }
  // Folds the partials of all segments, in order, into those of the first.
  void FoldPartials() {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      PartialAt(0, lane) = Fold(&PartialAt(0, lane), plan_.num_segments, plan_.space.num_kept);
    }
    LoadPartials();
  }
  void LoadPartials() {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) SetPartial(lane, PartialAt(0, lane));
    FinishLse();
  }

  // The lse, in lse_ and in memory.
  void WriteLse() {
    FinishLse();
    WriteKept(plan_, kLse, tile_, lse_);
  }

 protected:
  using D = hn::ScalableTag<Real>;
  static constexpr D d{};
  // Beyond it the exponent of a maximum is not exact, and careful-inl.h takes over.
  static constexpr Real kMaxMagnitude = logsum::ExpConstants<Real>::kMaxScaleInput;
  // A block of each of three operands fits in L1 and L2.
  static constexpr std::int64_t kBlock = 16384 / sizeof(Real);
  // Three blocks, and less than 20 arrays over the lanes.
  static constexpr std::size_t kScratchBytes =
      3 * Arena::BytesFor<Real>(kBlock) + 20 * Arena::BytesFor<double>(kMaxTileWidth);

  std::int64_t Lanes() const { return static_cast<std::int64_t>(hn::Lanes(d)); }
  // Arrays over lanes are computed in whole vectors.
  std::int64_t PaddedWidth() const { return (tile_.width + Lanes() - 1) / Lanes() * Lanes(); }

  Partial& PartialAt(std::int64_t segment, std::int64_t lane) const {
    return plan_.partials[segment * plan_.space.num_kept + tile_.first + lane];
  }
  void SetPartial(std::int64_t lane, const Partial& partial) {
    partial_max_[lane] = partial.max;
    rest_[lane] = partial.rest;
  }

  // body(first reduced index, depth) for the blocks of a segment.
  template <class Body>
  void ForEachBlock(Segment segment, const Body& body) const {
    for (std::int64_t k = segment.begin; k < segment.end; k += depth_) {
      body(k, std::min(depth_, segment.end - k));
    }
  }

  // Forgets the sums of earlier segments.
  void ClearSums() {
    std::fill(hi_, hi_ + kMaxTileWidth, Real(0));
    std::fill(lo_, lo_ + kMaxTileWidth, Real(0));
  }

  // Calls body(dd, i) for the vectors of doubles over the lanes of the tile.
  template <class Body>
  void ForEachDoubleVector(const Body& body) const {
    const hn::ScalableTag<double> dd;
    for (std::int64_t i = 0; i < PaddedWidth(); i += static_cast<std::int64_t>(hn::Lanes(dd))) {
      body(dd, i);
    }
  }
  template <class DD>
  static HWY_INLINE hn::Vec<DD> LoadAsDouble(DD dd, const Real* values) {
    if constexpr (sizeof(Real) == sizeof(double)) {
      return hn::LoadU(dd, values);
    } else {
      return hn::PromoteTo(dd, hn::LoadU(hn::Rebind<float, DD>(), values));
    }
  }
  template <class DD>
  static HWY_INLINE void StoreAsReal(DD dd, hn::Vec<DD> v, Real* values) {
    if constexpr (sizeof(Real) == sizeof(double)) {
      hn::StoreU(v, dd, values);
    } else {
      const hn::Rebind<float, DD> df;
      hn::StoreU(hn::DemoteTo(df, v), df, values);
    }
  }
  // e^x 2^-N in double, with N the exponents of the tile as the kernels in Real use them.
  template <class DD>
  HWY_INLINE hn::Vec<DD> ScaledExp(DD dd, std::int64_t lane, hn::Vec<DD> x) const {
    return ExpScaled<DD>(dd, LoadAsDouble(dd, exponent_ + lane))(x);
  }

 private:
  void ReduceRow(std::int64_t lane, Segment segment) {
    const hn::CappedTag<Real, 1> d1;
    auto sum = EmptySum(d1);
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
      AddRowBlock(d, input_.Read(tile_.first + lane, k, depth, 1, Real(0)).data, depth, sum);
    });
    max_[lane] = hn::GetLane(sum.max);
    hi_[lane] = hn::GetLane(sum.hi);
    lo_[lane] = hn::GetLane(sum.lo);
  }

  void ReduceLanes(Segment segment) {
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
      const auto x =
          input_.Read(tile_.first, k, depth, tile_.width, -std::numeric_limits<Real>::infinity());
      AddLaneBlock(d, x.data, x.row_stride, depth, width_, block_max_, max_, hi_, lo_);
    });
  }

  // (max, hi + lo) to (max, rest): from units of 2^N to units of e^max.
  void FinishSums() {
    for (std::int64_t i = 0; i < PaddedWidth(); i += Lanes()) {
      hn::Store(ExponentOf(d, hn::Load(d, max_ + i)), d, exponent_ + i);
    }
    ForEachDoubleVector([&](auto dd, std::int64_t i) HWY_ATTR {
      const auto max = LoadAsDouble(dd, max_ + i);
      const auto sum = hn::Add(LoadAsDouble(dd, hi_ + i), LoadAsDouble(dd, lo_ + i));
      const auto rest = hn::Div(sum, ScaledExp(dd, i, max));
      const auto is_empty = hn::Eq(max, hn::Set(dd, -kInfinity));
      hn::Store(max, dd, partial_max_ + i);
      hn::Store(hn::IfThenZeroElse(is_empty, rest), dd, rest_ + i);
    });
  }

  // lse = max + log(1 + rest).
  void FinishLse() {
    ForEachDoubleVector([&](auto dd, std::int64_t i) HWY_ATTR {
      const auto log_sum = logsum::HWY_NAMESPACE::Log1p(dd, hn::Load(dd, rest_ + i));
      const auto max = hn::Load(dd, partial_max_ + i);
      hn::Store(log_sum, dd, log_sum_ + i);
      // The rest of an infinite maximum is a count, or nothing; NaN in it must stay.
      const auto is_infinite = hn::Eq(hn::Abs(max), hn::Set(dd, kInfinity));
      hn::Store(hn::IfThenElse(is_infinite, max, hn::Add(max, log_sum)), dd, lse_ + i);
    });
  }

 protected:
  const Plan& plan_;
  const Tile tile_;
  const bool by_rows_;
  const std::int64_t width_, depth_;
  Arena::Scope scope_;
  const BlockAccess<Real> input_;
  Real *max_, *hi_, *lo_, *block_max_, *exponent_;
  double *partial_max_, *rest_, *log_sum_, *lse_;
};

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
