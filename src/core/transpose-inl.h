// Transposition of a small matrix in L1, by 128-bit blocks, or by 8 x 8 elements where they are a
// vector each.
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

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
// Columns 0 to 3 of four rows in the lower block of each vector, columns 4 to 7 in the upper.
struct FourRows {
  using V = hn::Vec<hn::Full256<float>>;
  V column0, column1, column2, column3;

  HWY_INLINE FourRows(const float* HWY_RESTRICT from, std::int64_t from_step) {
    const hn::Full256<float> d;
    const hn::Full256<double> pairs;
    const V row0 = hn::LoadU(d, from), row1 = hn::LoadU(d, from + from_step);
    const V row2 = hn::LoadU(d, from + 2 * from_step), row3 = hn::LoadU(d, from + 3 * from_step);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
    column0 = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
    column1 = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
    column2 = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
    column3 = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
  }
};

HWY_INLINE void TransposeEight(const float* HWY_RESTRICT from, std::int64_t from_step,
                               float* HWY_RESTRICT to, std::int64_t to_step) {
  const hn::Full256<float> d;
  const FourRows first(from, from_step), second(from + 4 * from_step, from_step);
  hn::StoreU(hn::ConcatLowerLower(d, second.column0, first.column0), d, to);
  hn::StoreU(hn::ConcatLowerLower(d, second.column1, first.column1), d, to + to_step);
  hn::StoreU(hn::ConcatLowerLower(d, second.column2, first.column2), d, to + 2 * to_step);
  hn::StoreU(hn::ConcatLowerLower(d, second.column3, first.column3), d, to + 3 * to_step);
  hn::StoreU(hn::ConcatUpperUpper(d, second.column0, first.column0), d, to + 4 * to_step);
  hn::StoreU(hn::ConcatUpperUpper(d, second.column1, first.column1), d, to + 5 * to_step);
  hn::StoreU(hn::ConcatUpperUpper(d, second.column2, first.column2), d, to + 6 * to_step);
  hn::StoreU(hn::ConcatUpperUpper(d, second.column3, first.column3), d, to + 7 * to_step);
}
#endif

#if HWY_TARGET == HWY_AVX3
// Four vectors of four 128-bit blocks, as a 4 x 4 matrix of blocks, transposed.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void TransposeFourBlocks(D d, V& a, V& b, V& c, V& e) {
  const V low02 = hn::ConcatLowerLower(d, c, a), low13 = hn::ConcatLowerLower(d, e, b);
  const V high02 = hn::ConcatUpperUpper(d, c, a), high13 = hn::ConcatUpperUpper(d, e, b);
  a = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(low13), low02);
  b = hn::OddEvenBlocks(low13, hn::SwapAdjacentBlocks(low02));
  c = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(high13), high02);
  e = hn::OddEvenBlocks(high13, hn::SwapAdjacentBlocks(high02));
}

HWY_INLINE void TransposeEight(const double* HWY_RESTRICT from, std::int64_t from_step,
                               double* HWY_RESTRICT to, std::int64_t to_step) {
  const hn::Full512<double> d;
  const auto row = [&](std::int64_t r) HWY_ATTR { return hn::LoadU(d, from + r * from_step); };
  const auto row0 = row(0), row1 = row(1), row2 = row(2), row3 = row(3);
  const auto row4 = row(4), row5 = row(5), row6 = row(6), row7 = row(7);
  // Even columns of two rows side by side in a block, and odd ones.
  auto even0 = hn::InterleaveLower(d, row0, row1), odd0 = hn::InterleaveUpper(d, row0, row1);
  auto even1 = hn::InterleaveLower(d, row2, row3), odd1 = hn::InterleaveUpper(d, row2, row3);
  auto even2 = hn::InterleaveLower(d, row4, row5), odd2 = hn::InterleaveUpper(d, row4, row5);
  auto even3 = hn::InterleaveLower(d, row6, row7), odd3 = hn::InterleaveUpper(d, row6, row7);
  TransposeFourBlocks(d, even0, even1, even2, even3);
  TransposeFourBlocks(d, odd0, odd1, odd2, odd3);
  hn::StoreU(even0, d, to);
  hn::StoreU(odd0, d, to + to_step);
  hn::StoreU(even1, d, to + 2 * to_step);
  hn::StoreU(odd1, d, to + 3 * to_step);
  hn::StoreU(even2, d, to + 4 * to_step);
  hn::StoreU(odd2, d, to + 5 * to_step);
  hn::StoreU(even3, d, to + 6 * to_step);
  hn::StoreU(odd3, d, to + 7 * to_step);
}
#endif

// Whether blocks of 8 x 8 are transposed in one go.
template <class T>
inline constexpr bool kEights =
#if HWY_TARGET == HWY_AVX3
    true;
#elif HWY_TARGET == HWY_AVX2
    sizeof(T) == sizeof(float);
#else
    false;
#endif

// to[column * to_step + row] = from[row * from_step + column]. No part of memory is touched twice.
template <class T>
HWY_INLINE void Transpose(const T* HWY_RESTRICT from, std::int64_t from_step, std::int64_t rows,
                          std::int64_t columns, T* HWY_RESTRICT to, std::int64_t to_step) {
  std::int64_t eight_rows = 0, eight_columns = 0;
  if constexpr (kEights<T>) {
    eight_rows = rows / 8 * 8;
    eight_columns = columns / 8 * 8;
    for (std::int64_t r = 0; r < eight_rows; r += 8) {
      for (std::int64_t c = 0; c < eight_columns; c += 8) {
        TransposeEight(from + r * from_step + c, from_step, to + c * to_step + r, to_step);
      }
    }
  }
  constexpr std::int64_t kBlock = 16 / sizeof(T);
  const std::int64_t whole_rows = rows / kBlock * kBlock;
  const std::int64_t whole_columns = columns / kBlock * kBlock;
  // Rows that are done from end to end need no second look.
  const std::int64_t first = eight_columns == columns ? eight_rows : 0;
  for (std::int64_t r = first; r < whole_rows; r += kBlock) {
    for (std::int64_t c = r < eight_rows ? eight_columns : 0; c < whole_columns; c += kBlock) {
      TransposeBlock(from + r * from_step + c, from_step, to + c * to_step + r, to_step);
    }
  }
  for (std::int64_t r = whole_columns == columns ? whole_rows : 0; r < rows; ++r) {
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
