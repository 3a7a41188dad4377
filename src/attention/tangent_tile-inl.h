// From a tile's scores and their tangents to the weights of values, and the sums of both down its
// lanes.
#if defined(LOGSUM_ATTENTION_TANGENT_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_TILE_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_TILE_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "attention/softmax-inl.h"
#include "attention/tile.hpp"
#include "core/exp-inl.h"
#include "core/two_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What forward mode keeps of the rows of a panel.
//
// p = e^(s - lse) is divided by its own sum in the end, so that what rounding took from a large lse
// does not matter. What all s. of a row have in common cancels in s. - lse.; it is taken off first,
// as far as a reference c knows it, and so are the digits that it would cost.
template <class Real>
struct TangentRows {
  alignas(128) Real lse[kTileQueries];        // 0 if there is no key
  alignas(128) Real reference[kTileQueries];  // c
  alignas(128) Real p_high[kTileQueries], p_low[kTileQueries];
  alignas(128) Real move_high[kTileQueries], move_low[kTileQueries];  // of p (s. - c)
  bool has_reference[kTileQueries];
  bool has_references;  // all have

  void Clear(int queries) {
    for (Real* const values : {lse, reference, p_high, p_low, move_high, move_low}) {
      std::fill_n(values, kTileQueries, Real{0});
    }
    for (int i = 0; i < kTileQueries; ++i) has_reference[i] = i >= queries;
    has_references = false;
  }
};

// visit(at) for each element of kWidth vectors of a tile from lane `lane` on gives what is added to
// high and low: in chains of kChain keys, these plainly, the tile's sum compensated.
template <int kWidth, class Real, class Visit>
HWY_INLINE void SumLanes(int keys, int lane, Real* HWY_RESTRICT high, Real* HWY_RESTRICT low,
                         const Visit& visit) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  V total[kWidth];
  Unrolled<kWidth>([&](auto v) HWY_ATTR { total[v] = hn::Zero(d); });
  for (int begin = 0; begin < keys; begin += kChain) {
    V sum[kWidth];
    Unrolled<kWidth>([&](auto v) HWY_ATTR { sum[v] = hn::Zero(d); });
    const int end = std::min(begin + kChain, keys) * kTileQueries + lane;
    for (int at = begin * kTileQueries + lane; at < end; at += kTileQueries) {
      Unrolled<kWidth>([&](auto v)
                           HWY_ATTR { sum[v] = hn::Add(sum[v], visit(at + v * lanes, v)); });
    }
    Unrolled<kWidth>([&](auto v) HWY_ATTR { total[v] = hn::Add(total[v], sum[v]); });
  }
  Unrolled<kWidth>([&](auto v) HWY_ATTR {
    V to_high = hn::Load(d, high + lane + v * lanes), to_low = hn::Load(d, low + lane + v * lanes);
    logsum::HWY_NAMESPACE::Accumulate(to_high, to_low, total[v]);
    hn::Store(to_high, d, high + lane + v * lanes);
    hn::Store(to_low, d, low + lane + v * lanes);
  });
}

// scores become p, and are added to its sums. Beside an lse of +inf p is 1 where the score is that
// too, else 0.
template <class Real>
HWY_NOINLINE void Shares(int keys, Real* HWY_RESTRICT scores, TangentRows<Real>& rows) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int lane = 0; lane < kTileQueries; lane += kAbreast * lanes) {
    V lse[kAbreast];
    Unrolled<kAbreast>([&](auto v) HWY_ATTR { lse[v] = hn::Load(d, rows.lse + lane + v * lanes); });
    SumLanes<kAbreast>(keys, lane, rows.p_high, rows.p_low, [&](int at, auto v) HWY_ATTR {
      const V s = hn::Load(d, scores + at);
      const V x = hn::IfThenZeroElse(hn::Eq(s, lse[v]), hn::Sub(s, lse[v]));
      // The score may exceed its lse by rounding.
      const V p = logsum::HWY_NAMESPACE::ExpNonPositive(
          d, logsum::HWY_NAMESPACE::AtMost(d, hn::Zero(d), x));
      hn::Store(p, d, scores + at);
      return p;
    });
  }
}

// A reference for rows whose first pairs these are: the mean of their tangents, unless these pairs
// count so little that their mean may be far from the others'.
template <class Real>
HWY_NOINLINE void SetReferences(int keys, const Real* HWY_RESTRICT p,
                                const Real* HWY_RESTRICT moves, TangentRows<Real>& rows) {
  constexpr double kLeastTotal = 0x1p-20;
  rows.has_references = true;
  for (int i = 0; i < kTileQueries; ++i) {
    if (rows.has_reference[i]) continue;
    double total = 0, sum = 0;
    for (int at = i; at < keys * kTileQueries; at += kTileQueries) {
      if (p[at] == Real{0}) continue;
      total += static_cast<double>(p[at]);
      sum += static_cast<double>(p[at]) * static_cast<double>(moves[at]);
    }
    rows.has_reference[i] = total != 0;
    rows.has_references &= total != 0;
    const double mean = sum / total;
    rows.reference[i] = total >= kLeastTotal && std::isfinite(mean) ? static_cast<Real>(mean) : 0;
  }
}

// Tangents of scores become p (s. - c), and are added to its sums. A pair of p = 0 takes no part
// whatever its tangent is.
template <class Real>
HWY_NOINLINE void WeighMoves(int keys, const Real* HWY_RESTRICT p, Real* HWY_RESTRICT moves,
                             TangentRows<Real>& rows) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int lane = 0; lane < kTileQueries; lane += kAbreast * lanes) {
    V c[kAbreast];
    Unrolled<kAbreast>([&](auto v)
                           HWY_ATTR { c[v] = hn::Load(d, rows.reference + lane + v * lanes); });
    SumLanes<kAbreast>(keys, lane, rows.move_high, rows.move_low, [&](int at, auto v) HWY_ATTR {
      const V share = hn::Load(d, p + at);
      const V move = hn::Mul(share, hn::Sub(hn::Load(d, moves + at), c[v]));
      const V weight = hn::IfThenZeroElse(hn::Eq(share, hn::Zero(d)), move);
      hn::Store(weight, d, moves + at);
      return weight;
    });
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
