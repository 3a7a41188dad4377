// The running softmax of a panel's queries, which lie in lanes: a reference near the maximum of the
// scores so far, and the sum of exponentials relative to it.
//
// The reference follows the maximum only when that is more than kSlack above it, so that sums are
// seldom scaled again; exponentials stay below e^kSlack.
#if defined(LOGSUM_ATTENTION_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_SOFTMAX_INL_H_
#undef LOGSUM_ATTENTION_SOFTMAX_INL_H_
#else
#define LOGSUM_ATTENTION_SOFTMAX_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "attention/tile.hpp"
#include "core/exp-inl.h"
#include "core/two_sum-inl.h"
#include "gemm/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::Unrolled;

// Within the domain of ExpNonPositive.
inline constexpr int kSlack = 8;
// Additions of a chain (docs/numerics.md).
inline constexpr int kChain = 32;

// Sums of values near the largest number overflow where their means do not. With references this
// much above the maximum sums are smaller by 2^-63, and what is flushed is as small.
template <class Real>
inline constexpr Real kMargin = Real{44};

template <class Real>
struct RowState {
  alignas(128) Real reference[kTileQueries];  // -inf: no score yet
  alignas(128) Real high[kTileQueries], low[kTileQueries];

  void Clear() {
    std::fill_n(reference, kTileQueries, -std::numeric_limits<Real>::infinity());
    std::fill_n(high, kTileQueries, Real{0});
    std::fill_n(low, kTileQueries, Real{0});
  }
};

// Vectors that a loop handles side by side.
inline constexpr int kAbreast = 2;

// Maxima down the lanes of kAbreast vectors. x86 returns the second operand beside a NaN, which
// then shows in the exponential; elsewhere the maximum is NaN, and no harm done either.
template <int kWidth, class Real>
HWY_INLINE void MaximumOf(const Real* HWY_RESTRICT scores, int keys,
                          hn::Vec<hn::ScalableTag<Real>> (&top)[kAbreast]) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto none = hn::Set(d, -std::numeric_limits<Real>::infinity());
  hn::Vec<decltype(d)> other[kAbreast];
  Unrolled<kWidth>([&](auto v) HWY_ATTR { top[v] = other[v] = none; });
  int j = 0;
  for (; j + 2 <= keys; j += 2, scores += 2 * kTileQueries) {
    Unrolled<kWidth>([&](auto v) HWY_ATTR {
      top[v] = hn::Max(hn::Load(d, scores + v * lanes), top[v]);
      other[v] = hn::Max(hn::Load(d, scores + kTileQueries + v * lanes), other[v]);
    });
  }
  if (j < keys) {
    Unrolled<kWidth>([&](auto v)
                         HWY_ATTR { top[v] = hn::Max(hn::Load(d, scores + v * lanes), top[v]); });
  }
  Unrolled<kWidth>([&](auto v) HWY_ATTR { top[v] = hn::Max(top[v], other[v]); });
}

// Moves references that the tile's scores leave more than kSlack behind, to `margin` above their
// maximum. Returns whether one
// moved; `factors` has then what sums are to be multiplied by, and the state's are.
template <class Real>
HWY_INLINE bool RaiseReferences(const Real* HWY_RESTRICT scores, int keys, int queries, Real margin,
                                RowState<Real>& state, Real* HWY_RESTRICT factors) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  bool any = false;
  for (int at = 0; at < queries; at += kAbreast * lanes) {
    V top[kAbreast];
    const int width = queries - at > lanes ? kAbreast : 1;
    if (width == 1) {
      MaximumOf<1>(scores + at, keys, top);
    } else {
      MaximumOf<kAbreast>(scores + at, keys, top);
    }
    for (int v = 0; v < width; ++v) {
      const int lane = at + v * lanes;
      const V old = hn::Load(d, state.reference + lane);
      const auto moves = hn::Gt(top[v], hn::Add(old, hn::Set(d, Real{kSlack} - margin)));
      if (hn::AllFalse(d, moves)) {
        hn::Store(hn::Set(d, Real{1}), d, factors + lane);
        continue;
      }
      any = true;
      top[v] = hn::Add(top[v], hn::Set(d, margin));
      const V factor =
          hn::IfThenElse(moves, logsum::HWY_NAMESPACE::ExpNonPositive(d, hn::Sub(old, top[v])),
                         hn::Set(d, Real{1}));
      hn::Store(factor, d, factors + lane);
      hn::Store(hn::IfThenElse(moves, top[v], old), d, state.reference + lane);
      hn::Store(hn::Mul(factor, hn::Load(d, state.high + lane)), d, state.high + lane);
      hn::Store(hn::Mul(factor, hn::Load(d, state.low + lane)), d, state.low + lane);
    }
  }
  return any;
}

