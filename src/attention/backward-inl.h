// A cell of the backward pass: a group of queries against a group of keys, tile by tile.
//
// Chains of additions, none longer than 32: pairs in registers; these chunks plainly, of a block of
// queries (dk, dv) or of kFold tiles of keys (dq); these plainly or, if there are more, compensated
// over the cell; then one addition a cell.
#if defined(LOGSUM_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_bias-inl.h"
#include "attention/backward_block-inl.h"
#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_write-inl.h"
#include "attention/offsets-inl.h"
#include "attention/region.hpp"
#include "attention/score.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Tile: what is computed of a tile (GradientTile).
template <class Real, class Tile>
class CellRunner {
 public:
  explicit CellRunner(const Cell<Real>& cell)
      : cell_(cell), problem_(cell.problem), tile_(cell), memory_(tile_.memory()) {}

  void Run() {
    const std::int64_t tiles = (cell_.keys.Size() + kKeys - 1) / kKeys;
    std::fill_n(memory_.has_tile, tiles, std::uint8_t{0});
    std::fill_n(memory_.is_staged, tiles, std::uint8_t{0});
    for (std::int64_t member = 0; member < problem_.group; ++member) {
      head_ = cell_.kv_head * problem_.group + member;
      target_ = cell_.q[member];
      const PairSums<Real> pairs(cell_, head_);
      has_keys_ |= RunHead(pairs);
      pairs.Finish();
    }
    if (!has_keys_) return;
    ClearRest();
    if (cell_.ToK()) {
      Write(cell_.k, cell_.keys, problem_.dim, memory_.dk_high, memory_.dk_low, memory_.stride,
            Real{1});
    }
    if (cell_.ToV()) {
      Write(cell_.v, cell_.keys, problem_.value_dim, memory_.dv_high, memory_.dv_low,
            memory_.value_stride, Real{1});
    }
  }

 private:
  // Sums of keys that no tile reached.
  void ClearRest() {
    for (std::int64_t row = 0, tile = 0; row < cell_.keys.Size(); row += kKeys, ++tile) {
      if (memory_.has_tile[tile] != 0) continue;
      const std::int64_t rows = std::min<std::int64_t>(kKeys, cell_.keys.Size() - row);
      const auto clear = [&](Real* sums, std::int64_t stride) {
        if (sums != nullptr) std::fill_n(sums + row * stride, rows * stride, Real{0});
      };
      clear(memory_.dk_high, memory_.stride);
      clear(memory_.dk_low, memory_.stride);
      clear(memory_.dv_high, memory_.value_stride);
      clear(memory_.dv_low, memory_.value_stride);
    }
  }
  static void Write(const Target& to, Extent rows, std::int64_t dim, Real* high, const Real* low,
                    std::int64_t stride, Real factor) {
    WriteSums(to, rows.begin, rows.Size(), dim, high, low, stride, factor, *to.written != 0);
    *to.written = 1;
  }
  bool SumsPairs() const { return cell_.plan.bias == BiasSums::pairs; }

  // A query head. Whether a pair took part.
  bool RunHead(const PairSums<Real>& pairs) {
    const bool add = cell_.ToQ() && *target_.written != 0;
    const KeyRange range = KeysOf(problem_, cell_.batch, cell_.queries.begin, cell_.queries.end);
    const bool is_empty = range.begin >= cell_.keys.end || range.end <= cell_.keys.begin;
    if (is_empty && (!SumsPairs() || pairs.adds())) return false;
    bool any = false;
    for (std::int64_t begin = cell_.queries.begin; begin < cell_.queries.end;
         begin += memory_.block_queries) {
      const Extent queries{begin, std::min(begin + memory_.block_queries, cell_.queries.end)};
      const bool has_pairs = RunBlock(queries, pairs);
      any |= has_pairs;
      if (!cell_.ToQ() || (!has_pairs && add)) continue;
      // A group is written whole, or not at all.
      if (!has_pairs) std::fill_n(memory_.dq, queries.Size() * memory_.stride, Real{0});
      const bool is_folded = has_pairs && has_folded_;
      WriteSums(target_, queries.begin, queries.Size(), problem_.dim,
                is_folded ? memory_.dq_high : memory_.dq, is_folded ? memory_.dq_low : nullptr,
                memory_.stride, static_cast<Real>(problem_.scale), add);
    }
    if (cell_.ToQ() && any) *target_.written = 1;
    return any;
  }

