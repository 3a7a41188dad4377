// Forward mode: a block of panels of queries against all their keys, tile by tile.
//
//   S^T = k q^T        S.^T = k. q^T + k q.^T      (q scaled; then cap, formula, bias)
//   P^T = exp(S^T - lse)     U += (P (S. - c))^T (v - m) + P^T v.
//
// c, a number for each row, is what its s. have in common (tangent_tile-inl.h), and the vector m
// what the values of a block's rows have (tangent_common-inl.h). In the end, with the sums over j,
// of p and of p (s. - c), to which a sink is added as a key whose value is zero:
//
//   lse. - c = sum p (s. - c) / sum p      out. = U / sum p - (lse. - c) (out - m)
//
// and of a sink also m p (s. - c) less. out - m is summed anew where out is too coarse.
#if defined(LOGSUM_ATTENTION_TANGENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_tile-inl.h"
#include "attention/offsets-inl.h"
#include "attention/panel.hpp"
#include "attention/region.hpp"
#include "attention/score.hpp"
#include "attention/score_tangent.hpp"
#include "attention/scores-inl.h"
#include "attention/special-inl.h"
#include "attention/stage-inl.h"
#include "attention/tangent_bias-inl.h"
#include "attention/tangent_common-inl.h"
#include "attention/tangent_finish-inl.h"
#include "attention/tangent_kernels.hpp"
#include "attention/tangent_memory-inl.h"
#include "attention/tangent_tile-inl.h"
#include "attention/tile.hpp"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
class TangentBlock {
 public:
  explicit TangentBlock(const TangentTask<Real>& task)
      : task_(task),
        problem_(task.problem),
        tangents_(task.tangents),
        memory_(task.problem, task.plan, task.score_elements, Carve(task.memory)),
        kv_(task.number / task.plan.blocks),
        first_panel_(task.number % task.plan.blocks * task.plan.block_panels),
        panels_(std::min(task.plan.block_panels, task.plan.panels - first_panel_)),
        moves_scores_(tangents_.q || tangents_.k || tangents_.bias || MovesFormula(tangents_)) {}

  void Run() {
    FindCommon();
    KeyRange range{problem_.keys, 0};
    for (std::int64_t p = 0; p < panels_; ++p) {
      Begin(p);
      const KeyRange own = RangeOf(p, 0, problem_.keys);
      if (own.begin >= own.end) continue;
      range.begin = std::min(range.begin, own.begin);
      range.end = std::max(range.end, own.end);
    }
    range.begin = range.begin / kTangentKeys * kTangentKeys;
    for (tile_ = range.begin; tile_ < range.end; tile_ += kTangentKeys) {
      is_staged_ = false;
      for (std::int64_t p = 0; p < panels_; ++p) Attend(p);
    }
    for (std::int64_t p = 0; p < panels_; ++p) {
      FoldPanel(p);
      FinishPanel(task_, PlaceOf(p), p, sums_out_, memory_);
    }
  }

