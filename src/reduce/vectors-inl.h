// Products and squared distances of the vectors of all pairs of a tile.
//
// A tile of results is kept in registers, a few rows by two vectors of columns, while dimensions go
// by: rows are broadcast, columns lie in lanes. Differences are taken as they stand, since
// |x|^2 + |y|^2 - 2 x y would cancel.
//
// Error: chains of at most 32 dimensions, 32 chains plainly, and every 1024 dimensions from there
// by TwoSum: 65 u of the sum of sizes at worst, whatever the dimension.
#if defined(LOGSUM_REDUCE_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_VECTORS_INL_H_
#undef LOGSUM_REDUCE_VECTORS_INL_H_
#else
#define LOGSUM_REDUCE_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/two_sum-inl.h"
#include "gemm/tile-inl.h"
#include "hwy/highway.h"
#include "reduce/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::ForRowGroups;
using gemm::HWY_NAMESPACE::kManyRegisters;
using gemm::HWY_NAMESPACE::Unrolled;

inline constexpr std::int64_t kChainDims = 32;    // in registers
inline constexpr std::int64_t kPlainChains = 32;  // in L1
inline constexpr int kPairRows = kManyRegisters ? 8 : 4;

struct ProductOfPair {
  template <class V>
  HWY_INLINE V operator()(V x, V y, V sum) const {
    return hn::MulAdd(x, y, sum);
  }
};

struct SquareOfPair {
  template <class V>
  HWY_INLINE V operator()(V x, V y, V sum) const {
    const V difference = hn::Sub(x, y);
    return hn::MulAdd(difference, difference, sum);
  }
};

struct NegativeSquareOfPair {
  template <class V>
  HWY_INLINE V operator()(V x, V y, V sum) const {
    const V difference = hn::Sub(x, y);
    return hn::NegMulAdd(difference, difference, sum);
  }
};

// kGroup rows by kWidth vectors of columns; x and y at the group's first row and column.
template <class Term, int kGroup, int kWidth, class Real>
HWY_NOINLINE void PairGroup(const Real* HWY_RESTRICT x, std::ptrdiff_t x_step,
                            const Real* HWY_RESTRICT y, std::ptrdiff_t y_step, std::int64_t dim,
                            Real* HWY_RESTRICT out, std::ptrdiff_t out_row) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int kCount = kGroup * kWidth;
  const std::ptrdiff_t lanes = hn::Lanes(d);
  const Term term;
  const V zero = hn::Zero(d), most = hn::Set(d, std::numeric_limits<Real>::max());
  V sum[kCount], plain[kCount], high[kCount], low[kCount];
  for (std::int64_t from = 0;; from += kChainDims) {
    Unrolled<kCount>([&](auto i) HWY_ATTR { sum[i] = zero; });
    const std::int64_t end = std::min(dim, from + kChainDims);
    for (std::int64_t k = from; k < end; ++k, x += x_step, y += y_step) {
      V column[kWidth];
      Unrolled<kWidth>([&](auto v) HWY_ATTR { column[v] = hn::LoadU(d, y + v * lanes); });
      Unrolled<kGroup>([&](auto r) HWY_ATTR {
        const V row = hn::Set(d, x[r]);
        Unrolled<kWidth>([&](auto v) HWY_ATTR {
          constexpr int i = r * kWidth + v;
          sum[i] = term(row, column[v], sum[i]);
        });
      });
    }
    const std::int64_t chain = from / kChainDims;
    if (chain == 0 && end == dim) break;
    if (chain % kPlainChains == 0) {
      // The block before joins the blocks before that; what overflowed has no lower part.
      Unrolled<kCount>([&](auto i) HWY_ATTR {
        if (chain == 0) {
          high[i] = low[i] = zero;
        } else {
          logsum::HWY_NAMESPACE::Accumulate(high[i], low[i], plain[i]);
          low[i] = hn::IfThenElseZero(hn::Le(hn::Abs(low[i]), most), low[i]);
        }
        plain[i] = sum[i];
      });
    } else {
      Unrolled<kCount>([&](auto i) HWY_ATTR { plain[i] = hn::Add(plain[i], sum[i]); });
    }
    if (end < dim) continue;
    Unrolled<kCount>([&](auto i)
                         HWY_ATTR { sum[i] = hn::Add(high[i], hn::Add(plain[i], low[i])); });
    break;
  }
  Unrolled<kGroup>([&](auto r) HWY_ATTR {
    Unrolled<kWidth>([&](auto v) HWY_ATTR {
      hn::StoreU(sum[r * kWidth + v], d, out + r * out_row + v * lanes);
    });
  });
}

template <class Term, class Real>
void PairTile(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
              const TileSpan& span, const TileValue<Real>& out) {
  const std::int64_t lanes = hn::Lanes(hn::ScalableTag<Real>());
  for (std::int64_t c = 0; c < span.columns; c += 2 * lanes) {
    const int vectors = span.columns - c > lanes ? 2 : 1;
    ForRowGroups<kPairRows>(
        static_cast<int>(span.rows), vectors, 0, [&](auto group, auto width, int row) HWY_ATTR {
          PairGroup<Term, group, width>(x.data + row, x.component, y.data + c, y.component, dim,
                                        out.data + row * out.row + c, out.row);
        });
  }
}

// out = the sum over `dim` components of x y: x of i alone, y of j alone, out per column. Whole
// vectors of y are read and of out written. The components of y should not lie a multiple of 4 KB
// apart: they would share few lines of the first-level cache.
template <class Real>
void DotTile(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
             const TileSpan& span, const TileValue<Real>& out) {
  PairTile<ProductOfPair>(x, y, dim, span, out);
}

// The same for the sum of (x - y)^2.
template <class Real>
void SqDistTile(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
                const TileSpan& span, const TileValue<Real>& out) {
  PairTile<SquareOfPair>(x, y, dim, span, out);
}

// And its negative.
template <class Real>
void NegativeSqDistTile(const TileValue<Real>& x, const TileValue<Real>& y, std::int64_t dim,
                        const TileSpan& span, const TileValue<Real>& out) {
  PairTile<NegativeSquareOfPair>(x, y, dim, span, out);
}

}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
