// The forward pass for a few queries: those of all heads of a block, each a row of its own, against
// a part of the keys.
//
// Values are taken to be finite and read once. Sums that are not show where that was wrong, or
// where they have overflown: all is done again then, with care.
#if defined(LOGSUM_ATTENTION_DECODE_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_DECODE_BLOCK_INL_H_
#undef LOGSUM_ATTENTION_DECODE_BLOCK_INL_H_
#else
#define LOGSUM_ATTENTION_DECODE_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "attention/carve.hpp"
#include "attention/decode-inl.h"
#include "attention/finish-inl.h"
#include "attention/kernels.hpp"
#include "attention/offsets-inl.h"
#include "attention/panel.hpp"
#include "attention/plan.hpp"
#include "attention/problem.hpp"
#include "attention/region.hpp"
#include "attention/scores-inl.h"
#include "attention/softmax-inl.h"
#include "attention/special-inl.h"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"
#include "core/dtype.hpp"
#include "core/two_sum-inl.h"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using gemm::HWY_NAMESPACE::Fold;

// A task's memory, or, without memory, what it would take.
template <class Real>
struct DecodeScratch {
  DecodeScratch(const Problem& problem, const ForwardPlan& plan, Real* memory)
      : carve(reinterpret_cast<std::byte*>(memory)),
        dim(problem.dim),
        stride(RowStride<Real>(problem.value_dim)) {
    const std::int64_t rows = plan.block_panels * problem.queries;
    queries = carve.Take<Real>(rows * dim);
    scores = carve.Take<Real>(rows * kDecodeKeys);
    plain = carve.Take<Real>(rows * stride);
    high = carve.Take<Real>(rows * stride);
    low = carve.Take<Real>(rows * stride);
    values = carve.Take<Real>(kDecodeKeys * stride);
    tile = carve.Take<Real>(kTileKeys * kTileQueries);
    offsets = carve.Take<Real>(kTileKeys * kTileQueries);
    tops = carve.Take<Real>(kTileQueries);
    factors = carve.Take<Real>(kTileQueries);
    row = carve.Take<Real>(stride);
    states = carve.Take<RowState<Real>>(plan.block_panels);
    special.rows = carve.Take<std::int16_t>(kDecodeKeys);
    formula = carve.Take<Real>(FormulaScratch(problem));
  }

  std::int64_t Size() const {
    return std::max<std::int64_t>(carve.bytes() / static_cast<std::int64_t>(sizeof(Real)),
                                  3 * stride);  // what merging takes
  }

  Carve carve;
  std::int64_t dim, stride;
  Real *queries, *scores, *plain, *high, *low, *values, *tile, *offsets, *tops, *factors, *row,
      *formula;
  RowState<Real>* states;
  SpecialRows special;
};

template <class Real>
class DecodeBlock {
 public:
  explicit DecodeBlock(const ForwardTask<Real>& task)
      : task_(task),
        problem_(task.problem),
        plan_(task.plan),
        scratch_(task.problem, task.plan, task.memory),
        part_(task.number % plan_.parts),
        kv_(task.number / plan_.parts / plan_.blocks),
        first_panel_(task.number / plan_.parts % plan_.blocks * plan_.block_panels),
        panels_(std::min(plan_.block_panels, plan_.panels - first_panel_)),
        queries_(static_cast<int>(problem_.queries)),
        rows_(static_cast<int>(panels_) * queries_),
        has_tile_(problem_.score != nullptr || problem_.mask || problem_.bias) {}

  void Run() {
    CopyQueries();
    AttendAll();
    if (!IsFinite()) {
      is_careful_ = true;
      AttendAll();
    }
    if (!IsFinite()) {
      margin_ = kMargin<Real>;
      AttendAll();
    }
    for (std::int64_t p = 0; p < panels_; ++p) {
      const std::int64_t first = p * queries_ * scratch_.stride;
      WritePanel(task_, PlaceOf(p), kv_ * plan_.panels + first_panel_ + p, part_,
                 scratch_.states[p], scratch_.high + first, scratch_.low + first, scratch_.stride,
                 scratch_.row);
    }
  }

 private:
  PanelPlace PlaceOf(std::int64_t p) const {
    return PanelOf(problem_, plan_.head_panels, kv_, first_panel_ + p);
  }
  bool IsFinite() const {
    return AreFinite(scratch_.high, rows_, problem_.value_dim, scratch_.stride);
  }

