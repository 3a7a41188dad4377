#include "gemm/product_bf16.hpp"

#if LOGSUM_COMPILES_BF16_PRODUCTS
#include <immintrin.h>

#include <algorithm>

#include "gemm/panel.hpp"

namespace logsum::gemm {
namespace {

#define LOGSUM_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

// An instruction adds two terms to its chain.
constexpr std::int64_t kChunkPairs = kChunk / 2;

constexpr int kMostRows = 6;  // in registers at a time, with two vectors each

template <int kRows>
LOGSUM_BF16 void ProductGroup(const Bf16Pair* left, std::int64_t row_step, const Bf16Pair* right,
                              std::int64_t depth, float factor, float* out) {
  constexpr int kSums = kRows * 2;
  __m512 total[kSums];
  for (bool first = true;; first = false) {  // at least once: nothing sums to zero
    __m512 sum[kSums];
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = _mm512_setzero_ps();
    const std::int64_t chunk = std::min(kChunkPairs, depth);
    for (std::int64_t k = 0; k < chunk; ++k) {
      __m512 low = _mm512_load_ps(right + k * kBf16Columns);
      __m512 high = _mm512_load_ps(right + k * kBf16Columns + kBf16Columns / 2);
      // Read once, not for each row: the load units are what is short.
      asm("" : "+v"(low), "+v"(high));
#pragma GCC unroll 6
      for (int row = 0; row < kRows; ++row) {
        const auto pair = reinterpret_cast<__m512bh>(_mm512_set1_ps(left[row * row_step + k]));
        __m512* const to = sum + 2 * row;
        to[0] = _mm512_dpbf16_ps(to[0], pair, reinterpret_cast<__m512bh>(low));
        to[1] = _mm512_dpbf16_ps(to[1], pair, reinterpret_cast<__m512bh>(high));
      }
    }
    depth -= chunk;
    left += chunk;
    right += chunk * kBf16Columns;
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) total[i] = first ? sum[i] : _mm512_add_ps(total[i], sum[i]);
    if (depth == 0) break;
  }
  const __m512 scale = _mm512_set1_ps(factor);
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) {
    _mm512_store_ps(out + i * (kBf16Columns / 2), _mm512_mul_ps(total[i], scale));
  }
}

using Group = void (*)(const Bf16Pair*, std::int64_t, const Bf16Pair*, std::int64_t, float, float*);
constexpr Group kGroups[kMostRows] = {ProductGroup<1>, ProductGroup<2>, ProductGroup<3>,
                                      ProductGroup<4>, ProductGroup<5>, ProductGroup<6>};

}  // namespace

bool HasBf16Products() {
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
  return has;
}

void ProductBf16(const Bf16Pair* left, std::int64_t row_step, std::int64_t rows,
                 const Bf16Pair* right, std::int64_t depth, float factor, float* out) {
  while (rows > 0) {
    // No group too small to hide the latency of additions, if it can be helped.
    const bool is_short = rows == kMostRows + 1 || rows == kMostRows + 2;
    const std::int64_t count = is_short ? (rows + 1) / 2 : std::min<std::int64_t>(rows, kMostRows);
    kGroups[count - 1](left, row_step, right, depth, factor, out);
    rows -= count;
    left += count * row_step;
    out += count * kBf16Columns;
  }
}

}  // namespace logsum::gemm
#else
namespace logsum::gemm {

bool HasBf16Products() { return false; }

}  // namespace logsum::gemm
#endif
