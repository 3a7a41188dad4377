// Tiles of few queries, whose time is that of reading keys and values once: these are read where
// they lie, along rows.
#if defined(LOGSUM_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_DECODE_INL_H_
#undef LOGSUM_ATTENTION_DECODE_INL_H_
#else
#define LOGSUM_ATTENTION_DECODE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/tile.hpp"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::ProductGroup;
using gemm::HWY_NAMESPACE::Step;

// scores[j * kTileQueries + i] = q[i] . k[j], dim a multiple of a vector. Chains have dim / 4
// additions in as many lanes as there are, so ForwardPlan bounds dim.
template <class Real>
void ScoresByRows(const Real* HWY_RESTRICT k, std::int64_t key_stride, int keys,
                  const Real* HWY_RESTRICT q, std::int64_t query_stride, int queries,
                  std::int64_t dim, Real* HWY_RESTRICT scores) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (int j = 0; j < keys; ++j, k += key_stride) {
    for (int i = 0; i < queries; ++i) {
      const Real* const query = q + i * query_stride;
      auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
      std::int64_t c = 0;
      for (; c + 4 * lanes <= dim; c += 4 * lanes) {
        const Real* const at = query + c;
        sum0 = hn::MulAdd(hn::LoadU(d, k + c), hn::Load(d, at), sum0);
        sum1 = hn::MulAdd(hn::LoadU(d, k + c + lanes), hn::Load(d, at + lanes), sum1);
        sum2 = hn::MulAdd(hn::LoadU(d, k + c + 2 * lanes), hn::Load(d, at + 2 * lanes), sum2);
        sum3 = hn::MulAdd(hn::LoadU(d, k + c + 3 * lanes), hn::Load(d, at + 3 * lanes), sum3);
      }
      for (; c < dim; c += lanes) {
        sum0 = hn::MulAdd(hn::LoadU(d, k + c), hn::Load(d, query + c), sum0);
      }
      const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
      scores[j * kTileQueries + i] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }
}

// out[i, :] (+)= sum over j of p[j * kTileQueries + i] v[j, :], dim a multiple of a vector.
template <class Real>
void ValuesByRows(const Real* HWY_RESTRICT p, int keys, int queries, const Real* HWY_RESTRICT v,
                  std::int64_t stride, std::int64_t dim, Real* HWY_RESTRICT out,
                  std::int64_t out_stride, bool accumulate) {
  constexpr int kWide = 8;  // as much of a row as sums fit into registers
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
  for (int i = 0; i < queries; ++i, ++p, out += out_stride) {
    const auto strip = [&](auto width, std::int64_t c) HWY_ATTR {
      ProductGroup<1, width>(p, Step<1>(), Step<kTileQueries>(), v + c, stride, std::int64_t{keys},
                             out + c, out_stride, accumulate);
    };
    std::int64_t c = 0;
    for (; c + kWide * lanes <= dim; c += kWide * lanes) strip(Step<kWide>(), c);
    for (; c + 2 * lanes <= dim; c += 2 * lanes) strip(Step<2>(), c);
    for (; c < dim; c += lanes) strip(Step<1>(), c);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