  // Leaves dq in memory_.dq, or in dq_high and dq_low if has_folded_. Whether a pair took part.
  bool RunBlock(Extent queries, const PairSums<Real>& pairs) {
    const KeyRange range = KeysOf(problem_, cell_.batch, queries.begin, queries.end);
    // A bias's gradient is written wherever it is, zeros too.
    const bool writes_all = SumsPairs() && !pairs.adds();
    Extent keys{std::max(range.begin, cell_.keys.begin), std::min(range.end, cell_.keys.end)};
    if (writes_all) keys = cell_.keys;
    if (keys.begin >= keys.end) return false;
    tile_.StageBlock(head_, queries);
    const std::int64_t rows = WholePanels(queries.Size()) * kTileQueries;
    if (cell_.ToQ()) std::fill_n(memory_.dq, rows * memory_.stride, Real{0});
    has_folded_ = false;
    const std::int64_t first = cell_.keys.begin + (keys.begin - cell_.keys.begin) / kKeys * kKeys;
    bool any = false;
    int unfolded = 0;
    for (std::int64_t key = first; key < keys.end; key += kKeys) {
      const int count = static_cast<int>(std::min<std::int64_t>(kKeys, cell_.keys.end - key));
      if (cell_.ToQ() && unfolded == kFold / Tile::kTerms) FoldQueries(rows, unfolded);
      if (!RunKeys(queries, key, count, pairs)) continue;
      any = true;
      ++unfolded;
    }
    if (cell_.ToQ() && has_folded_) FoldQueries(rows, unfolded);
    return any;
  }

  void FoldQueries(std::int64_t rows, int& unfolded) {
    AddSums(memory_.dq, rows, memory_.columns, memory_.stride, !has_folded_, memory_.dq_high,
            memory_.dq_low);
    std::fill_n(memory_.dq, rows * memory_.stride, Real{0});
    has_folded_ = true;
    unfolded = 0;
  }

  // A block of queries against a tile's keys. Whether a pair took part.
  bool RunKeys(Extent queries, std::int64_t key, int keys, const PairSums<Real>& pairs) {
    bool any = false;
    const std::int64_t row = key - cell_.keys.begin, tile = row / kKeys;
    memory_.SetTile(row);
    for (std::int64_t lane = 0; lane < queries.Size(); lane += kTileQueries) {
      const TilePlace place{
          cell_.batch,
          head_,
          queries.begin + lane,
          key,
          static_cast<int>(std::min<std::int64_t>(kTileQueries, queries.Size() - lane)),
          keys};
      const TileOffsets offsets = OffsetsOf(problem_, place, memory_.offsets);
      if (offsets.coverage == Coverage::none ||
          !MayTakePart(problem_, place, memory_.score_scratch)) {
        if (SumsPairs() && !pairs.adds()) {
          ZeroPairs(pairs.target(), place.query - cell_.queries.begin, place.key - cell_.keys.begin,
                    place.queries, place.keys, memory_.transposed);
        }
        continue;
      }
      if (!any) {
        tile_.StageKeys(key, keys, memory_.is_staged[tile] != 0);
        memory_.is_staged[tile] = 1;
      }
      tile_.Run(place, lane, offsets, pairs, any);
      any = true;
    }
    if (!any) return false;
    std::uint8_t& has_tile = memory_.has_tile[tile];
    const auto add = [&](const Real* sums, std::int64_t columns, std::int64_t stride, Real* high,
                         Real* low) HWY_ATTR {
      AddSums(sums, keys, columns, stride, has_tile == 0, high + row * stride,
              low == nullptr ? nullptr : low + row * stride);
    };
    if (cell_.ToK())
      add(memory_.dk, memory_.columns, memory_.stride, memory_.dk_high, memory_.dk_low);
    if (cell_.ToV()) {
      add(memory_.dv, memory_.value_columns, memory_.value_stride, memory_.dv_high, memory_.dv_low);
    }
    has_tile = 1;
    return true;
  }

  const Cell<Real>& cell_;
  const Problem& problem_;
  Tile tile_;
  CellMemory<Real>& memory_;
  std::int64_t head_ = 0;
  Target target_;
  bool has_keys_ = false, has_folded_ = false;
};

template <class Real, class Tile>
void RunCell(const Cell<Real>& cell) {
  CellRunner<Real, Tile>(cell).Run();
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
