// The motion of a bias, added to that of a tile's scores.
#if defined(LOGSUM_ATTENTION_TANGENT_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_BIAS_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_BIAS_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_BIAS_INL_H_
#endif

#include <hwy/highway.h>

#include "attention/offsets-inl.h"
#include "attention/problem.hpp"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// scratch: another tile.
template <class Real>
HWY_NOINLINE void AddBiasTangent(const View<4>& bias, const TilePlace& place,
                                 Real* HWY_RESTRICT scratch, Real* HWY_RESTRICT moves) {
  SpreadBias(bias, place, scratch);
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int at = 0; at < place.keys * kTileQueries; at += lanes) {
    hn::Store(hn::Add(hn::Load(d, moves + at), hn::Load(d, scratch + at)), d, moves + at);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
