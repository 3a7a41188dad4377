// A tile of the backward pass's derivative along a direction: ten products. With dots for tangents,
// and c for the tangent of v:
//
//   S.^T = k (q.)^T + k. q^T      P.^T = P^T (S.^T - lse.)      dv. += P.^T dO
//   dS.^T = P.^T (v dO^T - delta) + P^T (c dO^T - delta.)
//   dk. += dS.^T q + dS^T q.      dq. += dS. k + dS k.
//
// Products with what does not move are left out.
#if defined(LOGSUM_ATTENTION_BACKWARD_TANGENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_TANGENT_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_TANGENT_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_TANGENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_bias-inl.h"
#include "attention/backward_block-inl.h"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_tangent_block-inl.h"
#include "attention/backward_tangent_special-inl.h"
#include "attention/backward_tangent_tile-inl.h"
#include "attention/backward_tile-inl.h"
#include "attention/offsets-inl.h"
#include "attention/score_gradient.hpp"
#include "attention/score_tangent.hpp"
#include "attention/scores-inl.h"
#include "attention/tangent_bias-inl.h"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// Its interface is GradientTile's.
template <class Real>
class TangentTile {
 public:
  static constexpr int kTerms = 2;

  explicit TangentTile(const Cell<Real>& cell)
      : cell_(cell),
        problem_(cell.problem),
        moves_(cell.direction->tangents),
        memory_(cell.problem, &cell.plan, cell.score_elements, false, Carve(cell.memory)),
        tangents_(cell.problem, memory_, Carve(cell.memory + memory_.bytes)) {}

  static std::int64_t Bytes(const Problem& problem, const BackwardPlan& plan,
                            std::int64_t score_elements) {
    const CellMemory<Real> memory(problem, &plan, score_elements, false, Carve(nullptr));
    return memory.bytes + TangentMemory<Real>(problem, memory, Carve(nullptr)).bytes;
  }
  CellMemory<Real>& memory() { return memory_; }

  void StageBlock(std::int64_t head, Extent queries) {
    StageQueries(problem_, cell_.batch, head, queries, memory_);
    StageGradients(problem_, cell_.gradients.grad_out, cell_.batch, head, queries, cell_.delta,
                   cell_.share, memory_);
    StageQueryTangents(problem_, *cell_.direction, cell_.batch, head, queries, memory_, tangents_);
  }

  void StageKeys(std::int64_t key, int keys, bool is_staged) {
    const bool to_scores = cell_.ToScores();
    if (!is_staged) {
      HWY_NAMESPACE::StageKeys(problem_, cell_.batch, cell_.kv_head, key, keys, to_scores, memory_);
    }
    StageKeyTangents(problem_, moves_, cell_.batch, cell_.kv_head, key, keys, to_scores, memory_,
                     tangents_);
  }

  void Run(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
           const PairSums<Real>& pairs, bool accumulate) {
    const SpecialTangents<Real> special(problem_, cell_.gradients.grad_out, moves_, memory_,
                                        tangents_, place, lane);
    ScoreTile(problem_, place, lane, special, memory_);
    MoveScores(place, lane, special);
    if (cell_.ToScores()) MultiplyValues(place, lane);
    WeighTile(place, lane, offsets, special);
    if (cell_.ToScores()) PullTile(place, pairs);
    if (special.any()) {
      if (!accumulate) {
        std::fill_n(memory_.dk, place.keys * memory_.stride, Real{0});
        std::fill_n(memory_.dv, place.keys * memory_.value_stride, Real{0});
      }
      accumulate = true;
      special.Add(cell_.ToQ(), cell_.ToK(), cell_.ToV());
    }
    AddTerms(place.keys, lane, accumulate);
  }

 private:
  // One row of a result for each key, of a row of `rows` each times columns of queries.
  void MultiplyKeys(const TilePlace& place, const Real* rows, std::int64_t stride,
                    const Real* columns, std::int64_t dim, bool accumulate, Real* tile) const {
    gemm::HWY_NAMESPACE::Product(rows, stride, gemm::HWY_NAMESPACE::Step<1>(),
                                 std::int64_t{place.keys}, columns, std::int64_t{kTileQueries},
                                 std::int64_t{kTileQueries}, dim, tile, std::int64_t{kTileQueries},
                                 accumulate);
  }

