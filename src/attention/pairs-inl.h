// Operands that came as bfloat16, staged for the products that multiply such as they are
// (gemm/product_bf16.hpp): rows, or columns of panels, whose elements are pairs of components. A
// component that a pair lacks is zero.
#if defined(LOGSUM_ATTENTION_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_PAIRS_INL_H_
#undef LOGSUM_ATTENTION_PAIRS_INL_H_
#else
#define LOGSUM_ATTENTION_PAIRS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "attention/problem.hpp"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"
#include "gemm/product-inl.h"
#include "gemm/product_bf16.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// Whether kernels of this target may come to multiply pairs.
template <class Real>
inline constexpr bool kMultipliesPairs =
    LOGSUM_COMPILES_BF16_PRODUCTS && HWY_TARGET == HWY_AVX3 && std::is_same_v<Real, float>;

// Whether products of two operands of a call are products of pairs. q, k, v and the gradient of out
// have one dtype.
template <class Real>
HWY_INLINE bool MultipliesPairs(const Problem& problem) {
  return kMultipliesPairs<Real> && problem.q.dtype == DType::bf16 && gemm::HasBf16Products();
}

// A factor of scores as a power of two, by which bfloat16 numbers are multiplied without rounding,
// and the rest, in [1, 2) but for its sign, for their products. These then leave the range of float
// where scores do, not before.
struct SplitScale {
  float power, rest;

  explicit SplitScale(double scale) : power(static_cast<float>(scale)), rest(1) {
    if (!std::isnormal(power)) return;  // zero, or no row is finite
    int exponent = 0;
    rest = 2 * std::frexp(power, &exponent);
    power = std::ldexp(1.0f, exponent - 1);
  }
};

// Components [begin, begin + count) of a row, times a power of two. Whether all are finite.
HWY_INLINE bool ReadPairs(const View<4>& array, std::int64_t batch, std::int64_t head,
                          std::int64_t row, std::int64_t begin, std::int64_t count, float power,
                          gemm::Bf16Pair* to) {
  constexpr std::int64_t kRun = 64;
  bool is_finite = true;
  const std::int64_t step = array.strides[3];
  const BFloat16* from = RowOf<BFloat16>(array, batch, head, row) + begin * step;
  for (std::int64_t c = 0; c < count; c += kRun) {
    const std::int64_t run = std::min(kRun, count - c);
    std::uint16_t parts[kRun];
    std::uint16_t largest = 0;
    const auto read = [&](std::int64_t stride) HWY_ATTR {
      for (std::int64_t i = 0; i < run; ++i) {
        const float x = ToFloat(from[(c + i) * stride]) * power;
        parts[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
        largest = std::max(largest, static_cast<std::uint16_t>(parts[i] & 0x7fff));
      }
    };
    step == 1 ? read(1) : read(step);
    is_finite &= largest < 0x7f80;
    if (run % 2 != 0) parts[run] = 0;
    std::memcpy(to + c / 2, parts, gemm::Bf16Pairs(run) * sizeof(gemm::Bf16Pair));
  }
  return is_finite;
}

// Rows [begin, begin + count) of a head as rows of pairs, `stride` pairs apart, finite or not;
// notes which are not.
template <class Real>
HWY_INLINE void StagePairs(const View<4>& array, std::int64_t batch, std::int64_t head,
                           std::int64_t begin, int count, std::int64_t dim, Real* rows,
                           std::int64_t stride, SpecialRows& special) {
  special.count = 0;
  if constexpr (kMultipliesPairs<Real>) {
    for (int r = 0; r < count; ++r) {
      if (ReadPairs(array, batch, head, begin + r, 0, dim, 1, rows + r * stride)) continue;
      special.rows[special.count++] = static_cast<std::int16_t>(r);
    }
  }
}

// Rows as columns, times a power of two: pair d of row r at columns[d * kTileQueries + r], for one
// panel of kTileQueries rows, those from `count` on zeros.
template <class Real>
HWY_INLINE void CopyPairColumns(const View<4>& array, std::int64_t batch, std::int64_t head,
                                std::int64_t begin, int count, std::int64_t dim, float power,
                                Real* columns) {
  static_assert(kTileQueries == gemm::kBf16Columns);
  if constexpr (kMultipliesPairs<Real>) {
    constexpr std::int64_t kRun = 64;
    alignas(128) gemm::Bf16Pair rows[kTileQueries * kRun];
    std::fill(rows + count * kRun, rows + kTileQueries * kRun, gemm::Bf16Pair{0});
    for (std::int64_t d = 0; d < dim; d += 2 * kRun) {
      const std::int64_t run = std::min(2 * kRun, dim - d);
      for (int r = 0; r < count; ++r) {
        ReadPairs(array, batch, head, begin + r, d, run, power, rows + r * kRun);
      }
      logsum::HWY_NAMESPACE::Transpose(rows, kRun, std::int64_t{kTileQueries}, gemm::Bf16Pairs(run),
                                       columns + d / 2 * kTileQueries, std::int64_t{kTileQueries});
    }
  }
}

// A tile: rows of keys times columns of queries, from `lane` of these on. pairs: both are such, and
// the products are multiplied by `factor`.
template <class Real>
HWY_INLINE void MultiplyColumns(bool pairs, const Real* rows, std::int64_t stride, int keys,
                                const Real* columns, std::int64_t lane, std::int64_t dim,
                                float factor, Real* tile) {
  if constexpr (kMultipliesPairs<Real>) {
    if (pairs) {
      const std::int64_t depth = gemm::Bf16Pairs(dim);
      gemm::ProductBf16(rows, stride, keys, columns + lane * depth, depth, factor, tile);
      return;
    }
  }
  constexpr std::int64_t kLanes = kTileQueries;
  gemm::HWY_NAMESPACE::Product(rows, stride, gemm::HWY_NAMESPACE::Step<1>(), std::int64_t{keys},
                               columns + lane * dim, kLanes, kLanes, dim, tile, kLanes, false);
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
