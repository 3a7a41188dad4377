// The forward pass: a block of panels of queries against a part of the keys, tile by tile.
//
// A tile's scores are a product with queries in lanes; its exponentials, where they lie, are the
// left operand of the product with the values. Its chains of kChain keys are added plainly over
// kFoldTiles tiles and from there by compensated addition, so a sum over keys has the error of a
// short one. All panels of a block meet a tile of keys before the next one is fetched.
#if defined(LOGSUM_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_FORWARD_INL_H_
#undef LOGSUM_ATTENTION_FORWARD_INL_H_
#else
#define LOGSUM_ATTENTION_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "attention/carve.hpp"
#include "attention/decode_block-inl.h"
#include "attention/finish-inl.h"
#include "attention/kernels.hpp"
#include "attention/offsets-inl.h"
#include "attention/pairs-inl.h"
#include "attention/panel.hpp"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/region.hpp"
#include "attention/scores-inl.h"
#include "attention/softmax-inl.h"
#include "attention/special-inl.h"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"
#include "gemm/product-inl.h"
#include "gemm/product_bf16.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::Fold;
using gemm::HWY_NAMESPACE::Product;
using gemm::HWY_NAMESPACE::Step;

// A task's memory, or, without memory, what it would take.
template <class Real>
struct ForwardScratch {
  ForwardScratch(const Problem& problem, const ForwardPlan& plan, Real* memory)
      : carve(reinterpret_cast<std::byte*>(memory)),
        dim(problem.dim),
        stride(RowStride<Real>(problem.value_dim)),
        key_stride(RowStride<Real>(problem.dim)) {
    queries = carve.Take<Real>(plan.block_panels * key_stride * kTileQueries);
    keys = carve.Take<Real>(kTileKeys * key_stride);
    values = carve.Take<Real>(kTileKeys * stride);
    plain = carve.Take<Real>(plan.block_panels * kTileQueries * stride);
    high = carve.Take<Real>(plan.block_panels * kTileQueries * stride);
    low = carve.Take<Real>(plan.block_panels * kTileQueries * stride);
    scores = carve.Take<Real>(kTileKeys * kTileQueries);
    offsets = carve.Take<Real>(kTileKeys * kTileQueries);
    factors = carve.Take<Real>(kTileQueries);
    row = carve.Take<Real>(stride);
    states = carve.Take<RowState<Real>>(plan.block_panels);
    tiles = carve.Take<std::int32_t>(plan.block_panels);
    special.rows = carve.Take<std::int16_t>(kTileKeys);
    formula = carve.Take<Real>(FormulaScratch(problem));
  }

  std::int64_t Size() const { return carve.bytes() / static_cast<std::int64_t>(sizeof(Real)); }

  Carve carve;
  std::int64_t dim, stride, key_stride;
  Real *queries, *keys, *values, *high, *low, *plain, *scores, *offsets, *factors, *row, *formula;
  RowState<Real>* states;
  std::int32_t* tiles;  // of a panel since the last fold
  SpecialRows special;
};

template <class Real>
class ForwardBlock {
 public:
  explicit ForwardBlock(const ForwardTask<Real>& task)
      : task_(task),
        problem_(task.problem),
        plan_(task.plan),
        scratch_(task.problem, task.plan, task.memory),
        columns_(RoundUp(problem_.value_dim, Lanes())),
        has_pairs_(MultipliesPairs<Real>(problem_)),
        scale_(problem_.scale),
        keys_lie_well_(IsReadable<Real>(problem_.k, problem_.dim, problem_.dim)),
        values_lie_well_(IsReadable<Real>(problem_.v, problem_.value_dim, columns_)) {
    part_ = task.number % plan_.parts;
    const std::int64_t block = task.number / plan_.parts;
    kv_ = block / plan_.blocks;
    first_panel_ = block % plan_.blocks * plan_.block_panels;
    panels_ = std::min(plan_.block_panels, plan_.panels - first_panel_);
  }

  void Run() {
    AttendAll();
    if (HasOverflown()) {
      margin_ = kMargin<Real>;
      AttendAll();
    }
    for (std::int64_t p = 0; p < panels_; ++p) Write(p);
  }

 private:
  static std::int64_t Lanes() {
    return static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
  }
  static std::int64_t RoundUp(std::int64_t count, std::int64_t to) {
    return (count + to - 1) / to * to;
  }

