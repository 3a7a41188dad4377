// A cell of the backward pass: a group of queries against a group of keys, five products a tile.
//
//   P^T = exp(S^T - lse)     dv += P^T dO      dS^T = P^T (v dO^T - delta)
//   dk += dS^T q             dq += dS k
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
#include "attention/backward_special-inl.h"
#include "attention/backward_tile-inl.h"
#include "attention/backward_write-inl.h"
#include "attention/offsets-inl.h"
#include "attention/region.hpp"
#include "attention/score_gradient.hpp"
#include "attention/scores-inl.h"
#include "gemm/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
class CellRunner {
 public:
  explicit CellRunner(const Cell<Real>& cell)
      : cell_(cell),
        problem_(cell.problem),
        memory_(cell.problem, &cell.plan, cell.score_elements, Carve(cell.memory)),
        to_q_(cell.q[0].data != nullptr),
        to_k_(cell.k.data != nullptr),
        to_v_(cell.v.data != nullptr),
        has_grads_(to_q_ || to_k_ || cell.plan.bias != BiasSums::none || cell.score != nullptr) {}

  void Run() {
    const std::int64_t tiles = (cell_.keys.Size() + kKeys - 1) / kKeys;
    std::fill_n(memory_.has_tile, tiles, std::uint8_t{0});
    std::fill_n(memory_.is_staged, tiles, std::uint8_t{0});
    for (std::int64_t member = 0; member < problem_.group; ++member) {
      head_ = cell_.kv_head * problem_.group + member;
      target_ = cell_.q[member];
      const PairSums<Real> pairs(cell_, head_);
      pairs_ = pairs.target();
      const bool any = RunHead(pairs.adds());
      has_keys_ |= any;
      pairs.Finish();
    }
    if (!has_keys_) return;
    ClearRest();
    if (to_k_) {
      Write(cell_.k, cell_.keys, problem_.dim, memory_.dk_high, memory_.dk_low, memory_.stride,
            Real{1});
    }
    if (to_v_) {
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
  bool RunHead(bool adds_bias) {
    const bool add = to_q_ && *target_.written != 0;
    const KeyRange range = KeysOf(problem_, cell_.batch, cell_.queries.begin, cell_.queries.end);
    const bool is_empty = range.begin >= cell_.keys.end || range.end <= cell_.keys.begin;
    if (is_empty && (!SumsPairs() || adds_bias)) return false;
    bool any = false;
    for (std::int64_t begin = cell_.queries.begin; begin < cell_.queries.end;
         begin += memory_.block_queries) {
      const Extent queries{begin, std::min(begin + memory_.block_queries, cell_.queries.end)};
      const bool has_pairs = RunBlock(queries, adds_bias);
      any |= has_pairs;
      if (!to_q_ || (!has_pairs && add)) continue;
      // A group is written whole, or not at all.
      if (!has_pairs) std::fill_n(memory_.dq, queries.Size() * memory_.stride, Real{0});
      const bool is_folded = has_pairs && has_folded_;
      WriteSums(target_, queries.begin, queries.Size(), problem_.dim,
                is_folded ? memory_.dq_high : memory_.dq, is_folded ? memory_.dq_low : nullptr,
                memory_.stride, static_cast<Real>(problem_.scale), add);
    }
    if (to_q_ && any) *target_.written = 1;
    return any;
  }

  // Leaves dq in memory_.dq, or in dq_high and dq_low if has_folded_. Whether a pair took part.
  bool RunBlock(Extent queries, bool adds_bias) {
    const KeyRange range = KeysOf(problem_, cell_.batch, queries.begin, queries.end);
    // A bias's gradient is written wherever it is, zeros too.
    const bool writes_all = SumsPairs() && !adds_bias;
    Extent keys{std::max(range.begin, cell_.keys.begin), std::min(range.end, cell_.keys.end)};
    if (writes_all) keys = cell_.keys;
    if (keys.begin >= keys.end) return false;
    StageQueries(problem_, cell_.batch, head_, queries, memory_);
    StageGradients(problem_, cell_.gradients.grad_out, cell_.batch, head_, queries, cell_.delta,
                   cell_.share, memory_);
    const std::int64_t rows = WholePanels(queries.Size()) * kTileQueries;
    if (to_q_) std::fill_n(memory_.dq, rows * memory_.stride, Real{0});
    has_folded_ = false;
    const std::int64_t first = cell_.keys.begin + (keys.begin - cell_.keys.begin) / kKeys * kKeys;
    bool any = false;
    int unfolded = 0;
    for (std::int64_t key = first; key < keys.end; key += kKeys) {
      const int count = static_cast<int>(std::min<std::int64_t>(kKeys, cell_.keys.end - key));
      if (to_q_ && unfolded == kFold) FoldQueries(rows, unfolded);
      if (!RunKeys(queries, key, count, adds_bias)) continue;
      any = true;
      ++unfolded;
    }
    if (to_q_ && has_folded_) FoldQueries(rows, unfolded);
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
  bool RunKeys(Extent queries, std::int64_t key, int keys, bool adds_bias) {
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
      if (offsets.coverage == Coverage::none) {
        if (SumsPairs() && !adds_bias) {
          ZeroPairs(pairs_, place.query - cell_.queries.begin, place.key - cell_.keys.begin,
                    place.queries, place.keys, memory_.transposed);
        }
        continue;
      }
      if (memory_.is_staged[tile] == 0) {
        StageKeys(problem_, cell_.batch, cell_.kv_head, key, keys, has_grads_, memory_);
        memory_.is_staged[tile] = 1;
      }
      RunTile(place, lane, offsets, any, adds_bias);
      any = true;
    }
    if (!any) return false;
    std::uint8_t& has_tile = memory_.has_tile[tile];
    const auto add = [&](const Real* sums, std::int64_t columns, std::int64_t stride, Real* high,
                         Real* low) HWY_ATTR {
      AddSums(sums, keys, columns, stride, has_tile == 0, high + row * stride,
              low == nullptr ? nullptr : low + row * stride);
    };
    if (to_k_) add(memory_.dk, memory_.columns, memory_.stride, memory_.dk_high, memory_.dk_low);
    if (to_v_) {
      add(memory_.dv, memory_.value_columns, memory_.value_stride, memory_.dv_high, memory_.dv_low);
    }
    has_tile = 1;
    return true;
  }

  // accumulate: whether dk and dv hold another tile's.
  void RunTile(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
               bool accumulate, bool adds_bias) {
    using gemm::HWY_NAMESPACE::Product;
    using gemm::HWY_NAMESPACE::Step;
    constexpr std::int64_t kLanes = kTileQueries;
    const SpecialPairs<Real> special(problem_, cell_.gradients.grad_out, memory_, place, lane);
    ScoreTile(problem_, place, lane, special, memory_);
    if (has_grads_) {
      Product(memory_.v_rows, memory_.value_stride, Step<1>(), std::int64_t{place.keys},
              memory_.grad_columns + lane * problem_.value_dim, kLanes, kLanes, problem_.value_dim,
              memory_.grads, kLanes, false);
    }
    WeighTile(place, lane, offsets, special);
    if (has_grads_) PullTile(place, adds_bias);
    if (special.any()) {
      if (!accumulate) {
        std::fill_n(memory_.dk, place.keys * memory_.stride, Real{0});
        std::fill_n(memory_.dv, place.keys * memory_.value_stride, Real{0});
      }
      accumulate = true;
      special.Add(to_q_, to_k_, to_v_);
    }
    if (to_v_) {
      Product(memory_.scores, Step<kTileQueries>(), Step<1>(), std::int64_t{place.keys},
              memory_.grad_rows + lane * memory_.value_stride, memory_.value_stride,
              memory_.value_columns, kLanes, memory_.dv, memory_.value_stride, accumulate);
    }
    if (to_k_) {
      Product(memory_.grads, Step<kTileQueries>(), Step<1>(), std::int64_t{place.keys},
              memory_.q_rows + lane * memory_.stride, memory_.stride, memory_.columns, kLanes,
              memory_.dk, memory_.stride, accumulate);
    }
    if (to_q_) {
      Product(memory_.grads, Step<1>(), Step<kTileQueries>(), kLanes, memory_.k_rows,
              memory_.stride, memory_.columns, std::int64_t{place.keys},
              memory_.dq + lane * memory_.stride, memory_.stride, true);
    }
  }

  void WeighTile(const TilePlace& place, std::int64_t lane, const TileOffsets& offsets,
                 const SpecialPairs<Real>& special) {
    const Real *const lse = memory_.lse + lane, *const share = memory_.share + lane;
    const Real *const delta = memory_.delta + lane, *const offset = memory_.offsets;
    if (special.any()) {
      if (offsets.written) AddOffsets(memory_.offsets, place.keys, memory_.scores);
      if (has_grads_) special.Products();
      special.Weigh(has_grads_);
      return;
    }
    if (offsets.written && has_grads_) {
      Weigh<true, true>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else if (offsets.written) {
      Weigh<true, false>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else if (has_grads_) {
      Weigh<false, true>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    } else {
      Weigh<false, false>(place.keys, lse, share, delta, offset, memory_.scores, memory_.grads);
    }
  }

  // From the gradients of score(s) + bias to those of q . k.
  void PullTile(const TilePlace& place, bool adds_bias) {
    const std::int64_t head = cell_.batch * problem_.heads + head_;
    if (SumsPairs()) {
      AddPairs(pairs_, place.query - cell_.queries.begin, place.key - cell_.keys.begin,
               place.queries, place.keys, memory_.grads, memory_.transposed, adds_bias);
    } else if (cell_.plan.bias == BiasSums::keys) {
      const std::int64_t at = head * problem_.keys + place.key;
      AddToKeys<Real>({cell_.vector.high + at, cell_.vector.low + at}, place.keys, memory_.grads);
    } else if (cell_.plan.bias == BiasSums::queries) {
      const std::int64_t at = head * problem_.queries + place.query;
      AddToQueries<Real>({cell_.vector.high + at, cell_.vector.low + at}, place.queries, place.keys,
                         memory_.grads);
    }
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
  const bool to_q_, to_k_, to_v_, has_grads_;
  std::int64_t head_ = 0;
  Target target_, pairs_;
  bool has_keys_ = false, has_folded_ = false;
};

template <class Real>
void RunCell(const Cell<Real>& cell) {
  CellRunner<Real>(cell).Run();
}

template <class Real>
std::int64_t CellBytes(const Problem& problem, const BackwardPlan& plan,
                       std::int64_t score_elements) {
  return CellMemory<Real>(problem, &plan, score_elements, Carve(nullptr)).bytes;
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
