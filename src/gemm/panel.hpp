// How packed operands lie in memory: what packing writes and the micro-kernels read.
//
// LEFT panel, 1 to kRows rows: chunks of kChunk terms; within a chunk every row is one contiguous
// run. A row-major operand is packed by copying runs, without a transpose, and within a chunk the
// kernels reach row r at a displacement known at compile time. A chunk is also the longest chain of
// additions, so kernels stop at its end anyway. Storage is whole chunks; the padding behind the
// last term is never read.
//
// RIGHT panel, `vectors` SIMD vectors wide: term after term, each a row of the width, so kernels
// read it front to back. Columns that the matrix lacks hold zeros.
//
// Offsets are in elements. Both panels start at kPanelAlign bytes.
#pragma once

#include <cstdint>

namespace logsum::gemm {

// Terms in a chunk, and in a chain of additions; multiply-inl.h says what another number would do.
inline constexpr int kChunk = 32;

inline constexpr int kPanelAlign = 128;

// Depth rounded up to whole chunks.
constexpr std::int64_t PaddedDepth(std::int64_t depth) {
  return (depth + kChunk - 1) / kChunk * kChunk;
}

constexpr std::int64_t LeftSize(int rows, std::int64_t depth) { return rows * PaddedDepth(depth); }

constexpr std::int64_t LeftOffset(int rows, int row, std::int64_t k) {
  return k / kChunk * (rows * kChunk) + row * kChunk + k % kChunk;
}

constexpr std::int64_t RightSize(std::int64_t width, std::int64_t depth) { return width * depth; }

constexpr std::int64_t RightOffset(std::int64_t width, std::int64_t k, std::int64_t column) {
  return k * width + column;
}

}  // namespace logsum::gemm
