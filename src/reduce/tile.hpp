// Tiles of pairs, and how a value lies in one.
//
// A tile is a few rows (i) by many columns (j): columns lie in SIMD lanes. Rows of columns are
// padded to whole vectors; what stands in the padding is unspecified and folds leave it out.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace logsum::reduce {

// Component d of the value of pair (r, c) of a tile is
// data[d * component + r * row + (per_column ? c : 0)].
// A value of j alone has row 0; one of i alone has row 1 and is not per column; a parameter has
// row 0 and is not per column. Data that is per column is aligned to whole vectors, row by row.
template <class Real>
struct TileValue {
  Real* data = nullptr;
  std::ptrdiff_t component = 0;
  std::ptrdiff_t row = 0;
  bool per_column = false;
};

// An instruction on a tile. Operands that have one component for all of the result's `dim` have
// component 0. Rows are as long as `columns`, a multiple of the vector; the result is per column.
template <class Real>
struct Operation {
  TileValue<Real> result;
  std::array<TileValue<Real>, 3> operands;
  std::array<std::int64_t, 3> dims;  // of the operands in memory
  std::int64_t dim = 1;              // of the result
  std::int64_t rows = 0, columns = 0;
  std::int64_t first = 0;  // as Instruction::first
};

// Where a tile lies among all pairs.
struct TileSpan {
  std::int64_t row = 0, column = 0;  // of its first pair
  std::int64_t rows = 0, columns = 0;
};

}  // namespace logsum::reduce
