// What is added to the scores of a tile: bias, and -inf for every pair that does not take part.
#if defined(LOGSUM_ATTENTION_OFFSETS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_OFFSETS_INL_H_
#undef LOGSUM_ATTENTION_OFFSETS_INL_H_
#else
#define LOGSUM_ATTENTION_OFFSETS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "attention/problem.hpp"
#include "attention/region.hpp"
#include "attention/tile.hpp"
#include "core/convert-inl.h"
#include "core/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Transpose;
using logsum::HWY_NAMESPACE::WidenRun;

// The offsets of a tile. `written`: whether `offsets` was written at all; if not, every pair's is 0
// (coverage all) or every pair is excluded (coverage none).
struct TileOffsets {
  Coverage coverage = Coverage::all;
  bool written = false;
};

// A tile's part of an array (batch, head, query, key), and its steps. Storage is std::uint8_t for
// booleans, of which any byte but 0 is true.
template <class Storage>
struct TileSource {
  const Storage* data;
  std::int64_t query_step, key_step;

  TileSource(const View<4>& array, const TilePlace& place)
      : data(static_cast<const Storage*>(array.data) + place.batch * array.strides[0] +
             place.head * array.strides[1] + place.query * array.strides[2] +
             place.key * array.strides[3]),
        query_step(array.strides[2]),
        key_step(array.strides[3]) {}
};

// Neighbouring elements as offsets: a bias as it is, a mask as 0 (true) and -inf.
template <class Storage, class Real>
HWY_INLINE void OffsetRun(const Storage* HWY_RESTRICT from, Real* HWY_RESTRICT to,
                          std::int64_t count) {
  if constexpr (std::is_same_v<Storage, std::uint8_t>) {
    for (std::int64_t i = 0; i < count; ++i) {
      to[i] = from[i] != 0 ? Real(0) : -std::numeric_limits<Real>::infinity();
    }
  } else {
    WidenRun(from, to, count);
  }
}

// The same for elements `step` apart.
template <class Storage, class Real>
HWY_INLINE void OffsetSteps(const Storage* HWY_RESTRICT from, std::int64_t step,
                            Real* HWY_RESTRICT to, std::int64_t count) {
  if (step == 1) return OffsetRun(from, to, count);
  for (std::int64_t i = 0; i < count; ++i) OffsetRun(from + i * step, to + i, 1);
}

// tile[j * kTileQueries + i] = offset of query i and key j. Lanes beyond place.queries are left.
template <class Storage, class Real>
void Spread(const TileSource<Storage>& source, const TilePlace& place, Real* HWY_RESTRICT tile) {
  const std::int64_t queries = place.queries, keys = place.keys;
  if (source.query_step == 0) {
    Real of_key[kTileKeys];
    OffsetSteps(source.data, source.key_step, of_key, keys);
    for (std::int64_t j = 0; j < keys; ++j) {
      std::fill_n(tile + j * kTileQueries, kTileQueries, of_key[j]);
    }
    return;
  }
  if (source.key_step == 0) {
    Real of_query[kTileQueries] = {};
    OffsetSteps(source.data, source.query_step, of_query, queries);
    for (std::int64_t j = 0; j < keys; ++j) {
      std::copy_n(of_query, kTileQueries, tile + j * kTileQueries);
    }
    return;
  }
  if (source.query_step == 1) {
    for (std::int64_t j = 0; j < keys; ++j) {
      OffsetRun(source.data + j * source.key_step, tile + j * kTileQueries, queries);
    }
    return;
  }
  if constexpr (std::is_same_v<Storage, Real>) {
    if (source.key_step == 1) {
      Transpose(source.data, source.query_step, queries, keys, tile, kTileQueries);
      return;
    }
  }
  // As many queries at a time as Transpose likes best; the strip stays in the first-level cache.
  constexpr std::int64_t kStrip = 8;
  HWY_ALIGN Real strip[kStrip * kTileKeys];
  for (std::int64_t i = 0; i < queries; i += kStrip) {
    const std::int64_t rows = std::min(kStrip, queries - i);
    for (std::int64_t row = 0; row < rows; ++row) {
      OffsetSteps(source.data + (i + row) * source.query_step, source.key_step,
                  strip + row * kTileKeys, keys);
    }
    Transpose(strip, kTileKeys, rows, keys, tile + i, kTileQueries);
  }
}

