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

// An excluded pair's score may be NaN: it is replaced, not added to.
template <class Real>
void AddOffsets(const Real* HWY_RESTRICT offsets, int keys, Real* HWY_RESTRICT scores) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const auto excluded = hn::Set(d, -std::numeric_limits<Real>::infinity());
  for (int at = 0; at < keys * kTileQueries; at += lanes) {
    const auto offset = hn::Load(d, offsets + at);
    const auto sum = hn::Add(hn::Load(d, scores + at), offset);
    hn::Store(hn::IfThenElse(hn::Eq(offset, excluded), excluded, sum), d, scores + at);
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
