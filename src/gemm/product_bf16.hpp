// Products of bfloat16 operands by the CPU's instruction for them, VDPBF16PS: twice as many terms a
// cycle as multiply-adds of float32 have. A product of two bfloat16 numbers is exact in float32,
// and the sums are float32's.
//
// One kernel for one instruction set, so it is compiled with that alone, not once for each of
// Highway's targets; whoever calls it is compiled for AVX-512.
#pragma once
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#define LOGSUM_COMPILES_BF16_PRODUCTS 1
#else
#define LOGSUM_COMPILES_BF16_PRODUCTS 0
#endif

namespace logsum::gemm {

// Two bfloat16 numbers, the first in the lower half. A float's bits, which are only ever moved.
using Bf16Pair = float;

constexpr std::int64_t Bf16Pairs(std::int64_t count) { return (count + 1) / 2; }

// Of the result and the right operand.
inline constexpr std::int64_t kBf16Columns = 32;

// Whether they are compiled in and this CPU has the instruction.
bool HasBf16Products();

// out[r, c] = factor * sum over k < depth of the two products of left[r * row_step + k] and
// right[k, c], where rows of `right` and `out` have kBf16Columns columns and start at 64 bytes.
//
// As in product-inl.h chains are at most 32 additions long, and chunks are added plainly. Where a
// term or a sum is subnormal it counts as zero, whatever the thread's mode is, which is what
// core/float_mode.hpp sets for all others.
void ProductBf16(const Bf16Pair* left, std::int64_t row_step, std::int64_t rows,
                 const Bf16Pair* right, std::int64_t depth, float factor, float* out);

}  // namespace logsum::gemm