// The same for a bias, whose type is f64 beside double only.
template <class Real>
void SpreadBias(const View<4>& array, const TilePlace& place, Real* HWY_RESTRICT tile) {
  if constexpr (sizeof(Real) == sizeof(double)) {
    Spread(TileSource<double>(array, place), place, tile);
  } else {
    switch (array.dtype) {
      case DType::f16:
        return Spread(TileSource<Half>(array, place), place, tile);
      case DType::bf16:
        return Spread(TileSource<BFloat16>(array, place), place, tile);
      default:
        return Spread(TileSource<float>(array, place), place, tile);
    }
  }
}

// Which of a mask's bytes are true.
inline Coverage CoverageOf(const TileSource<std::uint8_t>& mask, const TilePlace& place) {
  // Bytes along `step`, of which there are `count`, are next to one another if any are.
  std::int64_t step = mask.key_step, count = step == 0 ? 1 : place.keys;
  std::int64_t outer_step = mask.query_step, outer = outer_step == 0 ? 1 : place.queries;
  if (outer_step == 1) {
    std::swap(step, outer_step);
    std::swap(count, outer);
  }
  const hn::ScalableTag<std::uint8_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto least = hn::Set(d, 255), most = hn::Zero(d);
  bool some_true = false, some_false = false;
  for (std::int64_t row = 0; row < outer; ++row) {
    const std::uint8_t* const from = mask.data + row * outer_step;
    std::int64_t i = 0;
    if (step == 1) {
      for (; i + lanes <= count; i += lanes) {
        const auto bytes = hn::LoadU(d, from + i);
        least = hn::Min(least, bytes);
        most = hn::Max(most, bytes);
      }
    }
    for (; i < count; ++i) {
      some_true |= from[i * step] != 0;
      some_false |= from[i * step] == 0;
    }
  }
  // 255 and 0 before any byte: neither says anything.
  some_true |= !hn::AllTrue(d, hn::Eq(most, hn::Zero(d)));
  some_false |= !hn::AllFalse(d, hn::Eq(least, hn::Zero(d)));
  if (!some_true) return Coverage::none;
  return some_false ? Coverage::some : Coverage::all;
}

// Whether all, some or none of a tile's offsets are above -inf.
template <class Real>
Coverage CoverageOf(const Real* HWY_RESTRICT offsets, int keys) {
  const hn::ScalableTag<Real> d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(hn::ScalableTag<Real>()));
  static_assert(kTileQueries % (2 * kLanes) == 0);
  const auto excluded = hn::Set(d, -std::numeric_limits<Real>::infinity());
  auto even = hn::FirstN(d, 0), odd = even;
  for (const Real* at = offsets; at < offsets + keys * kTileQueries; at += 2 * kLanes) {
    even = hn::Or(even, hn::Eq(hn::Load(d, at), excluded));
    odd = hn::Or(odd, hn::Eq(hn::Load(d, at + kLanes), excluded));
  }
  if (hn::AllFalse(d, hn::Or(even, odd))) return Coverage::all;
  for (const Real* at = offsets; at < offsets + keys * kTileQueries; at += kLanes) {
    if (!hn::AllTrue(d, hn::Eq(hn::Load(d, at), excluded))) return Coverage::some;
  }
  return Coverage::none;
}

