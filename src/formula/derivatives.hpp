// The derivative of every operation, in one table.
#pragma once
#include "formula/pull.hpp"

namespace logsum::formula {

// Sends the adjoint of `node` on to the operands that want it.
void PullBack(Builder& builder, const Expression& node, Pull::Adjoints& adjoints);

}  // namespace logsum::formula
