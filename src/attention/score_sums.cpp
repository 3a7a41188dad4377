#include "attention/score_sums.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "attention/score_arrays.hpp"
#include "core/dtype.hpp"

namespace logsum::attend {
namespace {

// As long as a chain of additions may be (docs/numerics.md).
constexpr int kChain = 32;

// The sum of a row of a tile, by halves.
template <class Real>
Real SumOfRow(const Real* row) {
  Real sums[kTileQueries / 2];
  for (int i = 0; i < kTileQueries / 2; ++i) sums[i] = row[i] + row[i + kTileQueries / 2];
  for (int width = kTileQueries / 4; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

// Calls take(sums) with the sum of each lane over every chain of rows.
template <class Real, class Take>
void ForEachChain(const Real* values, int keys, const Take& take) {
  for (int begin = 0; begin < keys; begin += kChain) {
    Real sums[kTileQueries] = {};
    for (int j = begin; j < std::min(begin + kChain, keys); ++j) {
      for (int i = 0; i < kTileQueries; ++i) sums[i] += values[j * kTileQueries + i];
    }
    take(sums);
  }
}

template <class Storage, class Real>
Storage Narrowed(Real value) {
  if constexpr (std::is_same_v<Real, double>) {
    return FromDouble<Storage>(value);
  } else {
    return FromFloat<Storage>(value);
  }
}

}  // namespace

UseSums::UseSums(const ArrayUse& use, const ScoreExtents& extents, const Tensor* direct,
                 bool is_double)
    : use_(use), extents_(extents), has_pairs_(use.Has(kQueryAxis) && use.Has(kKeyAxis)) {
  const auto& sizes = extents.sizes;
  line_ = has_pairs_            ? sizes[kQueryAxis] * sizes[kKeyAxis]
          : use.Has(kQueryAxis) ? sizes[kQueryAxis]
          : use.Has(kKeyAxis)   ? sizes[kKeyAxis]
                                : extents.slots;
  std::int64_t count = line_;
  for (const PairAxis axis : {kBatchAxis, kHeadAxis}) {
    if (Tells(axis)) {
      count *= sizes[axis];
    } else {
      heads_ *= sizes[axis];
    }
  }
  // One tile a pair is written as it is; several are a chain of additions in the gradient's type.
  const bool adds_well =
      is_double || (heads_ <= kChain && direct != nullptr && direct->dtype == DType::f32);
  if (has_pairs_ && direct != nullptr && (heads_ == 1 || adds_well)) {
    direct_ = ViewOf(use, *direct);
    return;
  }
  sums_ = Buffer<double>(static_cast<std::size_t>(count));
  std::fill_n(sums_.get(), count, 0.0);
}

double* UseSums::Line(std::int64_t batch, std::int64_t head) const {
  std::int64_t line = Tells(kBatchAxis) ? batch : 0;
  if (Tells(kHeadAxis)) line = line * extents_.sizes[kHeadAxis] + head;
  return sums_.get() + line * line_;
}

template <class Real>
void UseSums::Add(const TilePlace& place, int slot, int first, int keys, const Real* values) {
  const std::int64_t key = place.key + first;
  if (IsDirect()) {
    return VisitFloating(direct_.dtype, [&](auto storage) {
      using Storage = decltype(storage);
      const auto& strides = direct_.strides;
      auto* const to = static_cast<Storage*>(direct_.data) + place.batch * strides[kBatchAxis] +
                       place.head * strides[kHeadAxis] + place.query * strides[kQueryAxis] +
                       key * strides[kKeyAxis];
      for (int i = 0; i < place.queries; ++i) {
        for (int j = 0; j < keys; ++j) {
          Storage& sum = to[i * strides[kQueryAxis] + j * strides[kKeyAxis]];
          const Real value = values[j * kTileQueries + i];
          sum = Narrowed<Storage>(heads_ == 1 ? value : static_cast<Real>(ToFloat(sum)) + value);
        }
      }
    });
  }
  double* const sums = Line(place.batch, place.head);
  if (has_pairs_) {
    for (int i = 0; i < place.queries; ++i) {
      double* const row = sums + (place.query + i) * extents_.sizes[kKeyAxis] + key;
      for (int j = 0; j < keys; ++j) row[j] += values[j * kTileQueries + i];
    }
  } else if (use_.Has(kQueryAxis)) {
    ForEachChain(values, keys, [&](const Real* chain) {
      for (int i = 0; i < place.queries; ++i) sums[place.query + i] += chain[i];
    });
  } else if (use_.Has(kKeyAxis)) {
    for (int j = 0; j < keys; ++j) sums[key + j] += SumOfRow(values + j * kTileQueries);
  } else {
    ForEachChain(values, keys, [&](const Real* chain) { sums[slot] += SumOfRow(chain); });
  }
}

template void UseSums::Add(const TilePlace&, int, int, int, const float*);
template void UseSums::Add(const TilePlace&, int, int, int, const double*);

double UseSums::At(const std::array<std::int64_t, 4>& index) const {
  const auto range = [&](PairAxis axis) {
    const bool has = use_.Has(axis);
    return std::pair{has ? index[axis] : 0, has           ? index[axis] + 1
                                            : Tells(axis) ? extents_.sizes[axis]
                                                          : 1};
  };
  const auto [batch_begin, batch_end] = range(kBatchAxis);
  const auto [head_begin, head_end] = range(kHeadAxis);
  double sum = 0;
  for (std::int64_t b = batch_begin; b < batch_end; ++b) {
    for (std::int64_t h = head_begin; h < head_end; ++h) {
      const double* const line = Line(b, h);
      if (has_pairs_) {
        sum += line[index[kQueryAxis] * extents_.sizes[kKeyAxis] + index[kKeyAxis]];
      } else if (use_.Has(kQueryAxis)) {
        sum += line[index[kQueryAxis]];
      } else if (use_.Has(kKeyAxis)) {
        sum += line[index[kKeyAxis]];
      } else {
        for (int slot = 0; slot < extents_.slots; ++slot) sum += line[slot];
      }
    }
  }
  return sum;
}

}  // namespace logsum::attend