 private:
  static std::int64_t WholeVectors(std::int64_t count) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    return (count + lanes - 1) / lanes * lanes;
  }
  std::int64_t Batch() const { return kv_ / problem_.kv_heads; }
  std::int64_t KeyHead() const { return kv_ % problem_.kv_heads; }
  std::int64_t ValueColumns() const { return WholeVectors(problem_.value_dim); }

  PanelPlace PlaceOf(std::int64_t p) const {
    return PanelOf(problem_, task_.plan.head_panels, kv_, first_panel_ + p);
  }
  KeyRange RangeOf(std::int64_t p, std::int64_t begin, std::int64_t end) const {
    const PanelPlace place = PlaceOf(p);
    const KeyRange range = KeysOf(problem_, place.batch, place.query, place.query + place.queries);
    return {std::max(range.begin, begin), std::min(range.end, end)};
  }

  void FindCommon() {
    std::fill_n(memory_.common, memory_.value_stride, Real{0});
    if (!task_.results.out || !(moves_scores_ || tangents_.sinks)) return;
    CommonValue<Real> common(problem_.value_dim, memory_.common, memory_.highest);
    for (std::int64_t p = 0; p < panels_; ++p) common.Add(problem_, PlaceOf(p), memory_.row);
    sums_out_ = common.Finish() || task_.plan.sums_out;
  }

  void Begin(std::int64_t p) {
    const PanelPlace place = PlaceOf(p);
    const auto copy = [&](const View<4>& array, Real* columns) HWY_ATTR {
      CopyColumns(array, place.batch, place.head, place.query, place.queries, problem_.dim,
                  static_cast<Real>(problem_.scale), columns + p * kTileQueries * problem_.dim);
    };
    copy(problem_.q, memory_.q);
    if (tangents_.q) copy(tangents_.q, memory_.q_moves);
    ReadLse(problem_, place, memory_.rows[p]);
    memory_.tiles[p] = 0;
    memory_.out_moves.Clear(p);
    memory_.out.Clear(p);
  }

  void Stage() {
    if (is_staged_) return;
    is_staged_ = true;
    const int keys = static_cast<int>(std::min<std::int64_t>(kTangentKeys, problem_.keys - tile_));
    const auto copy = [&](const View<4>& array, Real* rows) HWY_ATTR {
      CopyRows(array, Batch(), KeyHead(), tile_, keys, problem_.dim, Real{1}, rows, memory_.stride);
    };
    copy(problem_.k, memory_.k);
    if (tangents_.k) copy(tangents_.k, memory_.k_moves);
    if (!task_.results.out) return;
    const auto stage = [&](const View<4>& array, Real* rows, SpecialRows& special) HWY_ATTR {
      StageRows(array, Batch(), KeyHead(), tile_, keys, keys, problem_.value_dim, Real{1}, rows,
                memory_.value_stride, special);
    };
    if (moves_scores_ || sums_out_) {
      stage(problem_.v, memory_.v, memory_.special);
      TakeOff(memory_.common, keys, memory_.value_stride, memory_.v);
    }
    if (tangents_.v) stage(tangents_.v, memory_.v_moves, memory_.special_moves);
  }

  void FoldPanel(std::int64_t p) {
    if (memory_.tiles[p] == 0) return;
    const std::int64_t rows = PlaceOf(p).queries;
    if (moves_scores_ || tangents_.v) memory_.out_moves.Fold(p, rows, ValueColumns());
    if (sums_out_) memory_.out.Fold(p, rows, ValueColumns());
    memory_.tiles[p] = 0;
  }

  // Panel p against the tile of keys at hand.
  void Attend(std::int64_t p) {
    const KeyRange range = RangeOf(p, tile_, tile_ + kTangentKeys);
    if (range.begin >= range.end) return;
    const PanelPlace panel = PlaceOf(p);
    const TilePlace place{panel.batch, panel.head,    panel.query,
                          range.begin, panel.queries, static_cast<int>(range.end - range.begin)};
    const TileOffsets offsets = OffsetsOf(problem_, place, memory_.offsets);
    if (offsets.coverage == Coverage::none) return;
    if (!MayTakePart(problem_, place, memory_.formula)) return;
    Stage();
    Score(p, place);
    if (offsets.written) AddOffsets(memory_.offsets, place.keys, memory_.scores);
    TangentRows<Real>& rows = memory_.rows[p];
    Shares(place.keys, memory_.scores, rows);
    if (moves_scores_) {
      if (!rows.has_references) SetReferences(place.keys, memory_.scores, memory_.moves, rows);
      WeighMoves(place.keys, memory_.scores, memory_.moves, rows);
    }
    if (task_.results.out) AddValues(p, place);
    if (++memory_.tiles[p] == kTangentFold) FoldPanel(p);
  }

  // Scores before offsets, and their tangents.
  void Score(std::int64_t p, const TilePlace& place) {
    const std::int64_t keys = place.keys, first = (place.key - tile_) * memory_.stride;
    const std::int64_t lanes = std::min<std::int64_t>(
        kAbreast * WholeVectors((place.queries + kAbreast - 1) / kAbreast), kTileQueries);
    const auto multiply = [&](const Real* left, const Real* right, Real* to, bool add) HWY_ATTR {
      using gemm::HWY_NAMESPACE::Step;
      gemm::HWY_NAMESPACE::Product(
          left + first, memory_.stride, Step<1>(), keys, right + p * kTileQueries * problem_.dim,
          std::int64_t{kTileQueries}, lanes, problem_.dim, to, std::int64_t{kTileQueries}, add);
    };
    multiply(memory_.k, memory_.q, memory_.scores, false);
    if (tangents_.q) multiply(memory_.k, memory_.q_moves, memory_.moves, false);
    if (tangents_.k) multiply(memory_.k_moves, memory_.q, memory_.moves, bool{tangents_.q});
    const bool has_products = tangents_.q || tangents_.k;
    if (problem_.softcap != 0) {
      const Real cap = static_cast<Real>(problem_.softcap);
      CapScores(cap, place.keys, memory_.scores);
      if (has_products) PullCap(place.keys, cap, memory_.scores, memory_.moves);
    }
    if (!has_products && moves_scores_) {
      std::fill_n(memory_.moves, keys * kTileQueries, Real{0});
    }
    if (task_.score != nullptr) {
      std::copy_n(memory_.scores, keys * kTileQueries, memory_.before);
      task_.score->Push(place, memory_.before, memory_.moves, memory_.formula);
    }
    if (problem_.score != nullptr) {
      EvaluateScore(problem_, place, memory_.scores, memory_.formula);
    }
    if (tangents_.bias) AddBiasTangent(tangents_.bias, place, memory_.bias, memory_.moves);
  }

  void AddValues(std::int64_t p, const TilePlace& place) {
    const std::int64_t first = (place.key - tile_) * memory_.value_stride;
    const auto multiply = [&](const Real* weights, const Real* values, Real* to,
                              bool add) HWY_ATTR {
      using gemm::HWY_NAMESPACE::Step;
      gemm::HWY_NAMESPACE::Product(weights, Step<1>(), Step<kTileQueries>(),
                                   std::int64_t{place.queries}, values + first,
                                   memory_.value_stride, ValueColumns(), std::int64_t{place.keys},
                                   to, memory_.value_stride, add);
    };
    const auto add_special = [&](const View<4>& array, const SpecialRows& special,
                                 const Real* weights, Real* to) HWY_ATTR {
      if (special.count == 0) return;
      AddSpecialValues(array, Batch(), KeyHead(), tile_, special, place, memory_.scores, weights,
                       problem_.value_dim, memory_.row, to, memory_.value_stride);
    };
    const bool accumulate = memory_.tiles[p] > 0;
    Real *const to = memory_.out_moves.Plain(p), *const to_out = memory_.out.Plain(p);
    if (moves_scores_) {
      multiply(memory_.moves, memory_.v, to, accumulate);
      add_special(problem_.v, memory_.special, memory_.moves, to);
    }
    if (tangents_.v) {
      multiply(memory_.scores, memory_.v_moves, to, accumulate || moves_scores_);
      add_special(tangents_.v, memory_.special_moves, memory_.scores, to);
    }
    if (sums_out_) {
      multiply(memory_.scores, memory_.v, to_out, accumulate);
      add_special(problem_.v, memory_.special, memory_.scores, to_out);
    }
  }

  const TangentTask<Real>& task_;
  const Problem& problem_;
  const Tangents& tangents_;
  TangentBlockMemory<Real> memory_;
  const std::int64_t kv_, first_panel_, panels_;
  const bool moves_scores_;
  std::int64_t tile_ = 0;  // its first key
  bool is_staged_ = false;
  bool sums_out_ = false;
};

template <class Real>
void RunTangentBlock(const TangentTask<Real>& task) {
  TangentBlock<Real>(task).Run();
}

template <class Real>
std::int64_t TangentBytes(const Problem& problem, const TangentPlan& plan,
                          std::int64_t score_elements) {
  return TangentBlockMemory<Real>(problem, plan, score_elements, Carve(nullptr)).bytes;
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
