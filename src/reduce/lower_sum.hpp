// Sums of products. What their terms share, the factors that depend on the kept index alone, is
// multiplied in once for a group of terms, and sums that then are of the same terms are one. The
// last product is made where it is added.
#pragma once
#include "reduce/lower.hpp"

namespace logsum::reduce {

// scale * the sum over the reduced index of value * times * row, where terms at a zero `mask` take
// no part; -1 for what there is not. `row`, of sums over i, depends on i alone. `scale` depends on
// the kept index alone; where everything is summed, it may depend on i.
//
// Without a look at the mask a term is zero or NaN where the mask is zero.
struct SumOfTerms {
  int value = -1, times = -1, row = -1;
  int mask = -1;
  int scale = -1;
};

// The sum of `formula`, whose parts may become new terms of `graph`.
SumOfTerms AsSumOfTerms(TermGraph& graph, int formula, FormulaIndex kept);

}  // namespace logsum::reduce