// -inf to all lanes but those of queries that causal, window and lengths admit; zeros to these
// unless there are offsets already.
template <class Real>
void ExcludeRegion(const Problem& problem, const TilePlace& place, bool has_offsets,
                   Real* HWY_RESTRICT offsets) {
  const hn::ScalableTag<Real> d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(hn::ScalableTag<Real>()));
  const auto excluded = hn::Set(d, -std::numeric_limits<Real>::infinity());
  const auto numbers = hn::Iota(d, Real(0));
  // Both ends grow with the key. Where first and last key agree, as when only queries are too few,
  // so do all.
  LaneRange seen = QueriesOf(problem, place, place.key);
  const LaneRange last = QueriesOf(problem, place, place.key + place.keys - 1);
  const bool all_agree = seen.begin < seen.end && seen.begin == last.begin && seen.end == last.end;
  for (int j = 0; j < place.keys; ++j) {
    if (all_agree && !has_offsets && j > 0) {
      std::copy_n(offsets, kTileQueries, offsets + j * kTileQueries);
      continue;
    }
    if (!all_agree) seen = QueriesOf(problem, place, place.key + j);
    for (int i = 0; i < kTileQueries; i += kLanes) {
      Real* const at = offsets + j * kTileQueries + i;
      const auto offset = has_offsets ? hn::Load(d, at) : hn::Zero(d);
      const auto first = hn::Set(d, static_cast<Real>(seen.begin - i));
      const auto end = hn::Set(d, static_cast<Real>(seen.end - i));
      const auto is_seen = hn::And(hn::Ge(numbers, first), hn::Lt(numbers, end));
      hn::Store(hn::IfThenElse(is_seen, offset, excluded), d, at);
    }
  }
}

// -inf where `masked` has it.
template <class Real>
void ExcludeMasked(const Real* HWY_RESTRICT masked, int keys, Real* HWY_RESTRICT offsets) {
  const hn::ScalableTag<Real> d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(hn::ScalableTag<Real>()));
  const auto excluded = hn::Set(d, -std::numeric_limits<Real>::infinity());
  for (int i = 0; i < keys * kTileQueries; i += kLanes) {
    const auto is_out = hn::Eq(hn::Load(d, masked + i), excluded);
    hn::Store(hn::IfThenElse(is_out, excluded, hn::Load(d, offsets + i)), d, offsets + i);
  }
}

// Writes bias, and -inf where mask, bias, causal, window or lengths exclude a pair or where there
// is no query, to offsets[j * kTileQueries + i] for the place.keys rows of the tile (aligned to
// 128 bytes). Coverage::all means that no offset is -inf.
template <class Real>
TileOffsets OffsetsOf(const Problem& problem, const TilePlace& place, Real* HWY_RESTRICT offsets) {
  constexpr TileOffsets kNone = {.coverage = Coverage::none, .written = false};
  const Coverage region = RegionOf(problem, place);
  if (region == Coverage::none) return kNone;
  Coverage mask = Coverage::all;
  if (problem.mask) mask = CoverageOf(TileSource<std::uint8_t>(problem.mask, place), place);
  if (mask == Coverage::none) return kNone;
  const bool has_bias = static_cast<bool>(problem.bias), has_mask = mask == Coverage::some;
  if (!has_bias && !has_mask && region == Coverage::all) return {};
  if (has_bias) SpreadBias(problem.bias, place, offsets);
  if (has_mask && has_bias) {
    alignas(128) Real masked[kTileKeys * kTileQueries];
    Spread(TileSource<std::uint8_t>(problem.mask, place), place, masked);
    ExcludeMasked(masked, place.keys, offsets);
  } else if (has_mask) {
    Spread(TileSource<std::uint8_t>(problem.mask, place), place, offsets);
  }
  if (region != Coverage::all) ExcludeRegion(problem, place, has_mask || has_bias, offsets);
  const Coverage coverage = has_mask || has_bias ? CoverageOf(offsets, place.keys) : region;
  if (coverage == Coverage::none) return kNone;
  return {.coverage = coverage, .written = true};
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
