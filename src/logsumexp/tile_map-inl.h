// The elements of a tile, once its slices are reduced: softmax, log_softmax and all gradients.
#if defined(LOGSUM_LOGSUMEXP_TILE_MAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_TILE_MAP_INL_H_
#undef LOGSUM_LOGSUMEXP_TILE_MAP_INL_H_
#else
#define LOGSUM_LOGSUMEXP_TILE_MAP_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/compensated.hpp"
#include "hwy/highway.h"
#include "logsumexp/map-inl.h"
#include "logsumexp/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

template <class Real>
class TileMap : public TileSum<Real> {
  using Base = TileSum<Real>;
  using Base::by_rows_;
  using Base::ClearSums;
  using Base::d;
  using Base::depth_;
  using Base::exponent_;
  using Base::ForEachBlock;
  using Base::ForEachDoubleVector;
  using Base::hi_;
  using Base::input_;
  using Base::kBlock;
  using Base::kMaxMagnitude;
  using Base::Lanes;
  using Base::lo_;
  using Base::LoadAsDouble;
  using Base::log_sum_;
  using Base::lse_;
  using Base::PaddedWidth;
  using Base::partial_max_;
  using Base::PartialAt;
  using Base::plan_;
  using Base::rest_;
  using Base::ScaledExp;
  using Base::scope_;
  using Base::StoreAsReal;
  using Base::tile_;
  using Base::width_;

 public:
  TileMap(const Plan& plan, std::int64_t tile)
      : Base(plan, tile),
        output_(plan, kOutput, scope_.template Take<Real>(kBlock)),
        grad_(plan, kOutputGrad, scope_.template Take<Real>(kBlock)) {
    params_ = {.exponent = exponent_,
               .factor = scope_.template Take<Real>(kMaxTileWidth),
               .top = scope_.template Take<Real>(kMaxTileWidth),
               .addend = scope_.template Take<Real>(kMaxTileWidth)};
    addend_ = scope_.template Take<double>(kMaxTileWidth);
    slice_max_ = scope_.template Take<double>(kMaxTileWidth);
    slice_rest_ = scope_.template Take<double>(kMaxTileWidth);
    careful_ = scope_.template Take<bool>(kMaxTileWidth);
  }

  // Parameters of softmax and log_softmax, from the partial results and the lse.
  void PrepareForward() {
    PrepareTop(partial_max_);
    std::copy_n(partial_max_, tile_.width, slice_max_);
    std::copy_n(rest_, tile_.width, slice_rest_);
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
    PrepareTop(lse_);
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      if (!careful_[lane]) continue;
      const Partial slice = CarefulReduce(input_, tile_.first + lane, {0, plan_.space.num_reduced});
      slice_max_[lane] = slice.max;
      slice_rest_[lane] = slice.rest;
    }
    ForEachDoubleVector([&](auto dd, std::int64_t i) HWY_ATTR {
      const auto scaled = ScaledExp(dd, i, LoadAsDouble(dd, params_.top + i));
      StoreAsReal(dd, hn::Div(hn::Set(dd, 1.0), scaled), params_.factor + i);
    });
  }

  // The sums over a segment that a softmax gradient needs, in rest_.
  template <MapKind kKind>
  void SumGrad(Segment segment) {
    ClearSums();
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
      rest_[lane] = careful_[lane]
                        ? CarefulGradSum<kKind>(lane, segment)
                        : static_cast<double>(hi_[lane]) + static_cast<double>(lo_[lane]);
      partial_max_[lane] = 0;
    }
  }
  void AddSegmentSums() {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      CompensatedSum sum;
      for (std::int64_t s = 0; s < plan_.num_segments; ++s) sum.Add(PartialAt(s, lane).rest);
      rest_[lane] = sum.Value();
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
  // The largest x of each slice, its exponent, and which slices are left to the careful code.
  void PrepareTop(const double* tops) {
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      careful_[lane] = !(std::abs(tops[lane]) <= kMaxMagnitude);
      params_.top[lane] = careful_[lane] ? Real(0) : static_cast<Real>(tops[lane]);
    }
    PadParams(params_.top);
    for (std::int64_t i = 0; i < PaddedWidth(); i += Lanes()) {
      hn::Store(ExponentOf(d, hn::Load(d, params_.top + i)), d, exponent_ + i);
    }
  }

  void PadParams(Real* values) const {
    std::fill(values + tile_.width, values + PaddedWidth(), Real(0));
  }

  Block<const Real> ReadGrad(std::int64_t kept, std::int64_t k, std::int64_t depth,
                             std::int64_t width) const {
    if (plan_.Has(kOutputGrad)) return grad_.Read(kept, k, depth, width, Real(0));
    return {zeros_, 0};
  }

  Partial Slice(std::int64_t lane) const { return {slice_max_[lane], slice_rest_[lane]}; }

  template <MapKind kKind>
  double CarefulGradSum(std::int64_t lane, Segment segment) const {
    const Partial slice = Slice(lane);
    CompensatedSum sum;
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) {
      const std::int64_t kept = tile_.first + lane;
      const Real* const x = input_.Read(kept, k, depth, 1, Real(0)).data;
      const Real* const g = grad_.Read(kept, k, depth, 1, Real(0)).data;
      for (std::int64_t i = 0; i < depth; ++i) {
        const double p = CarefulProbability(x[i], slice);
        if constexpr (kKind == MapKind::softmax_backward) {
          if (p != 0) sum.Add(p * g[i]);
        } else {
          if (x[i] != -kInfinity) sum.Add(g[i]);
        }
      }
    });
    return sum.Value();
  }

  template <MapKind kKind>
  double CarefulElement(double x, double g, std::int64_t lane, const Partial& slice) const {
    const double p = CarefulProbability(x, slice);
    const double addend = addend_[lane];
    if constexpr (kKind == MapKind::softmax) return p;
    if constexpr (kKind == MapKind::log_softmax) {
      return std::isfinite(slice.max) ? (x - slice.max) - std::log1p(slice.rest) : std::log(p);
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
    const Partial slice = Slice(lane);
    const std::int64_t kept = tile_.first + lane;
    ForEachBlock(segment, [&](std::int64_t k, std::int64_t depth) {
      const Real* const x = input_.Read(kept, k, depth, 1, Real(0)).data;
      const bool has_grad = kReadsGrad<kKind> && plan_.Has(kOutputGrad);
      const Real* const g = has_grad ? grad_.Read(kept, k, depth, 1, Real(0)).data : nullptr;
      Real* const y = output_.Open(kept, k, depth, 1).data;
      for (std::int64_t i = 0; i < depth; ++i) {
        y[i] = static_cast<Real>(CarefulElement<kKind>(x[i], has_grad ? g[i] : 0.0, lane, slice));
      }
      output_.Commit(kept, k, depth, 1);
    });
  }

  static constexpr Real zeros_[kBlock] = {};

  const BlockAccess<Real> output_, grad_;
  SliceParams<Real> params_;
  double* addend_;
  double *slice_max_, *slice_rest_;  // the partial results of careful slices, taken as a whole
  bool* careful_;
};

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
