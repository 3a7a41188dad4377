// A tile's part in the gradient of the bias, in the bias's own shape.
#if defined(LOGSUM_ATTENTION_BACKWARD_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_BIAS_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_BIAS_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_BIAS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_write-inl.h"
#include "attention/tile.hpp"
#include "core/transpose-inl.h"
#include "core/two_sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A bias with queries and keys: the tile's gradients at (query, key), counted from the target's
// origin. `transposed` has room for a tile.
template <class Real>
HWY_NOINLINE void AddPairs(const Target& to, std::int64_t query, std::int64_t key, int queries,
                           int keys, const Real* HWY_RESTRICT grads, Real* HWY_RESTRICT transposed,
                           bool add) {
  logsum::HWY_NAMESPACE::Transpose(grads, std::int64_t{kTileQueries}, std::int64_t{keys},
                                   std::int64_t{queries}, transposed, std::int64_t{kKeys});
  Target tile = to;
  tile.data = static_cast<std::byte*>(to.data) + (query * to.row_stride + key * to.stride) *
                                                     static_cast<std::int64_t>(SizeOf(to.dtype));
  for (int i = 0; i < queries; ++i) {
    WriteRow(tile, i, keys, transposed + i * std::int64_t{kKeys}, add);
  }
}

// Where the pairs of a cell and a query head go: to the gradient, or to sums that go there later.
template <class Real>
class PairSums {
 public:
  PairSums(const Cell<Real>& cell, std::int64_t head) : cell_(cell) {
    if (cell.plan.bias != BiasSums::pairs) return;
    const View<4>& bias = cell.gradients.bias;
    const bool sums_batch = bias.strides[0] == 0, sums_head = bias.strides[1] == 0;
    // The head's number among those that are summed.
    number_ = (sums_batch ? cell.batch : 0) * (sums_head ? cell.problem.heads : 1) +
              (sums_head ? head : 0);
    count_ = (sums_batch ? cell.problem.batch : 1) * (sums_head ? cell.problem.heads : 1);
    adds_ = (cell.pairs == nullptr ? number_ : number_ % cell.plan.pair_interval) != 0;
    const std::int64_t at = cell.batch * bias.strides[0] + head * bias.strides[1] +
                            cell.queries.begin * bias.strides[2] +
                            cell.keys.begin * bias.strides[3];
    gradient_ = {
        static_cast<std::byte*>(bias.data) + at * static_cast<std::int64_t>(SizeOf(bias.dtype)),
        bias.dtype, bias.strides[2], bias.strides[3], nullptr};
    if (cell.pairs == nullptr) return;
    const std::int64_t member = sums_head ? 0 : head - cell.pairs_head;
    sums_ = cell.pairs + member * cell.plan.queries.group * cell.plan.keys.group;
  }

  Target target() const {
    if (sums_ == nullptr) return gradient_;
    return {sums_, kDType<Real>, cell_.plan.keys.group, 1, nullptr};
  }
  // Whether the target holds other heads' pairs.
  bool adds() const { return adds_; }

  // After the head's tiles.
  void Finish() const {
    const std::int64_t next = number_ + 1, interval = cell_.plan.pair_interval;
    if (sums_ == nullptr || (next % interval != 0 && next != count_)) return;
    for (std::int64_t i = 0; i < cell_.queries.Size(); ++i) {
      WriteRow(gradient_, i, cell_.keys.Size(), sums_ + i * cell_.plan.keys.group, next > interval);
    }
  }

 private:
  const Cell<Real>& cell_;
  std::int64_t number_ = 0, count_ = 1;
  bool adds_ = false;
  Target gradient_;
  Real* sums_ = nullptr;
};

// Zeros where a tile has no pair.
template <class Real>
HWY_NOINLINE void ZeroPairs(const Target& to, std::int64_t query, std::int64_t key, int queries,
                            std::int64_t keys, Real* HWY_RESTRICT row) {
  std::fill_n(row, kKeys, Real{0});
  for (; keys > 0; key += kKeys, keys -= kKeys) {
    Target tile = to;
    tile.data = static_cast<std::byte*>(to.data) + (query * to.row_stride + key * to.stride) *
                                                       static_cast<std::int64_t>(SizeOf(to.dtype));
    for (int i = 0; i < queries; ++i) {
      WriteRow(tile, i, std::min<std::int64_t>(keys, kKeys), row, false);
    }
  }
}

// A bias without queries: sums over the tile's queries, for each key.
template <class Real>
HWY_NOINLINE void AddToKeys(const Compensated<Real>& to, int keys, const Real* HWY_RESTRICT grads) {
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (int j = 0; j < keys; ++j) {
    auto sum = hn::Zero(d);
    for (int at = 0; at < kTileQueries; at += lanes) {
      sum = hn::Add(sum, hn::Load(d, grads + j * kTileQueries + at));
    }
    const auto total = hn::SumOfLanes(d, sum);
    const hn::CappedTag<Real, 1> one;
    auto high = hn::LoadU(one, to.high + j), low = hn::LoadU(one, to.low + j);
    logsum::HWY_NAMESPACE::Accumulate(high, low, hn::Set(one, hn::GetLane(total)));
    hn::StoreU(high, one, to.high + j);
    hn::StoreU(low, one, to.low + j);
  }
}

// A bias without keys: sums over the tile's keys, for each query.
template <class Real>
HWY_NOINLINE void AddToQueries(const Compensated<Real>& to, int queries, int keys,
                               const Real* HWY_RESTRICT grads) {
  constexpr int kChain = 32;
  const hn::ScalableTag<Real> d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  alignas(128) Real high[kTileQueries] = {}, low[kTileQueries] = {};
  std::copy_n(to.high, queries, high);
  std::copy_n(to.low, queries, low);
  for (int at = 0; at < kTileQueries; at += lanes) {
    auto most = hn::Load(d, high + at), rest = hn::Load(d, low + at);
    for (int begin = 0; begin < keys; begin += kChain) {
      auto sum = hn::Zero(d);
      for (int j = begin; j < std::min(begin + kChain, keys); ++j) {
        sum = hn::Add(sum, hn::Load(d, grads + j * kTileQueries + at));
      }
      logsum::HWY_NAMESPACE::Accumulate(most, rest, sum);
    }
    hn::Store(most, d, high + at);
    hn::Store(rest, d, low + at);
  }
  std::copy_n(high, queries, to.high);
  std::copy_n(low, queries, to.low);
}

// A tile's gradients of scores, added to whichever sums the bias's gradient is made of; pairs are
// those of its head.
template <class Real>
HWY_INLINE void AddToBias(const Cell<Real>& cell, const TilePlace& place,
                          const PairSums<Real>& pairs, const Real* HWY_RESTRICT grads,
                          Real* HWY_RESTRICT transposed) {
  const std::int64_t head = place.batch * cell.problem.heads + place.head;
  if (cell.plan.bias == BiasSums::pairs) {
    AddPairs(pairs.target(), place.query - cell.queries.begin, place.key - cell.keys.begin,
             place.queries, place.keys, grads, transposed, pairs.adds());
  } else if (cell.plan.bias == BiasSums::keys) {
    const std::int64_t at = head * cell.problem.keys + place.key;
    AddToKeys<Real>({cell.vector.high + at, cell.vector.low + at}, place.keys, grads);
  } else if (cell.plan.bias == BiasSums::queries) {
    const std::int64_t at = head * cell.problem.queries + place.query;
    AddToQueries<Real>({cell.vector.high + at, cell.vector.low + at}, place.queries, place.keys,
                       grads);
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
