// What is computed for every element once the reduction of its slice is known: probabilities, their
// logarithms, and the gradients of all of them.
//
// p = e^x 2^-N c: the exponential of x by its own exponent, N and c = 2^N e^-lse once for each
// slice, so that no difference x - lse is rounded.
#if defined(LOGSUM_LOGSUMEXP_MAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_MAP_INL_H_
#undef LOGSUM_LOGSUMEXP_MAP_INL_H_
#else
#define LOGSUM_LOGSUMEXP_MAP_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/exp-inl.h"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"
#include "logsumexp/kernels.hpp"
#include "logsumexp/sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

// What a slice's elements have in common; arrays over the lanes of a tile.
template <class Real>
struct SliceParams {
  Real* exponent;  // N
  Real* factor;    // c
  Real* top;       // x is not taken above this: the maximum, or a stored (rounded) lse
  Real* addend;    // log_softmax: log(1 + rest). Gradients: see AddendOf
};

// A vector's worth of SliceParams: of one slice, or of as many slices as lanes.
template <class D>
struct ParamVectors {
  using V = hn::Vec<D>;
  V exponent, factor, top, addend;
};

template <bool kPerLane, class D>
HWY_INLINE ParamVectors<D> LoadParams(D d, const SliceParams<hn::TFromD<D>>& params,
                                      std::int64_t lane) {
  const auto load = [&](const hn::TFromD<D>* values) HWY_ATTR {
    if constexpr (kPerLane) {
      return hn::LoadU(d, values + lane);
    } else {
      return hn::Set(d, values[lane]);
    }
  };
  return {load(params.exponent), load(params.factor), load(params.top), load(params.addend)};
}

template <MapKind kKind>
inline constexpr bool kReadsGrad =
    kKind == MapKind::softmax_backward || kKind == MapKind::log_softmax_backward;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Probability(const ExpScaled<D>& exp, const ParamVectors<D>& params, V x) {
  return hn::Mul(exp(logsum::HWY_NAMESPACE::AtMost(D(), params.top, x)), params.factor);
}

// A zero of the sum takes no part in a gradient, whatever it would be multiplied with (0 times inf
// or NaN): p = 0, or, where the logarithm of an underflowed p still counts, x = -inf. (Written
// with Eq because Highway's Ne is false for NaN, which must stay.)
template <MapKind kKind, class V>
HWY_INLINE V IfPartOf(V x, V p, V value) {
  const hn::DFromV<V> d;
  if constexpr (kKind == MapKind::log_softmax_backward) {
    const V zero = hn::Set(d, -std::numeric_limits<hn::TFromD<decltype(d)>>::infinity());
    return hn::IfThenZeroElse(hn::Eq(x, zero), value);
  } else {
    return hn::IfThenZeroElse(hn::Eq(p, hn::Zero(d)), value);
  }
}

// y for a vector of elements x, g the incoming gradient.
template <MapKind kKind, class D, class V = hn::Vec<D>>
HWY_INLINE V MapVector(const ExpScaled<D>& exp, const ParamVectors<D>& params, V x, V g) {
  if constexpr (kKind == MapKind::log_softmax) {
    return hn::Sub(hn::Sub(x, params.top), params.addend);
  } else {
    const V p = Probability(exp, params, x);
    if constexpr (kKind == MapKind::softmax) return p;
    if constexpr (kKind == MapKind::logsumexp_backward) {
      return IfPartOf<kKind>(x, p, hn::Mul(p, params.addend));
    }
    if constexpr (kKind == MapKind::softmax_backward) {
      return IfPartOf<kKind>(x, p, hn::Mul(p, hn::Add(g, params.addend)));
    }
    if constexpr (kKind == MapKind::log_softmax_backward) {
      return IfPartOf<kKind>(x, p, hn::MulAdd(p, params.addend, g));
    }
  }
}

// y[0, count) from x and g, all elements of slice `lane`.
template <MapKind kKind, class D, class T = hn::TFromD<D>>
HWY_INLINE void MapRow(D d, const SliceParams<T>& params, std::int64_t lane, std::int64_t count,
                       const T* HWY_RESTRICT x, const T* HWY_RESTRICT g, T* HWY_RESTRICT y) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const ParamVectors<D> values = LoadParams<false>(d, params, lane);
  const ExpScaled<D> exp(d, values.exponent);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const V grad = kReadsGrad<kKind> ? hn::LoadU(d, g + i) : hn::Zero(d);
    hn::StoreU(MapVector<kKind>(exp, values, hn::LoadU(d, x + i), grad), d, y + i);
  }
  if (i < count) {
    HWY_ALIGN T tail[hn::MaxLanes(D())];
    const V grad = kReadsGrad<kKind> ? LoadTail(d, g + i, count - i) : hn::Zero(d);
    hn::Store(MapVector<kKind>(exp, values, LoadTail(d, x + i, count - i), grad), d, tail);
    for (std::int64_t j = 0; i + j < count; ++j) y[i + j] = tail[j];
  }
}

