// Folding tiles into results: the states of reductions, and what is done with them.
//
// A state belongs to neighbouring kept indices, lies in memory that the caller owns and moves (64
// bytes aligned, StateBytes long), and goes through Init, pushes (fold-inl.h, once for each CPU
// target), Merge with states of the same kept indices over other reduced ones, and Write. The
// reduced indices of pushes and merges are disjoint and may come in any order; the same order gives
// the same bits.
#pragma once
#include <cstddef>
#include <cstdint>

#include "logsum/tensor.hpp"
#include "reduce/body.hpp"
#include "reduce/tile.hpp"

namespace logsum::reduce {

inline constexpr std::size_t kStateAlign = 64;

struct FoldShape {
  Fold fold = Fold::sum;
  FormulaIndex kept = FormulaIndex::i;  // i: a tile's rows; j: its columns; parameter: one result
  std::int64_t dim = 1;    // of the result: the weight's where the fold has one, else the formula's
  std::int64_t count = 0;  // K of kmin
  // Of sum and softmax_weight: pushed by PushWeighted (weighted-inl.h) and by nothing else, which
  // keeps components in SIMD lanes.
  bool weighted = false;
};

// The state of `size` kept indices (1 where kept is parameter).
template <class Real>
struct FoldState {
  FoldShape shape;
  std::int64_t size = 0;
  std::byte* memory = nullptr;
};

// Where a result goes. Strides are in elements: along kept indices, the K of kmin, components.
struct FoldOutput {
  void* data = nullptr;
  DType dtype = DType::f32;  // i64 for Result::argument, else floating: rounded once
  std::int64_t kept = 0, count = 0, component = 0;
  // For Result::residual: the dtype that the value was written in, whose rounding it makes up for.
  DType value_dtype = DType::f32;
};

template <class Real>
std::size_t StateBytes(const FoldShape& shape, std::int64_t size);

// The state of nothing.
template <class Real>
void InitState(const FoldState<Real>& state);

// Adds `other` to `state`: same shape, same size.
template <class Real>
void MergeStates(const FoldState<Real>& state, const FoldState<Real>& other);

// Writes the result of kept indices [begin, end) of the state; output.data is that of `begin`.
template <class Real>
void WriteState(const FoldState<Real>& state, Result result, std::int64_t begin, std::int64_t end,
                const FoldOutput& output);

// What sums add: value * times * row, or those of them that there are; the others' data is null.
// Where there is a mask, terms at its zeros take no part: by themselves they are zero or NaN. `row`
// is one of i alone, and for sums over i. What has one component for all `dim` has the step 0.
template <class Real>
struct SumTerms {
  TileValue<Real> value, times{}, row{}, mask{};
  std::int64_t dim = 1;
};

// What PushWeighted folds: the sum over the reduced index of w V, or w (U - V), times `factor`.
// Vectors lie row by row (of the reduced or of the kept index), `stride` = PackedStride(dim)
// elements apart; what stands behind their components is zeros.
template <class Real>
struct WeightedTile {
  TileValue<Real> weight;         // w; softmax_weight: the formula F, of which it makes w
  const Real* vectors = nullptr;  // V of the tile's first reduced index
  const Real* kept = nullptr;     // U of the tile's first kept index; null: no U
  std::int64_t stride = 0;
  Real factor = 1;    // of a sum: the differences' negative is -1
  bool keep = false;  // of a sum: a weight of zero takes its vector out, even an infinite one
};

// A multiple of 64 bytes on every target, so that packing and states need not know it.
template <class Real>
constexpr std::int64_t PackedStride(std::int64_t dim) {
  constexpr std::int64_t kRun = 64 / sizeof(Real);
  return (dim + kRun - 1) / kRun * kRun;
}

}  // namespace logsum::reduce
