// Products and softmax of a few queries, whose time is that of reading keys and values once: these
// are read where they lie, along rows. A query's scores are a row with keys in lanes, row r at
// r * kDecodeKeys: with queries in lanes most of them would be idle.
#if defined(LOGSUM_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_DECODE_INL_H_
#undef LOGSUM_ATTENTION_DECODE_INL_H_
#else
#define LOGSUM_ATTENTION_DECODE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "attention/softmax-inl.h"
#include "attention/tile.hpp"
#include "core/exp-inl.h"
#include "core/load-inl.h"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::kManyRegisters;
using gemm::HWY_NAMESPACE::Step;
using gemm::HWY_NAMESPACE::StoreSums;
using gemm::HWY_NAMESPACE::Unrolled;
using gemm::HWY_NAMESPACE::WithRows;
using logsum::HWY_NAMESPACE::LoadWide;

// Keys that are multiplied before their values are. Each time reading turns from one to the other
// it stops for a moment: 1.15 times as long as reading with 128 of them, 1.06 with 512.
inline constexpr int kDecodeKeys = 4 * kTileKeys;

// Sums of a dot product. Their chains have dim / kDotSums additions in as many lanes as there are,
// so ForwardPlan bounds dim.
inline constexpr int kDotSums = 4;

// Keys whose dot products are summed across lanes together: a block's worth.
template <class Real>
inline constexpr int kBlockKeys = 16 / sizeof(Real);

// The sums of a vector's blocks.
template <class D, class V = hn::Vec<D>>
HWY_INLINE auto SumOfBlocks([[maybe_unused]] D d, V x) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) > 16) {
    const hn::Half<D> half;
    return SumOfBlocks(half, hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x)));
  } else {
    return x;
  }
}

// sums[n] = the sum of terms[n]'s lanes; a third of what it takes one by one.
HWY_INLINE void StoreSumsOfLanes(const hn::Vec<hn::ScalableTag<float>> (&terms)[4], float* sums) {
  const hn::ScalableTag<float> d;
  const hn::Repartition<double, decltype(d)> pairs;
  const auto add = [&](auto a, auto b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto low = add(terms[0], terms[1]), high = add(terms[2], terms[3]);
  const auto blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, low, high)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, low, high)));
  hn::StoreU(SumOfBlocks(d, blocks), hn::Full128<float>(), sums);
}
HWY_INLINE void StoreSumsOfLanes(const hn::Vec<hn::ScalableTag<double>> (&terms)[2], double* sums) {
  const hn::ScalableTag<double> d;
  const auto blocks = hn::Add(hn::InterleaveLower(d, terms[0], terms[1]),
                              hn::InterleaveUpper(d, terms[0], terms[1]));
  hn::StoreU(SumOfBlocks(d, blocks), hn::Full128<double>(), sums);
}

// scores[r * kDecodeKeys + j] = q[r] . k[j] for kRows queries and a block of keys, the first `keys`
// of which are there; dim a multiple of a vector.
template <int kRows, class Real, class Storage>
HWY_INLINE void DotsOfKeys(const Storage* HWY_RESTRICT k, std::int64_t key_stride, int keys,
                           const Real* HWY_RESTRICT q, std::int64_t query_stride, std::int64_t dim,
                           Real* HWY_RESTRICT scores) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V dots[kRows][kBlockKeys<Real>];
  Unrolled<kBlockKeys<Real>>([&](auto j) HWY_ATTR {
    const Storage* const key = k + std::min<int>(j, keys - 1) * key_stride;
    V sum[kRows * kDotSums];
    Unrolled<kRows * kDotSums>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
    const auto add = [&](auto v, std::int64_t c) HWY_ATTR {
      const V x = LoadWide<Real>(key + c);
      Unrolled<kRows>([&](auto row) HWY_ATTR {
        V& s = sum[row * kDotSums + v];
        s = hn::MulAdd(x, hn::Load(d, q + row * query_stride + c), s);
      });
    };
    std::int64_t c = 0;
    for (; c + kDotSums * lanes <= dim; c += kDotSums * lanes) {
      Unrolled<kDotSums>([&](auto v) HWY_ATTR { add(v, c + v * lanes); });
    }
    for (; c < dim; c += lanes) add(Step<0>(), c);
    Unrolled<kRows>([&](auto row) HWY_ATTR {
      const V* const s = sum + row * kDotSums;
      dots[row][j] = hn::Add(hn::Add(s[0], s[1]), hn::Add(s[2], s[3]));
    });
  });
  Unrolled<kRows>([&](auto row)
                      HWY_ATTR { StoreSumsOfLanes(dots[row], scores + row * kDecodeKeys); });
}