  // The tangents of scores: those of q . k, capped, of the formula, of the bias.
  void MoveScores(const TilePlace& place, std::int64_t lane,
                  const SpecialTangents<Real>& special) const {
    Real* const scores = tangents_.scores;
    const std::int64_t column = lane * problem_.dim;
    if (!moves_.q && !moves_.k) std::fill_n(scores, place.keys * kTileQueries, Real{0});
    if (moves_.q) {
      MultiplyKeys(place, memory_.k_rows, memory_.stride, tangents_.q_columns + column,
                   problem_.dim, false, scores);
    }
    if (moves_.k) {
      MultiplyKeys(place, tangents_.k_rows, memory_.stride, memory_.q_columns + column,
                   problem_.dim, static_cast<bool>(moves_.q), scores);
    }
    if (special.any()) special.ScoreTangents();
    if (problem_.softcap != 0) {
      PullCap(place.keys, static_cast<Real>(problem_.softcap), memory_.before, scores);
    }
    if (problem_.softcap != 0 || problem_.score != nullptr) {
      std::copy_n(scores, place.keys * kTileQueries, tangents_.before);
    }
    if (problem_.score != nullptr) {
      cell_.direction->score->Push(place, memory_.before, scores, memory_.score_scratch);
    }
    if (moves_.bias) AddBiasTangent(moves_.bias, place, memory_.transposed, scores);
  }

  // dO v and its tangents.
  void MultiplyValues(const TilePlace& place, std::int64_t lane) const {
    const Real* const columns = memory_.grad_columns + lane * problem_.value_dim;
    MultiplyKeys(place, memory_.v_left, memory_.value_stride, columns, problem_.value_dim, false,
                 memory_.grads);
    if (moves_.v) {
      MultiplyKeys(place, tangents_.v_rows, memory_.value_stride, columns, problem_.value_dim,
                   false, tangents_.grads);
    } else {
      std::fill_n(tangents_.grads, place.keys * kTileQueries, Real{0});
    }
  }

  void WeighTile(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
                 const SpecialTangents<Real>& special) const {
    const bool to_scores = cell_.ToScores();
    if (special.any()) {
      if (offsets.written) AddOffsets(memory_.offsets, place.keys, memory_.scores);
      if (to_scores) {
        special.Products();
        if (moves_.v) special.ProductTangents();
      }
      special.Weigh(to_scores);
      return;
    }
    const TileRows<Real> rows{memory_.lse + lane, memory_.share + lane, memory_.delta + lane,
                              tangents_.lse + lane, tangents_.delta + lane};
    const Real* const added = offsets.written ? memory_.offsets : nullptr;
    (to_scores ? WeighTangents<true, Real>
               : WeighTangents<false, Real>)(place.keys, rows, added, tangents_.scores,
                                             memory_.scores, memory_.grads, tangents_.grads);
  }

  // As GradientTile's, with the tangents.
  void PullTile(const TilePlace& place, const PairSums<Real>& pairs) const {
    AddToBias(cell_, place, pairs, tangents_.grads, memory_.transposed);
    if (cell_.score != nullptr) {
      cell_.score->PullTangent(place, cell_.slot, memory_.before, tangents_.before, memory_.grads,
                               tangents_.grads, memory_.score_scratch);
    }
    if (problem_.softcap != 0) {
      PullCapTangent(place.keys, static_cast<Real>(problem_.softcap), memory_.before,
                     tangents_.before, memory_.grads, tangents_.grads);
    }
  }

  void AddTerms(int keys, std::int64_t lane, bool accumulate) const {
    const std::int64_t row = lane * memory_.stride;
    if (cell_.ToV()) {
      MultiplyQueries(keys, memory_.scores, memory_.grad_rows + lane * memory_.value_stride,
                      memory_.value_stride, memory_.value_columns, accumulate, memory_.dv);
    }
    if (cell_.ToK()) {
      MultiplyQueries(keys, tangents_.grads, memory_.q_rows + row, memory_.stride, memory_.columns,
                      accumulate, memory_.dk);
      if (moves_.q) {
        MultiplyQueries(keys, memory_.grads, tangents_.q_rows + row, memory_.stride,
                        memory_.columns, true, memory_.dk);
      }
    }
    if (cell_.ToQ()) {
      AddToQuery(keys, tangents_.grads, memory_.k_rows, memory_.dq + row);
      if (moves_.k) AddToQuery(keys, memory_.grads, tangents_.k_rows, memory_.dq + row);
    }
  }

  // A tile times rows of queries.
  void MultiplyQueries(int keys, const Real* tile, const Real* rows, std::int64_t stride,
                       std::int64_t columns, bool accumulate, Real* sums) const {
    using gemm::HWY_NAMESPACE::Step;
    gemm::HWY_NAMESPACE::Product(tile, Step<kTileQueries>(), Step<1>(), std::int64_t{keys}, rows,
                                 stride, columns, std::int64_t{kTileQueries}, sums, stride,
                                 accumulate);
  }
  // The tile's transpose times rows of keys.
  void AddToQuery(int keys, const Real* tile, const Real* rows, Real* sums) const {
    using gemm::HWY_NAMESPACE::Step;
    gemm::HWY_NAMESPACE::Product(tile, Step<1>(), Step<kTileQueries>(), std::int64_t{kTileQueries},
                                 rows, memory_.stride, memory_.columns, std::int64_t{keys}, sums,
                                 memory_.stride, true);
  }

  const Cell<Real>& cell_;
  const Problem& problem_;
  const Tangents& moves_;
  CellMemory<Real> memory_;
  const TangentMemory<Real> tangents_;
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
