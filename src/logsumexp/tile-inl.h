// One tile of a reduction: its scratch, its sums, its parameters, its results.
#if defined(LOGSUM_LOGSUMEXP_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_TILE_INL_H_
#undef LOGSUM_LOGSUMEXP_TILE_INL_H_
#else
#define LOGSUM_LOGSUMEXP_TILE_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/arena.hpp"
#include "core/exp-inl.h"
#include "core/log-inl.h"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"
#include "logsumexp/careful-inl.h"
#include "logsumexp/map-inl.h"
#include "logsumexp/sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

template <class Real>
class TileKernel {
  using D = hn::ScalableTag<Real>;
  static constexpr D d{};

 public:
  TileKernel(const Plan& plan, std::int64_t tile)
      : plan_(plan),
        tile_(plan.TileAt(tile)),
        by_rows_(!plan.by_lanes || tile_.width == 1),
        width_(by_rows_ ? 1 : BlockAccess<Real>::Stride(tile_.width)),
        depth_(by_rows_ ? RowBlock(d)
                        : kBlockBytes / std::int64_t{sizeof(Real)} / kMaxTileWidth),
        scope_(kScratchBytes),
        input_(plan, kInput, Take(plan.Has(kInput))),
        output_(plan, kOutput, Take(plan.Has(kOutput))),
        grad_(plan, kOutputGrad, Take(plan.Has(kOutputGrad))) {
    max_ = scope_.Take<Real>(kMaxTileWidth);
    hi_ = scope_.Take<Real>(kMaxTileWidth);
    lo_ = scope_.Take<Real>(kMaxTileWidth);
    block_max_ = scope_.Take<Real>(kMaxTileWidth);
    params_ = {.exponent = scope_.Take<Real>(kMaxTileWidth),
               .factor = scope_.Take<Real>(kMaxTileWidth),
               .top = scope_.Take<Real>(kMaxTileWidth),
               .addend = scope_.Take<Real>(kMaxTileWidth)};
    partial_max_ = scope_.Take<double>(kMaxTileWidth);
    rest_ = scope_.Take<double>(kMaxTileWidth);
    log_sum_ = scope_.Take<double>(kMaxTileWidth);
    lse_ = scope_.Take<double>(kMaxTileWidth);
    addend_ = scope_.Take<double>(kMaxTileWidth);
    careful_ = scope_.Take<bool>(kMaxTileWidth);
  }

  // The partial results of a segment, in partial_max_ and rest_.
  void Reduce(Segment segment) {
    std::fill(max_, max_ + kMaxTileWidth, -std::numeric_limits<Real>::infinity());
    std::fill(hi_, hi_ + kMaxTileWidth, Real(0));
    std::fill(lo_, lo_ + kMaxTileWidth, Real(0));
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
      Partial folded = PartialAt(0, lane);
      for (std::int64_t s = 1; s < plan_.num_segments; ++s) {
        folded = Merge(folded, PartialAt(s, lane));
      }
      PartialAt(0, lane) = folded;
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

  // Parameters of softmax and log_softmax, from the partial results and the lse.
  void PrepareForward() {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      careful_[lane] = !(std::abs(partial_max_[lane]) <= kMaxMagnitude);
      params_.top[lane] = careful_[lane] ? Real(0) : static_cast<Real>(partial_max_[lane]);
    }
    PadParams(params_.top);
    for (std::int64_t i = 0; i < PaddedWidth(); i += Lanes()) {
      hn::Store(ExponentOf(d, hn::Load(d, params_.top + i)), d, params_.exponent + i);
    }
    ForEachDoubleVector([&](auto dd, std::int64_t i) HWY_ATTR {
      const auto scaled_max = ScaledExp(dd, i, LoadAsDouble(dd, params_.top + i));
      const auto sum = hn::Add(hn::Set(dd, 1.0), hn::Load(dd, rest_ + i));
      StoreAsReal(dd, hn::Div(hn::Set(dd, 1.0), hn::Mul(scaled_max, sum)), params_.factor + i);
      StoreAsReal(dd, hn::Load(dd, log_sum_ + i), params_.addend + i);
    });
  }