  void CopyQueries() {
    for (std::int64_t p = 0; p < panels_; ++p) {
      const PanelPlace place = PlaceOf(p);
      CopyRows(problem_.q, place.batch, place.head, place.query, queries_, scratch_.dim,
               static_cast<Real>(problem_.scale), scratch_.queries + p * queries_ * scratch_.dim,
               scratch_.dim);
    }
  }

  void AttendAll() {
    for (std::int64_t p = 0; p < panels_; ++p) scratch_.states[p].Clear();
    std::fill_n(scratch_.high, rows_ * scratch_.stride, Real{0});
    std::fill_n(scratch_.low, rows_ * scratch_.stride, Real{0});
    tiles_ = 0;
    // All panels have the same queries, of one head each.
    KeyRange range = KeysOf(problem_, Batch(), 0, queries_);
    range.begin = std::max(range.begin, part_ * plan_.part_keys);
    range.end = std::min(range.end, (part_ + 1) * plan_.part_keys);
    for (std::int64_t key = range.begin; key < range.end; key += kDecodeKeys) {
      const auto keys = static_cast<int>(std::min<std::int64_t>(kDecodeKeys, range.end - key));
      VisitFloating(problem_.k.dtype, [&](auto storage) HWY_ATTR {
        using Storage = decltype(storage);
        if constexpr (sizeof(Storage) <= sizeof(Real)) {
          Attend<Storage>(key, keys);
        }
      });
    }
    FoldSums();
  }

  std::int64_t Batch() const { return kv_ / problem_.kv_heads; }
  std::int64_t Head() const { return kv_ % problem_.kv_heads; }

  template <class Storage>
  void Attend(std::int64_t key, int keys) {
    ScoresByRows(RowOf<Storage>(problem_.k, Batch(), Head(), key), problem_.k.strides[2], keys,
                 scratch_.queries, scratch_.dim, rows_, scratch_.dim, scratch_.scores);
    const bool accumulate = tiles_ > 0;
    for (std::int64_t p = 0; p < panels_; ++p) {
      FinishRows(p, key, keys);
      Exponentials(p, keys, accumulate);
    }
    if (is_careful_) {
      StageRows(problem_.v, Batch(), Head(), key, keys, keys, problem_.value_dim, Real{1},
                scratch_.values, scratch_.stride, scratch_.special);
      AddValues(scratch_.values, scratch_.stride, keys, accumulate);
      AddSpecial(key, keys);
    } else {
      AddValues(RowOf<Storage>(problem_.v, Batch(), Head(), key), problem_.v.strides[2], keys,
                accumulate);
    }
    if (++tiles_ == ForwardPlan::kFoldTiles * kTileKeys / kDecodeKeys) FoldSums();
  }

  Real* ScoresOf(std::int64_t p) const { return scratch_.scores + p * queries_ * kDecodeKeys; }

  // What follows the products of panel p's queries and keys.
  void FinishRows(std::int64_t p, std::int64_t key, int keys) {
    constexpr Real kExcluded = -std::numeric_limits<Real>::infinity();
    Real* const scores = ScoresOf(p);
    if (has_tile_) {
      for (int at = 0; at < keys; at += kTileKeys) {
        FinishAsTile(p, key + at, std::min(kTileKeys, keys - at), scores + at);
      }
    } else if (problem_.softcap != 0) {
      CapScores(static_cast<Real>(problem_.softcap), queries_ * (kDecodeKeys / kTileQueries),
                scores);
    }
    for (int i = 0; i < queries_; ++i) {
      Real* const row = scores + i * kDecodeKeys;
      const KeyRange seen = KeysOf(problem_, Batch(), i);
      const auto begin = std::clamp<std::int64_t>(seen.begin - key, 0, keys);
      const auto end = std::clamp<std::int64_t>(seen.end - key, begin, keys);
      std::fill(row, row + begin, kExcluded);
      std::fill(row + end, row + RoundUp(keys), kExcluded);
    }
  }