  void AttendAll() {
    KeyRange range{problem_.keys, 0};
    for (std::int64_t p = 0; p < panels_; ++p) {
      Begin(p);
      const KeyRange own = RangeOf(p, part_ * plan_.part_keys, (part_ + 1) * plan_.part_keys);
      if (own.begin >= own.end) continue;
      range.begin = std::min(range.begin, own.begin);
      range.end = std::max(range.end, own.end);
    }
    range.begin = range.begin / kTileKeys * kTileKeys;
    for (std::int64_t key = range.begin; key < range.end; key += kTileKeys) {
      Stage(key, std::min(key + kTileKeys, range.end));
      for (std::int64_t p = 0; p < panels_; ++p) Attend(p, key);
    }
    for (std::int64_t p = 0; p < panels_; ++p) FoldPanel(p);
  }

  bool HasOverflown() const {
    for (std::int64_t p = 0; p < panels_; ++p) {
      if (!AreFinite(HighOf(p), PlaceOf(p).queries, columns_, scratch_.stride)) return true;
    }
    return false;
  }

  PanelPlace PlaceOf(std::int64_t p) const {
    return PanelOf(problem_, plan_.head_panels, kv_, first_panel_ + p);
  }
  Real* QueriesOf(std::int64_t p) const {
    return scratch_.queries + p * scratch_.key_stride * kTileQueries;
  }
  Real* PlainOf(std::int64_t p) const {
    return scratch_.plain + p * kTileQueries * scratch_.stride;
  }
  Real* HighOf(std::int64_t p) const { return scratch_.high + p * kTileQueries * scratch_.stride; }
  Real* LowOf(std::int64_t p) const { return scratch_.low + p * kTileQueries * scratch_.stride; }

  KeyRange RangeOf(std::int64_t p, std::int64_t begin, std::int64_t end) const {
    const PanelPlace place = PlaceOf(p);
    const KeyRange range = KeysOf(problem_, place.batch, place.query, place.query + place.queries);
    return {std::max(range.begin, begin), std::min(range.end, end)};
  }

  void Begin(std::int64_t p) {
    const PanelPlace place = PlaceOf(p);
    if (has_pairs_) {
      CopyPairColumns(problem_.q, place.batch, place.head, place.query, place.queries, scratch_.dim,
                      scale_.power, QueriesOf(p));
    } else {
      CopyColumns(problem_.q, place.batch, place.head, place.query, place.queries, scratch_.dim,
                  static_cast<Real>(problem_.scale), QueriesOf(p));
    }
    scratch_.states[p].Clear();
    scratch_.tiles[p] = 0;
    std::fill_n(HighOf(p), kTileQueries * scratch_.stride, Real{0});
    std::fill_n(LowOf(p), kTileQueries * scratch_.stride, Real{0});
  }

  void Stage(std::int64_t begin, std::int64_t end) {
    const std::int64_t batch = kv_ / problem_.kv_heads, head = kv_ % problem_.kv_heads;
    const int count = static_cast<int>(end - begin);
    staged_ = begin;
    if (has_pairs_) {
      keys_ = scratch_.keys;
      key_stride_ = RowStride<Real>(gemm::Bf16Pairs(problem_.dim));
      StagePairs(problem_.k, batch, head, begin, count, problem_.dim, scratch_.keys, key_stride_,
                 scratch_.special);
    } else if (keys_lie_well_) {
      keys_ = RowOf<Real>(problem_.k, batch, head, begin);
      key_stride_ = problem_.k.strides[2];
    } else {
      CopyRows(problem_.k, batch, head, begin, count, problem_.dim, Real{1}, scratch_.keys,
               scratch_.key_stride);
      keys_ = scratch_.keys;
      key_stride_ = scratch_.key_stride;
    }
    if (values_lie_well_) {
      values_ = RowOf<Real>(problem_.v, batch, head, begin);
      value_stride_ = problem_.v.strides[2];
      FindSpecialRows(values_, value_stride_, count, problem_.value_dim, scratch_.special);
      if (scratch_.special.count == 0) return;
    }
    StageRows(problem_.v, batch, head, begin, count, count, problem_.value_dim, Real{1},
              scratch_.values, scratch_.stride, scratch_.special);
    values_ = scratch_.values;
    value_stride_ = scratch_.stride;
  }

  // Panel p against the tile of keys that is in memory.
  void Attend(std::int64_t p, std::int64_t begin) {
    const KeyRange range = RangeOf(p, begin, begin + kTileKeys);
    if (range.begin >= range.end) return;
    const PanelPlace panel = PlaceOf(p);
    AttendTile(p, {panel.batch, panel.head, panel.query, range.begin, panel.queries,
                   static_cast<int>(range.end - range.begin)});
  }

