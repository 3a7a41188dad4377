// The engine's kernel, compiled once for each real type and CPU target and chosen at run time
// (reduce_cpu_f32.cpp, reduce_cpu_f64.cpp): it runs a program over a cell, some rows by some
// columns of one batch entry, block by block and tile by tile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "reduce/fold.hpp"
#include "reduce/pack.hpp"
#include "reduce/program.hpp"
#include "reduce/tile.hpp"

namespace logsum::reduce {

struct Extent {
  std::int64_t begin = 0, end = 0;

  std::int64_t Size() const { return end - begin; }
};

// How many rows share the values of j, how many columns those of i, and how many rows a tile has,
// whose columns are a block's. Block and tile sizes but rows are multiples of kRun.
struct Blocking {
  std::int64_t block_rows = 0, block_columns = 0, tile_rows = 0;
};

// Elements that planes and rows are multiples of: a vector on every target.
template <class Real>
inline constexpr std::int64_t kRun = 64 / sizeof(Real);

template <class Real>
constexpr std::int64_t PaddedToRun(std::int64_t count) {
  return (count + kRun<Real> - 1) / kRun<Real> * kRun<Real>;
}

// A group's state and the kept index that it begins with.
template <class Real>
struct StateSpan {
  FoldState<Real> state;
  std::int64_t begin = 0;
};

template <class Real>
struct Cell {
  const Program& program;
  std::span<const ArgumentView> arguments;
  std::int64_t num_rows, num_columns;  // M and N
  Extent rows, columns;  // columns.begin lies whole runs behind the beginning of states of columns
  Blocking blocking;
  std::span<const StateSpan<Real>> states;  // one for each group
  Real* memory;                             // CellMemory elements, aligned to 64 bytes
};

// The elements of a plane of each stage. A run more than there are elements, since planes that are
// powers of two apart would share the sets of a first-level cache.
template <class Real>
std::int64_t PlaneSize(Dependence stage, const Blocking& blocking) {
  switch (stage) {
    case Dependence::parameter:
      return kRun<Real>;
    case Dependence::i:
      return PaddedToRun<Real>(blocking.block_rows) + kRun<Real>;
    case Dependence::j:
      return blocking.block_columns + kRun<Real>;
    case Dependence::ij:
      return blocking.tile_rows * blocking.block_columns + kRun<Real>;
  }
  return 0;
}

// The elements of memory that a cell takes.
template <class Real>
std::int64_t CellMemory(const Program& program, const Blocking& blocking) {
  const std::int64_t rows = blocking.block_rows, columns = blocking.block_columns;
  std::int64_t total = program.parameter.planes * PlaneSize<Real>(Dependence::parameter, blocking) +
                       program.row.planes * PlaneSize<Real>(Dependence::i, blocking) +
                       program.column.planes * PlaneSize<Real>(Dependence::j, blocking) +
                       program.tile.planes * PlaneSize<Real>(Dependence::ij, blocking);
  for (const PackedValue& packed : program.packed) {
    total +=
        PackedStride<Real>(packed.location.dim) * (packed.stage == Dependence::i ? rows : columns);
  }
  return total;
}

template <class Real>
struct KernelTable {
  // Pushes all pairs of the cell.
  void (*run)(const Cell<Real>&);
  // Any instruction but leaves and views, for operations that run programs of their own.
  void (*instruction)(Code, const Operation<Real>&);
};

template <class Real>
const KernelTable<Real>& Kernels();

}  // namespace logsum::reduce