// The same for a block of rows of lanes, each lane a slice; a whole number of vectors wide. Row
// after row, as memory has them: writing down columns costs more than loading the parameters again.
template <MapKind kKind, class D, class T = hn::TFromD<D>>
HWY_INLINE void MapLanes(D d, const SliceParams<T>& params, std::int64_t depth, std::int64_t width,
                         Block<const T> x, Block<const T> g, Block<T> y) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t k = 0; k < depth; ++k) {
    const T* const x_row = x.data + k * x.row_stride;
    const T* const g_row = kReadsGrad<kKind> ? g.data + k * g.row_stride : nullptr;
    T* const y_row = y.data + k * y.row_stride;
    for (std::int64_t i = 0; i < width; i += lanes) {
      const ParamVectors<D> values = LoadParams<true>(d, params, i);
      const ExpScaled<D> exp(d, values.exponent);
      const V grad = kReadsGrad<kKind> ? hn::LoadU(d, g_row + i) : hn::Zero(d);
      hn::StoreU(MapVector<kKind>(exp, values, hn::LoadU(d, x_row + i), grad), d, y_row + i);
    }
  }
}

// The term that an element adds to the sum a gradient needs first: p g, or g.
template <MapKind kKind, class D, class V = hn::Vec<D>>
HWY_INLINE V GradTerm(const ExpScaled<D>& exp, const ParamVectors<D>& params, V x, V g) {
  if constexpr (kKind == MapKind::softmax_backward) {
    const V p = Probability(exp, params, x);
    return IfPartOf<kKind>(x, p, hn::Mul(p, g));
  } else {
    return IfPartOf<kKind>(x, x, g);
  }
}

// Adds the sum of GradTerm over a block of one slice, at most RowBlock(d) long, to hi + lo.
template <MapKind kKind, class D, class T = hn::TFromD<D>>
HWY_INLINE void AddGradRow(D d, const SliceParams<T>& params, std::int64_t lane, std::int64_t count,
                           const T* HWY_RESTRICT x, const T* HWY_RESTRICT g, T* hi, T* lo) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const ParamVectors<D> values = LoadParams<false>(d, params, lane);
  const ExpScaled<D> exp(d, values.exponent);
  V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  const auto term = [&](std::int64_t i) HWY_ATTR {
    return GradTerm<kKind>(exp, values, hn::LoadU(d, x + i), hn::LoadU(d, g + i));
  };
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    sum0 = hn::Add(sum0, term(i));
    sum1 = hn::Add(sum1, term(i + lanes));
    sum2 = hn::Add(sum2, term(i + 2 * lanes));
    sum3 = hn::Add(sum3, term(i + 3 * lanes));
  }
  for (; i + lanes <= count; i += lanes) sum0 = hn::Add(sum0, term(i));
  T tail = 0;
  if (i < count) {
    HWY_ALIGN T terms[hn::MaxLanes(D())];
    hn::Store(
        GradTerm<kKind>(exp, values, LoadTail(d, x + i, count - i), LoadTail(d, g + i, count - i)),
        d, terms);
    for (std::int64_t j = 0; i + j < count; ++j) tail += terms[j];
  }
  const V total = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  const hn::CappedTag<T, 1> d1;
  auto high = hn::Set(d1, *hi), low = hn::Set(d1, *lo);
  Accumulate(high, low, hn::Set(d1, hn::GetLane(hn::SumOfLanes(d, total))));
  Accumulate(high, low, hn::Set(d1, tail));
  *hi = hn::GetLane(high);
  *lo = hn::GetLane(low);
}

// The same for a block of at most kLaneDepth rows of lanes; hi and lo are arrays over the lanes.
template <MapKind kKind, class D, class T = hn::TFromD<D>>
HWY_INLINE void AddGradLanes(D d, const SliceParams<T>& params, std::int64_t depth,
                             std::int64_t width, Block<const T> x, Block<const T> g,
                             T* HWY_RESTRICT hi, T* HWY_RESTRICT lo) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < width; i += lanes) {
    const ParamVectors<D> values = LoadParams<true>(d, params, i);
    const ExpScaled<D> exp(d, values.exponent);
    V sum = hn::Zero(d);
    for (std::int64_t k = 0; k < depth; ++k) {
      sum = hn::Add(sum, GradTerm<kKind>(exp, values, hn::LoadU(d, x.data + k * x.row_stride + i),
                                         hn::LoadU(d, g.data + k * g.row_stride + i)));
    }
    V high = hn::Load(d, hi + i), low = hn::Load(d, lo + i);
    Accumulate(high, low, sum);
    hn::Store(high, d, hi + i);
    hn::Store(low, d, lo + i);
  }
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
