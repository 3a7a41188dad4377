// Transposition of a small matrix in L1, by 128-bit blocks.
#if defined(LOGSUM_CORE_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_TRANSPOSE_INL_H_
#undef LOGSUM_CORE_TRANSPOSE_INL_H_
#else
#define LOGSUM_CORE_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE void TransposeBlock(const float* HWY_RESTRICT from, std::int64_t from_step,
                               float* HWY_RESTRICT to, std::int64_t to_step) {
  const hn::Full128<float> d;
  const hn::Full128<double> pairs;
  const auto row0 = hn::LoadU(d, from), row1 = hn::LoadU(d, from + from_step);
  const auto row2 = hn::LoadU(d, from + 2 * from_step), row3 = hn::LoadU(d, from + 3 * from_step);
  // Columns 0 and 1 (2 and 3) of two rows, side by side as pairs.
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * to_step);
}

HWY_INLINE void TransposeBlock(const double* HWY_RESTRICT from, std::int64_t from_step,
                               double* HWY_RESTRICT to, std::int64_t to_step) {
  const hn::Full128<double> d;
  const auto row0 = hn::LoadU(d, from), row1 = hn::LoadU(d, from + from_step);
  hn::StoreU(hn::InterleaveLower(d, row0, row1), d, to);
  hn::StoreU(hn::InterleaveUpper(d, row0, row1), d, to + to_step);
}

// to[column * to_step + row] = from[row * from_step + column]. No part of memory is touched twice.
template <class T>
HWY_INLINE void Transpose(const T* HWY_RESTRICT from, std::int64_t from_step, std::int64_t rows,
                          std::int64_t columns, T* HWY_RESTRICT to, std::int64_t to_step) {
  constexpr std::int64_t kBlock = 16 / sizeof(T);
  const std::int64_t whole_rows = rows / kBlock * kBlock;
  const std::int64_t whole_columns = columns / kBlock * kBlock;
  for (std::int64_t r = 0; r < whole_rows; r += kBlock) {
    for (std::int64_t c = 0; c < whole_columns; c += kBlock) {
      TransposeBlock(from + r * from_step + c, from_step, to + c * to_step + r, to_step);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
      to[c * to_step + r] = from[r * from_step + c];
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