// For all; room for a block's worth of scores in each row.
template <class Real, class Storage>
void ScoresByRows(const Storage* HWY_RESTRICT k, std::int64_t key_stride, int keys,
                  const Real* HWY_RESTRICT q, std::int64_t query_stride, int rows, std::int64_t dim,
                  Real* HWY_RESTRICT scores) {
  constexpr int kRows = 2;  // that a key is widened for
  for (int j = 0; j < keys; j += kBlockKeys<Real>, k += kBlockKeys<Real> * key_stride) {
    for (int row = 0; row < rows; row += kRows) {
      WithRows<kRows>(std::min(kRows, rows - row), row, [&](auto count, std::int64_t at) HWY_ATTR {
        DotsOfKeys<count>(k, key_stride, keys - j, q + at * query_stride, query_stride, dim,
                          scores + at * kDecodeKeys + j);
      });
    }
  }
}

// out[r, :] (+)= sum over j of p[r * kDecodeKeys + j] v[j, :] for kRows queries, a chain of keys
// and kWidth vectors.
template <int kRows, int kWidth, class Real, class Storage>
HWY_INLINE void AddChain(const Real* HWY_RESTRICT p, int keys, const Storage* HWY_RESTRICT v,
                         std::int64_t stride, Real* HWY_RESTRICT out, std::int64_t out_stride,
                         bool accumulate) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V sum[kRows * kWidth];
  Unrolled<kRows * kWidth>([&](auto i) HWY_ATTR { sum[i] = hn::Zero(d); });
  for (int j = 0; j < keys; ++j, v += stride) {
    V share[kRows];
    Unrolled<kRows>([&](auto row) HWY_ATTR { share[row] = hn::Set(d, p[row * kDecodeKeys + j]); });
    Unrolled<kWidth>([&](auto c) HWY_ATTR {
      const V value = LoadWide<Real>(v + c * lanes);
      Unrolled<kRows>([&](auto row) HWY_ATTR {
        V& s = sum[row * kWidth + c];
        s = hn::MulAdd(share[row], value, s);
      });
    });
  }
  StoreSums<kRows, kWidth>(sum, out, out_stride, accumulate);
}

// The same for all; dim a multiple of a vector.
template <class Real, class Storage>
void ValuesByRows(const Real* HWY_RESTRICT p, int keys, int rows, const Storage* HWY_RESTRICT v,
                  std::int64_t stride, std::int64_t dim, Real* HWY_RESTRICT out,
                  std::int64_t out_stride, bool accumulate) {
  constexpr int kRows = 2, kWide = kManyRegisters ? 8 : 4;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
  // Further rows and strips of a chain of keys find it in the first-level cache.
  for (int begin = 0; begin < keys; begin += kChain) {
    const int count = std::min(kChain, keys - begin);
    const bool adds = accumulate || begin > 0;
    for (int row = 0; row < rows; row += kRows) {
      WithRows<kRows>(std::min(kRows, rows - row), row, [&](auto group, std::int64_t at) HWY_ATTR {
        const auto strip = [&](auto width, std::int64_t c) HWY_ATTR {
          AddChain<group, width>(p + at * kDecodeKeys + begin, count, v + begin * stride + c,
                                 stride, out + at * out_stride + c, out_stride, adds);
        };
        std::int64_t c = 0;
        for (; c + kWide * lanes <= dim; c += kWide * lanes) strip(Step<kWide>(), c);
        for (; c + 4 * lanes <= dim; c += 4 * lanes) strip(Step<4>(), c);
        for (; c < dim; c += lanes) strip(Step<1>(), c);
      });
    }
  }
}

// The maximum of a row of scores, whole vectors. NaN as in MaximumOf.
template <class Real>
HWY_INLINE Real MaximumOfRow(const Real* HWY_RESTRICT scores, int keys) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  auto top = hn::Set(d, -std::numeric_limits<Real>::infinity());
  for (int j = 0; j < keys; j += lanes) top = hn::Max(hn::Load(d, scores + j), top);
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

// Up to kTileKeys of a row's scores become e^(score - reference); returns their sum. Chains have
// half of these vectors, kChain at most.
template <class Real>
HWY_INLINE Real ExponentialsOfRow(Real* HWY_RESTRICT scores, int keys, Real reference) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const bool is_none = reference == -std::numeric_limits<Real>::infinity();
  const V r = hn::Set(d, is_none ? Real{0} : reference);  // or -inf less -inf would be NaN
  const auto exponentials = [&](Real* at) HWY_ATTR {
    const V s = hn::Load(d, at);
    const V x = hn::IfThenZeroElse(hn::Eq(s, r), hn::Sub(s, r));  // of +inf and +inf too
    const V e = logsum::HWY_NAMESPACE::ExpNonPositive(d, x);
    hn::Store(e, d, at);
    return e;
  };
  V even = hn::Zero(d), odd = even;
  int j = 0;
  for (; j + 2 * lanes <= keys; j += 2 * lanes) {
    even = hn::Add(even, exponentials(scores + j));
    odd = hn::Add(odd, exponentials(scores + j + lanes));
  }
  if (j < keys) even = hn::Add(even, exponentials(scores + j));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
