// What a cell of the backward pass works in.
#if defined(LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_MEMORY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_plan.hpp"
#include "attention/carve.hpp"
#include "attention/pairs-inl.h"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/score.hpp"
#include "attention/score_gradient.hpp"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"
#include "gemm/product_bf16.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// Keys of a tile: rows of k, v, dk and dv stay in the second-level cache beside a block of queries.
inline constexpr int kKeys = 64;
static_assert(kKeys <= kTileKeys);
// Tiles of keys that are added plainly to dq, 32 chunks of kTileQueries.
inline constexpr int kFold = 32 * kTileQueries / kKeys;

// Queries of a block: their rows, as rows and as columns, stay in the second-level cache. At most
// so many that a chain of its chunks is short.
template <class Real>
HWY_INLINE std::int64_t BlockQueries(const Problem& problem) {
  constexpr std::int64_t kMost = 256, kFewest = 64, kBytes = 512 << 10;
  const std::int64_t dims = std::max<std::int64_t>(problem.dim + problem.value_dim, 1);
  const std::int64_t rows = kBytes / static_cast<std::int64_t>(2 * dims * sizeof(Real));
  return std::clamp(rows / kFewest * kFewest, kFewest, kMost);
}

// Blocks of queries are added plainly to the dk and dv of a cell if they make no longer chain.
template <class Real>
HWY_INLINE bool CompensatesKeys(const Problem& problem, const BackwardPlan& plan) {
  const std::int64_t block = BlockQueries<Real>(problem);
  return (plan.queries.group + block - 1) / block * problem.group > 32;
}

template <class Real>
struct CellMemory {
  std::int64_t stride = 0, value_stride = 0;    // of rows of q, k and of dO
  std::int64_t columns = 0, value_columns = 0;  // of these, whole vectors
  std::int64_t block_queries = 0;
  bool compensates_keys = false;

  // Whether scores and dO v are products of pairs (pairs-inl.h). Their operands are such then:
  // k_left, v_left and columns. q's columns are scaled by a power of two, scores by the rest.
  bool pairs = false;
  SplitScale scale;
  std::int64_t left_stride = 0, value_left_stride = 0;

  // A block of queries: q (scaled) and dO, as rows and as columns of panels; their statistics; dq
  // as a plain sum and compensated.
  Real *q_rows, *q_columns, *grad_rows, *grad_columns;
  Real *lse, *delta, *share;
  Real *dq, *dq_high, *dq_low;
  std::uint8_t* special_lanes;  // bit 0: q is not finite, bit 1: dO is not, bit 2: the row is not
  // The group of keys, staged tile by tile when one first takes part.
  Real *group_k_rows, *group_k_left, *group_v_left;
  std::uint8_t *group_special, *is_staged;
  // A tile of keys, of those, and the sums of its rows. Left operands of the products with columns;
  // k_left is k_rows unless they are pairs.
  Real *k_rows, *k_left, *v_left, *dk, *dv;
  std::uint8_t* special_keys;  // bit 0: k is not finite, bit 1: v is not
  // The sums of a group of keys; low ones only if it compensates them.
  Real *dk_high, *dk_low, *dv_high, *dv_low;
  std::uint8_t* has_tile;  // of its tiles: whether their sums are there
  // A tile.
  Real *scores, *grads, *before, *offsets, *transposed, *row, *other_row, *score_scratch;
  std::int16_t* special_rows;

  // plan: null without cells.
  CellMemory(const Problem& problem, const BackwardPlan* plan, std::int64_t score_elements,
             bool multiplies_pairs, Carve carve)
      : stride(RowStride<Real>(problem.dim)),
        value_stride(RowStride<Real>(problem.value_dim)),
        columns(WholeVectors(problem.dim)),
        value_columns(WholeVectors(problem.value_dim)),
        block_queries(BlockQueries<Real>(problem)),
        pairs(multiplies_pairs),
        scale(problem.scale),
        left_stride(RowStride<Real>(LeftDim(problem.dim))),
        value_left_stride(RowStride<Real>(LeftDim(problem.value_dim))) {
    const auto take = [&](std::int64_t count) { return carve.Take<Real>(count); };
    q_rows = take(block_queries * stride);
    q_columns = take(block_queries * LeftDim(problem.dim));
    grad_rows = take(block_queries * value_stride);
    grad_columns = take(block_queries * LeftDim(problem.value_dim));
    lse = take(block_queries);
    delta = take(block_queries);
    share = take(block_queries);
    dq = take(block_queries * stride);
    dq_high = take(block_queries * stride);
    dq_low = take(block_queries * stride);
    special_lanes = carve.Take<std::uint8_t>(block_queries);
    dk = take(kKeys * stride);
    dv = take(kKeys * value_stride);
    const std::int64_t keys = plan == nullptr ? 0 : plan->keys.group;
    const std::int64_t staged = std::max<std::int64_t>(keys, kKeys);
    group_k_rows = take(staged * stride);
    group_k_left = pairs ? take(staged * left_stride) : group_k_rows;
    group_v_left = take(staged * value_left_stride);
    group_special = carve.Take<std::uint8_t>(staged + kKeys);
    is_staged = carve.Take<std::uint8_t>(staged / kKeys + 1);
    SetTile(0);
    compensates_keys = plan != nullptr && CompensatesKeys<Real>(problem, *plan);
    has_tile = carve.Take<std::uint8_t>(keys / kKeys + 1);
    dk_high = take(keys * stride);
    dv_high = take(keys * value_stride);
    dk_low = compensates_keys ? take(keys * stride) : nullptr;
    dv_low = compensates_keys ? take(keys * value_stride) : nullptr;
    constexpr std::int64_t kTile = std::int64_t{kKeys} * kTileQueries;
    scores = take(kTile);
    grads = take(kTile);
    before = take(kTile);
    offsets = take(kTile);
    transposed = take(kTile);
    row = take(std::max(stride, value_stride));
    other_row = take(std::max(stride, value_stride));
    score_scratch = take(score_elements);
    special_rows = carve.Take<std::int16_t>(std::max<std::int64_t>(block_queries, kKeys));
    bytes = carve.bytes();
  }

  // The tile of keys from row `row` of the group on.
  void SetTile(std::int64_t row) {
    k_rows = group_k_rows + row * stride;
    k_left = group_k_left + row * left_stride;
    v_left = group_v_left + row * value_left_stride;
    special_keys = group_special + row;
  }

  std::int64_t bytes = 0;

 private:
  // Elements of a left operand's row.
  std::int64_t LeftDim(std::int64_t dim) const { return pairs ? gemm::Bf16Pairs(dim) : dim; }
  static std::int64_t WholeVectors(std::int64_t dim) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    return (dim + lanes - 1) / lanes * lanes;
  }
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
