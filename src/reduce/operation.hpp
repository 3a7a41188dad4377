// Instructions with their operands where they lie.
#pragma once
#include <cstddef>
#include <cstdint>

#include "reduce/program.hpp"
#include "reduce/tile.hpp"

namespace logsum::reduce {

// value(k) is where position k of the schedule's values lies; rows and columns stay to be said.
template <class Real, class ValueAt>
Operation<Real> OperationOf(const Instruction& instruction, const Schedule& schedule,
                            const ValueAt& value) {
  const auto dim = [&](int position) {
    return schedule.values[static_cast<std::size_t>(position)].dim;
  };
  Operation<Real> operation{};
  operation.result = value(instruction.result);
  operation.first = instruction.first;
  operation.dim = dim(instruction.result);
  for (std::size_t i = 0; i < 3 && instruction.operands[i] >= 0; ++i) {
    operation.operands[i] = value(instruction.operands[i]);
    operation.dims[i] = dim(instruction.operands[i]);
    // A single component stands for all, whoever reads it.
    if (operation.dims[i] == 1) operation.operands[i].component = 0;
  }
  return operation;
}

}  // namespace logsum::reduce
