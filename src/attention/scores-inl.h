// What follows the product of keys and queries: softcap, score formula, bias and exclusion, in this
// order.
#if defined(LOGSUM_ATTENTION_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_SCORES_INL_H_
#undef LOGSUM_ATTENTION_SCORES_INL_H_
#else
#define LOGSUM_ATTENTION_SCORES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "attention/problem.hpp"
#include "attention/score.hpp"
#include "attention/tile.hpp"
#include "core/hyperbolic-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
void CapScores(Real cap, int keys, Real* HWY_RESTRICT scores) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const auto limit = hn::Set(d, cap), inverse = hn::Set(d, Real{1} / cap);
  for (int at = 0; at < keys * kTileQueries; at += lanes) {
    const auto x = hn::Mul(hn::Load(d, scores + at), inverse);
    hn::Store(hn::Mul(limit, logsum::HWY_NAMESPACE::Tanh(d, x)), d, scores + at);
  }
}

// -inf, from either side, excludes a pair whatever the other is: a score may be NaN, a bias +inf.
template <class Real>
HWY_INLINE hn::Vec<hn::ScalableTag<Real>> Offset(hn::Vec<hn::ScalableTag<Real>> score,
                                                 hn::Vec<hn::ScalableTag<Real>> offset) {
  const hn::ScalableTag<Real> d;
  const auto none = hn::Set(d, -std::numeric_limits<Real>::infinity());
  const auto sum = hn::IfThenElse(hn::Eq(offset, none), none, hn::Add(score, offset));
  return hn::IfThenElse(hn::Eq(score, none), none, sum);
}

template <class Real>
void AddOffsets(const Real* HWY_RESTRICT offsets, int keys, Real* HWY_RESTRICT scores) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  for (int at = 0; at < keys * kTileQueries; at += lanes) {
    const auto sum = Offset<Real>(hn::Load(d, scores + at), hn::Load(d, offsets + at));
    hn::Store(sum, d, scores + at);
  }
}

// offsets: null if there are none.
template <class Real>
HWY_INLINE void FinishScores(const Problem& problem, const TilePlace& place, const Real* offsets,
                             Real* scores, Real* scratch) {
  if (problem.softcap != 0) CapScores(static_cast<Real>(problem.softcap), place.keys, scores);
  if (problem.score != nullptr) EvaluateScore(problem, place, scores, scratch);
  if (offsets != nullptr) AddOffsets(offsets, place.keys, scores);
}

inline std::int64_t FormulaScratch(const Problem& problem) {
  return problem.score == nullptr ? 0 : problem.score->ScratchElements();
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
