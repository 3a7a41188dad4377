// What a cell of the backward pass works in.
#if defined(LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "attention/backward_plan.hpp"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/score.hpp"
#include "attention/score_gradient.hpp"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

#ifndef BKEYS
#define BKEYS 128
#endif
#ifndef BBYTES
#define BBYTES 384
#endif
// Keys of a tile.
inline constexpr int kKeys = BKEYS;
static_assert(kKeys <= kTileKeys);

// Rows staged and summed by a block of queries.
inline constexpr std::int64_t kMostBlockQueries = 256, kFewestBlockQueries = 64;

// Queries of a block: their rows, as rows and as columns, and their sums stay in the second-level
// cache beside those of a tile's keys.
template <class Real>
HWY_INLINE std::int64_t BlockQueries(const Problem& problem) {
  constexpr std::int64_t kBytes = BBYTES << 10;
  const std::int64_t dims = std::max<std::int64_t>(problem.dim + problem.value_dim, 1);
  const std::int64_t rows = kBytes / static_cast<std::int64_t>(2 * dims * sizeof(Real));
  return std::clamp(rows / kFewestBlockQueries * kFewestBlockQueries, kFewestBlockQueries,
                    kMostBlockQueries);
}

// Arrays in one piece of memory, one after another; without memory, only their size.
class Carve {
 public:
  explicit Carve(std::byte* memory) : memory_(memory) {}

  template <class T>
  T* Take(std::int64_t count) {
    T* const array = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + 127) / 128 * 128;
    return array;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  std::int64_t bytes_ = 0;
};

template <class Real>
struct CellMemory {
  std::int64_t stride = 0, value_stride = 0;    // of rows of q, k and of v, dO
  std::int64_t columns = 0, value_columns = 0;  // of these, whole vectors
  std::int64_t block_queries = 0;

  // A block of queries: q (scaled) and dO, as rows and as columns of panels; their statistics; dq
  // as a plain sum and compensated.
  Real *q_rows, *q_columns, *grad_rows, *grad_columns;
  Real *lse, *delta, *share;
  Real *dq, *dq_high, *dq_low;
  std::uint8_t* special_lanes;  // bit 0: q is not finite, bit 1: dO is not, bit 2: the row is not
  // A tile of keys, and the sums of its rows.
  Real *k_rows, *v_rows, *dk, *dv;
  std::uint8_t* special_keys;  // bit 0: k is not finite, bit 1: v is not
  // The sums of a group of keys.
  Real *dk_high, *dk_low, *dv_high, *dv_low;
  // A tile.
  Real *scores, *grads, *before, *offsets, *transposed, *row, *other_row, *score_scratch;
  std::int16_t* special_rows;

  CellMemory(const Problem& problem, std::int64_t group_keys, std::int64_t score_elements,
             Carve carve)
      : stride(RowStride<Real>(problem.dim)),
        value_stride(RowStride<Real>(problem.value_dim)),
        columns(WholeVectors(problem.dim)),
        value_columns(WholeVectors(problem.value_dim)),
        block_queries(BlockQueries<Real>(problem)) {
    const auto take = [&](std::int64_t count) { return carve.Take<Real>(count); };
    q_rows = take(block_queries * stride);
    q_columns = take(block_queries * problem.dim);
    grad_rows = take(block_queries * value_stride);
    grad_columns = take(block_queries * problem.value_dim);
    lse = take(block_queries);
    delta = take(block_queries);
    share = take(block_queries);
    dq = take(block_queries * stride);
    dq_high = take(block_queries * stride);
    dq_low = take(block_queries * stride);
    special_lanes = carve.Take<std::uint8_t>(block_queries);
    k_rows = take(kKeys * stride);
    v_rows = take(kKeys * value_stride);
    dk = take(kKeys * stride);
    dv = take(kKeys * value_stride);
    special_keys = carve.Take<std::uint8_t>(kKeys);
    dk_high = take(group_keys * stride);
    dk_low = take(group_keys * stride);
    dv_high = take(group_keys * value_stride);
    dv_low = take(group_keys * value_stride);
    constexpr std::int64_t kTile = std::int64_t{kKeys} * kTileQueries;
    scores = take(kTile);
    grads = take(kTile);
    before = take(kTile);
    offsets = take(kTile);
    transposed = take(kTile);
    row = take(std::max(stride, value_stride));
    other_row = take(std::max(stride, value_stride));
    score_scratch = take(score_elements);
    special_rows = carve.Take<std::int16_t>(kMostBlockQueries);
    bytes = carve.bytes();
  }

  std::int64_t bytes = 0;

 private:
  static std::int64_t WholeVectors(std::int64_t dim) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    return (dim + lanes - 1) / lanes * lanes;
  }
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