  // By way of a tile with queries in lanes, as masks, biases and formulas are written for.
  void FinishAsTile(std::int64_t p, std::int64_t key, int keys, Real* scores) {
    const PanelPlace panel = PlaceOf(p);
    const TilePlace place{panel.batch, panel.head, panel.query, key, queries_, keys};
    const TileOffsets offsets = OffsetsOf(problem_, place, scratch_.offsets);
    if (offsets.coverage == Coverage::none) {
      for (int i = 0; i < queries_; ++i) {
        std::fill_n(scores + i * kDecodeKeys, keys, -std::numeric_limits<Real>::infinity());
      }
      return;
    }
    for (int j = 0; j < keys; ++j) {
      for (int i = 0; i < kTileQueries; ++i) {
        scratch_.tile[j * kTileQueries + i] = i < queries_ ? scores[i * kDecodeKeys + j] : Real{0};
      }
    }
    FinishScores(problem_, place, offsets.written ? scratch_.offsets : nullptr, scratch_.tile,
                 scratch_.formula);
    for (int j = 0; j < keys; ++j) {
      for (int i = 0; i < queries_; ++i) {
        scores[i * kDecodeKeys + j] = scratch_.tile[j * kTileQueries + i];
      }
    }
  }

  static int RoundUp(int keys) {
    const auto lanes = static_cast<int>(hn::Lanes(hn::ScalableTag<Real>()));
    return (keys + lanes - 1) / lanes * lanes;
  }

  void Exponentials(std::int64_t p, int keys, bool accumulate) {
    const hn::ScalableTag<Real> d;
    const int lanes = static_cast<int>(hn::Lanes(d)), whole = RoundUp(keys);
    Real* const scores = ScoresOf(p);
    RowState<Real>& state = scratch_.states[p];
    Real* const tops = scratch_.tops;  // as a tile of one key; and then sums
    std::fill_n(tops, kTileQueries, -std::numeric_limits<Real>::infinity());
    for (int i = 0; i < queries_; ++i) tops[i] = MaximumOfRow(scores + i * kDecodeKeys, whole);
    if (RaiseReferences(tops, 1, queries_, margin_, state, scratch_.factors)) {
      const std::int64_t first = p * queries_ * scratch_.stride;
      for (Real* const sums :
           {accumulate ? scratch_.plain : nullptr, scratch_.high, scratch_.low}) {
        if (sums == nullptr) continue;
        ScaleSums(scratch_.factors, queries_, scratch_.stride, sums + first);
      }
    }
    std::fill_n(tops, kTileQueries, Real{0});
    for (int i = 0; i < queries_; ++i) {
      for (int at = 0; at < whole; at += kTileKeys) {
        tops[i] += ExponentialsOfRow(scores + i * kDecodeKeys + at, std::min(kTileKeys, whole - at),
                                     state.reference[i]);
      }
    }
    for (int i = 0; i < queries_; i += lanes) {
      auto high = hn::Load(d, state.high + i), low = hn::Load(d, state.low + i);
      logsum::HWY_NAMESPACE::Accumulate(high, low, hn::Load(d, tops + i));
      hn::Store(high, d, state.high + i);
      hn::Store(low, d, state.low + i);
    }
  }

  template <class Storage>
  void AddValues(const Storage* values, std::int64_t stride, int keys, bool accumulate) {
    ValuesByRows(scratch_.scores, keys, rows_, values, stride, problem_.value_dim, scratch_.plain,
                 scratch_.stride, accumulate);
  }

  void AddSpecial(std::int64_t key, int keys) {
    if (scratch_.special.count == 0) return;
    for (std::int64_t p = 0; p < panels_; ++p) {
      const PanelPlace panel = PlaceOf(p);
      AddSpecialValues(problem_.v, panel.batch, Head(), key, scratch_.special,
                       {panel.batch, panel.head, panel.query, key, queries_, keys}, ScoresOf(p),
                       ScoresOf(p), problem_.value_dim, scratch_.row,
                       scratch_.plain + p * queries_ * scratch_.stride, scratch_.stride, 1,
                       kDecodeKeys);
    }
  }

  void FoldSums() {
    if (tiles_ == 0) return;
    Fold(scratch_.plain, std::int64_t{rows_}, problem_.value_dim, scratch_.stride,
         static_cast<const Real*>(nullptr), scratch_.high, scratch_.low);
    tiles_ = 0;
  }

  const ForwardTask<Real>& task_;
  const Problem& problem_;
  const ForwardPlan& plan_;
  DecodeScratch<Real> scratch_;
  const std::int64_t part_, kv_, first_panel_, panels_;
  const int queries_, rows_;
  const bool has_tile_;
  bool is_careful_ = false;
  Real margin_ = 0;
  int tiles_ = 0;  // since the last fold
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
