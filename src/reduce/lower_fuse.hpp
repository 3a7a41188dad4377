// Neighbouring instructions as one.
#pragma once
#include <span>
#include <vector>

#include "reduce/lower.hpp"

namespace logsum::reduce {

// Replaces the terms of `roots` by ones in which multiplications join additions, exponentials what
// is around them: an instruction that stores nothing in between saves what it would take longest
// for. Only values that nothing else wants, and of one stage, are joined.
void Fuse(TermGraph& graph, std::span<int* const> roots);

}  // namespace logsum::reduce