  void FoldPanel(std::int64_t p) {
    if (scratch_.tiles[p] == 0) return;
    Fold(PlainOf(p), std::int64_t{PlaceOf(p).queries}, columns_, scratch_.stride,
         static_cast<const Real*>(nullptr), HighOf(p), LowOf(p));
    scratch_.tiles[p] = 0;
  }

  // Products of queries and keys.
  void ScoreTile(std::int64_t p, const TilePlace& place) {
    const Real* const keys = keys_ + (place.key - staged_) * key_stride_;
    if (has_pairs_) {
      MultiplyColumns(true, keys, key_stride_, place.keys, QueriesOf(p), 0, scratch_.dim,
                      scale_.rest, scratch_.scores);
      return;
    }
    const std::int64_t lanes =
        std::min<std::int64_t>(RoundUp(place.queries, kAbreast * Lanes()), kTileQueries);
    Product(keys, key_stride_, Step<1>(), std::int64_t{place.keys}, QueriesOf(p),
            std::int64_t{kTileQueries}, lanes, scratch_.dim, scratch_.scores,
            std::int64_t{kTileQueries}, false);
  }

  void AttendTile(std::int64_t p, const TilePlace& place) {
    const TileOffsets offsets = OffsetsOf(problem_, place, scratch_.offsets);
    if (offsets.coverage == Coverage::none) return;
    if (!MayTakePart(problem_, place, scratch_.formula)) return;
    Real* const scores = scratch_.scores;
    ScoreTile(p, place);
    FinishScores(problem_, place, offsets.written ? scratch_.offsets : nullptr, scores,
                 scratch_.formula);
    RowState<Real>& state = scratch_.states[p];
    Real* const plain = PlainOf(p);
    const bool accumulate = scratch_.tiles[p] > 0;
    if (RaiseReferences(scores, place.keys, place.queries, margin_, state, scratch_.factors)) {
      for (Real* const sums : {accumulate ? plain : nullptr, HighOf(p), LowOf(p)}) {
        if (sums == nullptr) continue;
        ScaleSums(scratch_.factors, place.queries, scratch_.stride, sums);
      }
    }
    Exponentials(scores, place.keys, place.queries, state);
    const Real* const values = values_ + (place.key - staged_) * value_stride_;
    Product(scores, Step<1>(), Step<kTileQueries>(), std::int64_t{place.queries}, values,
            value_stride_, columns_, std::int64_t{place.keys}, plain, scratch_.stride, accumulate);
    if (scratch_.special.count > 0) {
      AddSpecialValues(problem_.v, kv_ / problem_.kv_heads, kv_ % problem_.kv_heads, staged_,
                       scratch_.special, place, scores, scores, problem_.value_dim, scratch_.row,
                       plain, scratch_.stride);
    }
    if (++scratch_.tiles[p] == ForwardPlan::kFoldTiles) FoldPanel(p);
  }

  void Write(std::int64_t p) {
    WritePanel(task_, PlaceOf(p), kv_ * plan_.panels + first_panel_ + p, part_, scratch_.states[p],
               HighOf(p), LowOf(p), scratch_.stride, scratch_.row);
  }

  const ForwardTask<Real>& task_;
  const Problem& problem_;
  const ForwardPlan& plan_;
  ForwardScratch<Real> scratch_;
  const std::int64_t columns_;  // of values, whole vectors
  const bool has_pairs_;        // scores are products of pairs: `queries` and `keys` are such
  const SplitScale scale_;
  Real margin_ = 0;
  std::int64_t part_, kv_, first_panel_, panels_;
  const bool keys_lie_well_, values_lie_well_;
  // Keys and values at hand, from key `staged_` on.
  const Real *keys_ = nullptr, *values_ = nullptr;
  std::int64_t key_stride_ = 0, value_stride_ = 0, staged_ = 0;
};

template <class Real>
void AttendBlock(const ForwardTask<Real>& task) {
  task.plan.in_place ? DecodeBlock<Real>(task).Run() : ForwardBlock<Real>(task).Run();
}

template <class Real>
std::int64_t MemoryOfBlock(const Problem& problem, const ForwardPlan& plan) {
  return plan.in_place ? DecodeScratch<Real>(problem, plan, nullptr).Size()
                       : ForwardScratch<Real>(problem, plan, nullptr).Size();
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
