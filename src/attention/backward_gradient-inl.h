// A tile of the backward pass: five products.
//
//   P^T = exp(S^T - lse)     dv += P^T dO      dS^T = P^T (v dO^T - delta)
//   dk += dS^T q             dq += dS k
#if defined(LOGSUM_ATTENTION_BACKWARD_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_GRADIENT_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_GRADIENT_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_GRADIENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_bias-inl.h"
#include "attention/backward_block-inl.h"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_special-inl.h"
#include "attention/backward_tile-inl.h"
#include "attention/offsets-inl.h"
#include "attention/pairs-inl.h"
#include "attention/score_gradient.hpp"
#include "attention/scores-inl.h"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
class GradientTile {
 public:
  // Products that are added to dq.
  static constexpr int kTerms = 1;

  explicit GradientTile(const Cell<Real>& cell)
      : cell_(cell),
        problem_(cell.problem),
        memory_(cell.problem, &cell.plan, cell.score_elements, MultipliesPairs<Real>(cell.problem),
                Carve(cell.memory)) {}

  static std::int64_t Bytes(const Problem& problem, const BackwardPlan& plan,
                            std::int64_t score_elements) {
    const bool pairs = MultipliesPairs<Real>(problem);
    return CellMemory<Real>(problem, &plan, score_elements, pairs, Carve(nullptr)).bytes;
  }
  CellMemory<Real>& memory() { return memory_; }

  void StageBlock(std::int64_t head, Extent queries) {
    StageQueries(problem_, cell_.batch, head, queries, memory_);
    StageGradients(problem_, cell_.gradients.grad_out, cell_.batch, head, queries, cell_.delta,
                   cell_.share, memory_);
  }

  // The tile of keys that memory() is set to. is_staged: it has been, for another block.
  void StageKeys(std::int64_t key, int keys, bool is_staged) {
    if (is_staged) return;
    HWY_NAMESPACE::StageKeys(problem_, cell_.batch, cell_.kv_head, key, keys, cell_.ToScores(),
                             memory_);
  }

  // lane: the tile's first query in the block. accumulate: whether dk and dv hold another tile's.
  void Run(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
           const PairSums<Real>& pairs, bool accumulate) {
    using gemm::HWY_NAMESPACE::Product;
    using gemm::HWY_NAMESPACE::Step;
    constexpr std::int64_t kLanes = kTileQueries;
    const bool to_scores = cell_.ToScores();
    const SpecialPairs<Real> special(problem_, cell_.gradients.grad_out, memory_, place, lane);
    ScoreTile(problem_, place, lane, special, memory_);
    if (to_scores) {
      MultiplyColumns(memory_.pairs, memory_.v_left, memory_.value_left_stride, place.keys,
                      memory_.grad_columns, lane, problem_.value_dim, 1, memory_.grads);
    }
    WeighTile(place, lane, offsets, special);
    if (to_scores) PullTile(place, pairs);
    if (special.any()) {
      if (!accumulate) {
        std::fill_n(memory_.dk, place.keys * memory_.stride, Real{0});
        std::fill_n(memory_.dv, place.keys * memory_.value_stride, Real{0});
      }
      accumulate = true;
      special.Add(cell_.ToQ(), cell_.ToK(), cell_.ToV());
    }
    if (cell_.ToV()) {
      Product(memory_.scores, Step<kTileQueries>(), Step<1>(), std::int64_t{place.keys},
              memory_.grad_rows + lane * memory_.value_stride, memory_.value_stride,
              memory_.value_columns, kLanes, memory_.dv, memory_.value_stride, accumulate);
    }
    if (cell_.ToK()) {
      Product(memory_.grads, Step<kTileQueries>(), Step<1>(), std::int64_t{place.keys},
              memory_.q_rows + lane * memory_.stride, memory_.stride, memory_.columns, kLanes,
              memory_.dk, memory_.stride, accumulate);
    }
    if (cell_.ToQ()) {
      Product(memory_.grads, Step<1>(), Step<kTileQueries>(), kLanes, memory_.k_rows,
              memory_.stride, memory_.columns, std::int64_t{place.keys},
              memory_.dq + lane * memory_.stride, memory_.stride, true);
    }
  }

 private:
  void WeighTile(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
                 const SpecialPairs<Real>& special) {
    const bool to_scores = cell_.ToScores();
    const Real *const lse = memory_.lse + lane, *const share = memory_.share + lane;
    const Real *const delta = memory_.delta + lane, *const offset = memory_.offsets;
    if (special.any()) {
      if (offsets.written) AddOffsets(memory_.offsets, place.keys, memory_.scores);
      if (to_scores) special.Products();
      special.Weigh(to_scores);
      return;
    }
    if (offsets.written && to_scores) {
      Weigh<true, true>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else if (offsets.written) {
      Weigh<true, false>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else if (to_scores) {
      Weigh<false, true>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else {
      Weigh<false, false>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    }
  }

  // From the gradients of score(s) + bias to those of q . k.
  void PullTile(const TilePlace& place, const PairSums<Real>& pairs) {
    AddToBias(cell_, place, pairs, memory_.grads, memory_.transposed);
    if (cell_.score != nullptr) {
      cell_.score->Pull(place, cell_.slot, memory_.before, memory_.grads, memory_.score_scratch);
    }
    if (problem_.softcap != 0) {
      PullCap(place.keys, static_cast<Real>(problem_.softcap), memory_.before, memory_.grads);
    }
  }

  const Cell<Real>& cell_;
  const Problem& problem_;
  CellMemory<Real> memory_;
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
