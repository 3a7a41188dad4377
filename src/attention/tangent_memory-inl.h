// What a task of forward mode works in.
#if defined(LOGSUM_ATTENTION_TANGENT_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_MEMORY_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_MEMORY_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_MEMORY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "attention/carve.hpp"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/stage-inl.h"
#include "attention/tangent_kernels.hpp"
#include "attention/tangent_tile-inl.h"
#include "attention/tile.hpp"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Keys of a tile: scores, tangents and offsets stay in the first-level cache.
inline constexpr int kTangentKeys = 64;
static_assert(kTangentKeys <= kTileKeys && kTangentKeys % kChain == 0);
// Tiles that are added plainly, each two chains of kChain keys of two products.
inline constexpr int kTangentFold = 8;

// Sums of values over keys for each query of a block: of kTangentFold tiles plainly, and of these
// compensated.
template <class Real>
class ValueSums {
 public:
  void Take(Carve& carve, std::int64_t panels, std::int64_t stride) {
    size_ = kTileQueries * stride;
    stride_ = stride;
    plain_ = carve.Take<Real>(panels * size_);
    high_ = carve.Take<Real>(panels * size_);
    low_ = carve.Take<Real>(panels * size_);
  }
  void Clear(std::int64_t panel) const {
    std::fill_n(high_ + panel * size_, size_, Real{0});
    std::fill_n(low_ + panel * size_, size_, Real{0});
  }
  Real* Plain(std::int64_t panel) const { return plain_ + panel * size_; }
  void Fold(std::int64_t panel, std::int64_t rows, std::int64_t columns) const {
    gemm::HWY_NAMESPACE::Fold(Plain(panel), rows, columns, stride_,
                              static_cast<const Real*>(nullptr), high_ + panel * size_,
                              low_ + panel * size_);
  }
  // Component c of query i, folded.
  double At(std::int64_t panel, std::int64_t i, std::int64_t c) const {
    const std::int64_t at = panel * size_ + i * stride_ + c;
    const auto high = static_cast<double>(high_[at]);
    // What an infinity rounds off is NaN.
    return std::isfinite(high) ? high + static_cast<double>(low_[at]) : high;
  }

 private:
  std::int64_t size_ = 0, stride_ = 0;
  Real *plain_ = nullptr, *high_ = nullptr, *low_ = nullptr;
};

template <class Real>
struct TangentBlockMemory {
  std::int64_t stride, value_stride;  // of rows of k and v
  // A block of queries: q (scaled) and its tangent as columns of panels; sums.
  Real *q, *q_moves;
  ValueSums<Real> out_moves, out;  // of p (s. - c) (v - m) + p v., and of p (v - m)
  Real *common, *highest;          // m, and what it is found by
  TangentRows<Real>* rows;
  int* tiles;  // of a panel since the last fold
  // A tile of keys.
  Real *k, *k_moves, *v, *v_moves;     // v less m
  SpecialRows special, special_moves;  // rows of v and its tangent that are not finite
  // A tile.
  Real *scores, *moves, *before, *offsets, *bias, *row, *formula;
  std::int64_t bytes;

  TangentBlockMemory(const Problem& problem, const TangentPlan& plan, std::int64_t score_elements,
                     Carve carve)
      : stride(RowStride<Real>(problem.dim)), value_stride(RowStride<Real>(problem.value_dim)) {
    const auto take = [&](std::int64_t count) { return carve.Take<Real>(count); };
    const std::int64_t queries = plan.block_panels * kTileQueries;
    q = take(queries * problem.dim);
    q_moves = take(queries * problem.dim);
    out_moves.Take(carve, plan.block_panels, value_stride);
    out.Take(carve, plan.block_panels, value_stride);
    common = take(value_stride);
    highest = take(value_stride);
    rows = carve.Take<TangentRows<Real>>(plan.block_panels);
    tiles = carve.Take<int>(plan.block_panels);
    k = take(kTangentKeys * stride);
    k_moves = take(kTangentKeys * stride);
    v = take(kTangentKeys * value_stride);
    v_moves = take(kTangentKeys * value_stride);
    special.rows = carve.Take<std::int16_t>(kTangentKeys);
    special_moves.rows = carve.Take<std::int16_t>(kTangentKeys);
    constexpr std::int64_t kTile = std::int64_t{kTangentKeys} * kTileQueries;
    scores = take(kTile);
    moves = take(kTile);
    before = take(kTile);
    offsets = take(kTile);
    bias = take(kTile);
    row = take(std::max(stride, value_stride));
    formula = take(score_elements);
    bytes = carve.bytes();
  }
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
