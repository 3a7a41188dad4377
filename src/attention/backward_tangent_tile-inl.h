// From the scores of a tile, the products dO v, and the tangents of both to what is multiplied
// then.
#if defined(LOGSUM_ATTENTION_BACKWARD_TANGENT_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_TANGENT_TILE_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_TANGENT_TILE_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_TANGENT_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "attention/backward_tile-inl.h"
#include "attention/tile.hpp"
#include "core/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The statistics of a tile's rows.
template <class Real>
struct TileRows {
  const Real *lse, *share, *delta, *lse_tangent, *delta_tangent;
};

// scores become the tangents of p; grads, which hold dO v, the gradients of scores; grad_tangents,
// which hold the tangents of dO v, those of the gradients. A pair of p = 0 has none of them,
// whatever the rest is. offsets, which may be null, are the scores'. kGrads: whether there are
// grads.
template <bool kGrads, class Real>
HWY_NOINLINE void WeighTangents(int keys, const TileRows<Real>& rows,
                                const Real* HWY_RESTRICT offsets,
                                const Real* HWY_RESTRICT score_tangents, Real* HWY_RESTRICT scores,
                                Real* HWY_RESTRICT grads, Real* HWY_RESTRICT grad_tangents) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const V zero = hn::Zero(d);
  for (int lane = 0; lane < kTileQueries; lane += lanes) {
    const V less = hn::Load(d, rows.lse + lane), factor = hn::Load(d, rows.share + lane);
    const V less_tangent = hn::Load(d, rows.lse_tangent + lane);
    const V mean = hn::Load(d, rows.delta + lane);
    const V mean_tangent = hn::Load(d, rows.delta_tangent + lane);
    for (int at = lane; at < keys * kTileQueries; at += kTileQueries) {
      V score = hn::Load(d, scores + at);
      if (offsets != nullptr) score = Offset<Real>(score, hn::Load(d, offsets + at));
      const V x = logsum::HWY_NAMESPACE::AtMost(d, zero, hn::Sub(score, less));
      const V p = hn::Mul(logsum::HWY_NAMESPACE::ExpNonPositive(d, x), factor);
      const auto is_out = hn::Eq(p, zero);
      const V moved = hn::Mul(p, hn::Sub(hn::Load(d, score_tangents + at), less_tangent));
      hn::Store(hn::IfThenZeroElse(is_out, moved), d, scores + at);
      if constexpr (kGrads) {
        const V grad = hn::Sub(hn::Load(d, grads + at), mean);
        const V tangent = hn::Mul(p, hn::Sub(hn::Load(d, grad_tangents + at), mean_tangent));
        hn::Store(hn::IfThenZeroElse(is_out, hn::Mul(p, grad)), d, grads + at);
        hn::Store(hn::IfThenZeroElse(is_out, hn::MulAdd(moved, grad, tangent)), d,
                  grad_tangents + at);
      }
    }
  }
}

// Gradients of capped scores and their tangents become those of the scores. With b = capped / cap,
// the derivative 1 - b^2 moves by -2 b / cap times the tangent of the capped score.
template <class Real>
HWY_NOINLINE void PullCapTangent(int keys, Real cap, const Real* HWY_RESTRICT capped,
                                 const Real* HWY_RESTRICT capped_tangents, Real* HWY_RESTRICT grads,
                                 Real* HWY_RESTRICT grad_tangents) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto inverse = hn::Set(d, 1 / cap), twice = hn::Set(d, -2 / cap);
  const auto one = hn::Set(d, Real{1}), zero = hn::Zero(d);
  for (int at = 0; at < keys * kTileQueries; at += lanes) {
    const auto bent = hn::Mul(hn::Load(d, capped + at), inverse);
    const auto slope = hn::NegMulAdd(bent, bent, one);
    const auto moved = hn::Mul(hn::Mul(twice, bent), hn::Load(d, capped_tangents + at));
    const auto grad = hn::Load(d, grads + at), tangent = hn::Load(d, grad_tangents + at);
    // A zero stays one beside a NaN.
    const auto is_still = hn::Eq(grad, zero);
    const auto bending = hn::IfThenZeroElse(is_still, hn::Mul(grad, moved));
    const auto pulled = hn::IfThenZeroElse(hn::Eq(tangent, zero), hn::Mul(tangent, slope));
    hn::Store(hn::IfThenZeroElse(is_still, hn::Mul(grad, slope)), d, grads + at);
    hn::Store(hn::Add(pulled, bending), d, grad_tangents + at);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