  // Parameters of a gradient, from the stored lse; `addend` comes with AddIncoming().
  void PrepareBackward() {
    ReadKept(plan_, kLse, tile_, lse_);
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      careful_[lane] = !(std::abs(lse_[lane]) <= kMaxMagnitude);
      params_.top[lane] = careful_[lane] ? Real(0) : static_cast<Real>(lse_[lane]);
    }
    PadParams(params_.top);
    for (std::int64_t i = 0; i < PaddedWidth(); i += Lanes()) {
      hn::Store(ExponentOf(d, hn::Load(d, params_.top + i)), d, params_.exponent + i);
    }
    ForEachDoubleVector([&](auto dd, std::int64_t i) HWY_ATTR {
      const auto scaled = ScaledExp(dd, i, LoadAsDouble(dd, params_.top + i));
      StoreAsReal(dd, hn::Div(hn::Set(dd, 1.0), scaled), params_.factor + i);
    });
  }

  // The sums over a segment that a softmax gradient needs, in rest_.
  template <MapKind kKind>
  void SumGrad(Segment segment) {
    std::fill(hi_, hi_ + kMaxTileWidth, Real(0));
    std::fill(lo_, lo_ + kMaxTileWidth, Real(0));
    if (by_rows_) {
      for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
        ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
          const std::int64_t kept = tile_.first + lane;
          AddGradRow<kKind>(d, params_, lane, depth, input_.Read(kept, k, depth, 1, Real(0)).data,
                            grad_.Read(kept, k, depth, 1, Real(0)).data, hi_ + lane, lo_ + lane);
        });
      }
    } else {
      ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
        const auto x = input_.Read(tile_.first, k, depth, tile_.width, Real(0));
        const auto g = grad_.Read(tile_.first, k, depth, tile_.width, Real(0));
        AddGradLanes<kKind>(d, params_, depth, width_, x, g, hi_, lo_);
      });
    }
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      rest_[lane] = careful_[lane] ? CarefulGradSum<kKind>(lane, segment)
                                   : static_cast<double>(hi_[lane]) + static_cast<double>(lo_[lane]);
      partial_max_[lane] = 0;
    }
  }
  void AddSegmentSums() {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      rest_[lane] = 0;
      for (std::int64_t s = 0; s < plan_.num_segments; ++s) rest_[lane] += PartialAt(s, lane).rest;
    }
  }

  // addend = dlse - (the sum in rest_, where the gradient has one).
  template <MapKind kKind>
  void AddIncoming() {
    const bool has_sum = kReadsGrad<kKind> && plan_.Has(kOutputGrad);
    std::fill(addend_, addend_ + tile_.width, 0.0);
    if (plan_.Has(kLseGrad)) ReadKept(plan_, kLseGrad, tile_, addend_);
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      if (has_sum) addend_[lane] -= rest_[lane];
      params_.addend[lane] = static_cast<Real>(addend_[lane]);
    }
    PadParams(params_.addend);
  }

  template <MapKind kKind>
  void Map(Segment segment) {
    if (by_rows_) {
      for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
        if (careful_[lane]) continue;
        const std::int64_t kept = tile_.first + lane;
        ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
          const Real* const x = input_.Read(kept, k, depth, 1, Real(0)).data;
          const Real* const g = kReadsGrad<kKind> ? ReadGrad(kept, k, depth, 1).data : nullptr;
          MapRow<kKind>(d, params_, lane, depth, x, g, output_.Open(kept, k, depth, 1).data);
          output_.Commit(kept, k, depth, 1);
        });
      }
    } else {
      ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) HWY_ATTR {
        const auto x = input_.Read(tile_.first, k, depth, tile_.width, Real(0));
        const auto g = kReadsGrad<kKind> ? ReadGrad(tile_.first, k, depth, tile_.width)
                                         : Block<const Real>{nullptr, 0};
        MapLanes<kKind>(d, params_, depth, width_, x, g,
                        output_.Open(tile_.first, k, depth, tile_.width));
        output_.Commit(tile_.first, k, depth, tile_.width);
      });
    }
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      if (careful_[lane]) CarefulMap<kKind>(lane, segment);
    }
  }

 private:
  // Beyond it the exponent of a maximum is not exact, and careful-inl.h takes over.
  static constexpr Real kMaxMagnitude = logsum::ExpConstants<Real>::kMaxScaleInput;
  static constexpr std::int64_t kBlockBytes = 16384;  // three operands' blocks fit in L1 and L2
  static constexpr std::size_t kScratchBytes =
      3 * Arena::BytesFor<std::byte>(kBlockBytes) + 18 * Arena::BytesFor<double>(kMaxTileWidth);

  Real* Take(bool present) {
    return present ? scope_.Take<Real>(kBlockBytes / sizeof(Real)) : nullptr;
  }

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

  void PadParams(Real* values) const {
    std::fill(values + tile_.width, values + PaddedWidth(), Real(0));
  }

  // body(first reduced index, depth) for the blocks of a segment.
  template <class Body>
  void ForEachBlock(Segment segment, const Body& body) const {
    for (std::int64_t k = segment.begin; k < segment.end; k += depth_) {
      body(k, std::min(depth_, segment.end - k));
    }
  }

  Block<const Real> ReadGrad(std::int64_t kept, std::int64_t k, std::int64_t depth,
                             std::int64_t width) const {
    if (plan_.Has(kOutputGrad)) return grad_.Read(kept, k, depth, width, Real(0));
    return {zeros_, 0};
  }

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
      const auto x = input_.Read(tile_.first, k, depth, tile_.width,
                                 -std::numeric_limits<Real>::infinity());
      AddLaneBlock(d, x.data, x.row_stride, depth, width_, block_max_, max_, hi_, lo_);
    });
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
    return ExpScaled<DD>(dd, LoadAsDouble(dd, params_.exponent + lane))(x);
  }

  // (max, hi + lo) to (max, rest): from units of 2^N to units of e^max.
  void FinishSums() {
    for (std::int64_t i = 0; i < PaddedWidth(); i += Lanes()) {
      hn::Store(ExponentOf(d, hn::Load(d, max_ + i)), d, params_.exponent + i);
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

  double Shares(std::int64_t lane) const {
    return lse_[lane] == kInfinity
               ? CountInfinite(input_, tile_.first + lane, {0, plan_.space.num_reduced})
               : 1.0;
  }

  template <MapKind kKind>
  double CarefulGradSum(std::int64_t lane, Segment segment) const {
    const double shares = Shares(lane);
    double sum = 0;
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) {
      const std::int64_t kept = tile_.first + lane;
      const Real* const x = input_.Read(kept, k, depth, 1, Real(0)).data;
      const Real* const g = grad_.Read(kept, k, depth, 1, Real(0)).data;
      for (std::int64_t i = 0; i < depth; ++i) {
        const double p = CarefulProbability(x[i], lse_[lane], shares);
        if constexpr (kKind == MapKind::softmax_backward) {
          if (p != 0) sum += p * g[i];
        } else {
          if (x[i] != -kInfinity) sum += g[i];
        }
      }
    });
    return sum;
  }

  template <MapKind kKind>
  double CarefulElement(double x, double g, std::int64_t lane, double shares) const {
    const double p = CarefulProbability(x, lse_[lane], shares);
    const double addend = addend_[lane];
    if constexpr (kKind == MapKind::softmax) return p;
    if constexpr (kKind == MapKind::log_softmax) {
      if (lse_[lane] == kInfinity) return std::log(p);
      return x == -kInfinity ? x : x - lse_[lane];
    }
    if constexpr (kKind == MapKind::logsumexp_backward) return p == 0 ? 0 : p * addend;
    if constexpr (kKind == MapKind::softmax_backward) return p == 0 ? 0 : p * (g + addend);
    if constexpr (kKind == MapKind::log_softmax_backward) {
      if (x == -kInfinity) return 0;
      return p == 0 ? g : g + p * addend;
    }
  }

  template <MapKind kKind>
  void CarefulMap(std::int64_t lane, Segment segment) const {
    const double shares = Shares(lane);
    const std::int64_t kept = tile_.first + lane;
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) {
      const Real* const x = input_.Read(kept, k, depth, 1, Real(0)).data;
      const bool has_grad = kReadsGrad<kKind> && plan_.Has(kOutputGrad);
      const Real* const g = has_grad ? grad_.Read(kept, k, depth, 1, Real(0)).data : nullptr;
      Real* const y = output_.Open(kept, k, depth, 1).data;
      for (std::int64_t i = 0; i < depth; ++i) {
        y[i] = static_cast<Real>(
            CarefulElement<kKind>(x[i], has_grad ? g[i] : 0.0, lane, shares));
      }
      output_.Commit(kept, k, depth, 1);
    });
  }

  static constexpr Real zeros_[kBlockBytes / sizeof(Real)] = {};

  const Plan& plan_;
  const Tile tile_;
  const bool by_rows_;
  const std::int64_t width_, depth_;
  Arena::Scope scope_;
  const BlockAccess<Real> input_, output_, grad_;
  Real *max_, *hi_, *lo_, *block_max_;
  SliceParams<Real> params_;
  double *partial_max_, *rest_, *log_sum_, *lse_, *addend_;
  bool* careful_;
};

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
