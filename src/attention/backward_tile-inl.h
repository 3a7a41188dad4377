// From the scores of a tile and the products dO v to p and the gradient of the scores.
#if defined(LOGSUM_ATTENTION_BACKWARD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_TILE_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_TILE_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "attention/scores-inl.h"
#include "attention/tile.hpp"
#include "core/exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Gradients of capped scores become those of the scores: times 1 - (capped / cap)^2.
template <class Real>
HWY_NOINLINE void PullCap(int keys, Real cap, const Real* HWY_RESTRICT capped,
                          Real* HWY_RESTRICT grads) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto inverse = hn::Set(d, 1 / cap), one = hn::Set(d, Real{1});
  for (int at = 0; at < keys * kTileQueries; at += lanes) {
    const auto bent = hn::Mul(hn::Load(d, capped + at), inverse);
    const auto grad = hn::Load(d, grads + at);
    // A zero stays one beside a NaN.
    const auto pulled = hn::Mul(grad, hn::NegMulAdd(bent, bent, one));
    hn::Store(hn::IfThenZeroElse(hn::Eq(grad, hn::Zero(d)), pulled), d, grads + at);
  }
}

// scores become p = e^(score - lse) share, and grads, which hold dO v, the gradients p (dO v -
// delta). A pair of p = 0 has none. kGrads: whether there are grads.
template <bool kOffsets, bool kGrads, class Real>
HWY_NOINLINE void Weigh(int keys, const Real* HWY_RESTRICT lse, const Real* HWY_RESTRICT share,
                        const Real* HWY_RESTRICT delta, const Real* HWY_RESTRICT offsets,
                        Real* HWY_RESTRICT scores, Real* HWY_RESTRICT grads) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const V zero = hn::Zero(d);
  for (int lane = 0; lane < kTileQueries; lane += lanes) {
    const V less = hn::Load(d, lse + lane), factor = hn::Load(d, share + lane);
    const V mean = kGrads ? hn::Load(d, delta + lane) : zero;
    for (int at = lane; at < keys * kTileQueries; at += kTileQueries) {
      V score = hn::Load(d, scores + at);
      if constexpr (kOffsets) score = Offset<Real>(score, hn::Load(d, offsets + at));
      // p is at most one: the score may exceed its lse by rounding.
      const V x = logsum::HWY_NAMESPACE::AtMost(d, zero, hn::Sub(score, less));
      const V p = hn::Mul(logsum::HWY_NAMESPACE::ExpNonPositive(d, x), factor);
      hn::Store(p, d, scores + at);
      if constexpr (kGrads) {
        const V grad = hn::Mul(p, hn::Sub(hn::Load(d, grads + at), mean));
        // Beside a product that overflows, 0 must stay.
        hn::Store(kOffsets ? hn::IfThenZeroElse(hn::Eq(p, zero), grad) : grad, d, grads + at);
      }
    }
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
