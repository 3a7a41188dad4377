// The sums of the gradients of a score formula's arrays.
#pragma once
#include <array>
#include <cstdint>

#include "attention/problem.hpp"
#include "attention/score_parse.hpp"
#include "attention/tile.hpp"
#include "core/buffer.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// How many slots a head's tiles are spread over, and sizes of (batch, head, query, key).
struct ScoreExtents {
  std::array<std::int64_t, 4> sizes{};
  int slots = 1;
};

// The sums of one use of an array: for each head one for each query, key or slot; or one for each
// element of an array that is indexed by pairs. A tile's own sums are chains of at most 32 in Real.
class UseSums {
 public:
  // direct: null, or the array's gradient if it has no other use: its memory is that of the sums of
  // pairs where it holds them as well.
  UseSums(const ArrayUse& use, const ScoreExtents& extents, const Tensor* direct, bool is_double);

  // values[j * kTileQueries + i] of `keys` keys from `first` of the tile on.
  template <class Real>
  void Add(const TilePlace& place, int slot, int first, int keys, const Real* values);

  // The sum for an element of the array, heads that share it in order.
  double At(const std::array<std::int64_t, 4>& index) const;

  // Whether heads add to the sums of one pair.
  bool SharesPairs() const { return has_pairs_ && heads_ > 1; }
  bool IsDirect() const { return direct_.data != nullptr; }
  const ArrayUse& use() const { return use_; }

 private:
  // Whether an axis is told apart: always but for heads that share pairs.
  bool Tells(PairAxis axis) const { return !has_pairs_ || use_.Has(axis); }
  double* Line(std::int64_t batch, std::int64_t head) const;

  ArrayUse use_;
  ScoreExtents extents_;
  bool has_pairs_;
  std::int64_t line_;       // sums of a head
  std::int64_t heads_ = 1;  // that add to the sums of one pair
  Buffer<double> sums_;
  View<4> direct_;
};

}  // namespace logsum::attend