// scores become e^(score - reference), and their sums are added. kInfinite: some reference is +inf;
// there the scores of +inf are 1 and all others 0.
template <int kWidth, bool kInfinite, class Real>
HWY_INLINE void ExponentialsAt(Real* HWY_RESTRICT scores, int keys, int at, RowState<Real>& state) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  V reference[kWidth], total[kWidth];
  Unrolled<kWidth>([&](auto v) HWY_ATTR {
    const V r = hn::Load(d, state.reference + at + v * lanes);
    const auto none = hn::Eq(r, hn::Set(d, -std::numeric_limits<Real>::infinity()));
    reference[v] = hn::IfThenZeroElse(none, r);  // or -inf less -inf would be NaN
    total[v] = hn::Zero(d);
  });
  for (int begin = 0; begin < keys; begin += kChain) {
    V sum[kWidth];
    Unrolled<kWidth>([&](auto v) HWY_ATTR { sum[v] = hn::Zero(d); });
    const Real* const end = scores + (std::min(begin + kChain, keys) - begin) * kTileQueries;
    for (; scores != end; scores += kTileQueries) {
      Unrolled<kWidth>([&](auto v) HWY_ATTR {
        const V s = hn::Load(d, scores + at + v * lanes);
        V x = hn::Sub(s, reference[v]);
        if constexpr (kInfinite) x = hn::IfThenZeroElse(hn::Eq(s, reference[v]), x);
        const V e = logsum::HWY_NAMESPACE::ExpNonPositive(d, x);
        hn::Store(e, d, scores + at + v * lanes);
        sum[v] = hn::Add(sum[v], e);
      });
    }
    Unrolled<kWidth>([&](auto v) HWY_ATTR { total[v] = hn::Add(total[v], sum[v]); });
  }
  Unrolled<kWidth>([&](auto v) HWY_ATTR {
    const int lane = at + v * lanes;
    V high = hn::Load(d, state.high + lane), low = hn::Load(d, state.low + lane);
    logsum::HWY_NAMESPACE::Accumulate(high, low, total[v]);
    hn::Store(high, d, state.high + lane);
    hn::Store(low, d, state.low + lane);
  });
}

template <class Real>
HWY_INLINE void Exponentials(Real* HWY_RESTRICT scores, int keys, int queries,
                             RowState<Real>& state) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const auto infinity = hn::Set(d, std::numeric_limits<Real>::infinity());
  for (int at = 0; at < queries; at += kAbreast * lanes) {
    auto top = hn::Load(d, state.reference + at);
    for (int v = 1; v < kAbreast; ++v) {
      top = hn::Max(top, hn::Load(d, state.reference + at + v * lanes));
    }
    if (!hn::AllFalse(d, hn::Eq(top, infinity))) {
      ExponentialsAt<kAbreast, true>(scores, keys, at, state);
    } else if (queries - at > lanes) {
      ExponentialsAt<kAbreast, false>(scores, keys, at, state);
    } else {
      ExponentialsAt<1, false>(scores, keys, at, state);
    }
  }
}

// Rows of sums times their factors; a factor of 0 leaves nothing, infinities neither.
template <class Real>
HWY_INLINE void ScaleSums(const Real* HWY_RESTRICT factors, int rows, std::int64_t stride,
                          Real* HWY_RESTRICT sums) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (int row = 0; row < rows; ++row) {
    const Real factor = factors[row];
    if (factor == Real{1}) continue;
    const auto scale = hn::Set(d, factor);
    const auto none = hn::Eq(scale, hn::Zero(d));
    for (std::int64_t c = row * stride; c < (row + 1) * stride; c += lanes) {
      hn::Store(hn::IfThenZeroElse(none, hn::Mul(scale, hn::Load(d, sums + c))), d, sums + c);
    }
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
