// How the pairs of a call are cut: by shapes alone, so that neither values nor the number of
// threads change a bit.
#pragma once
#include <cstdint>

#include "reduce/kernels.hpp"
#include "reduce/program.hpp"

namespace logsum::reduce {

// An axis in equal parts, the last one shorter.
struct Cut {
  std::int64_t size = 0, part = 1;

  std::int64_t Count() const { return size == 0 ? 0 : (size + part - 1) / part; }
  Extent Part(std::int64_t i) const {
    const std::int64_t begin = i * part;
    return {begin, begin + part < size ? begin + part : size};
  }
};

// A task takes a part of the axis `main` against a part of the other. Where both axes are kept
// and both are long, the parts of a band of main meet all parts of the other axis in rounds: states
// are those of a band and of the whole other axis, which is the one that keeps less.
//
// Otherwise groups that keep `main` have a state for each task, to be merged with those of the same
// part of main, and all others one for each task too, of everything they keep.
struct Plan {
  std::int64_t num_rows = 0, num_columns = 0;
  Blocking blocking;
  FormulaIndex main = FormulaIndex::i;
  bool rounds = false;
  std::int64_t band = 0;  // of main, in rounds: whole parts
  Cut rows, columns;

  const Cut& Main() const { return main == FormulaIndex::i ? rows : columns; }
  const Cut& Other() const { return main == FormulaIndex::i ? columns : rows; }
};

// `element_size`: bytes of the arithmetic's type; `entries`: of the batch.
Plan MakePlan(const Program& program, std::int64_t num_rows, std::int64_t num_columns,
              std::int64_t entries, std::int64_t element_size);

}  // namespace logsum::reduce
