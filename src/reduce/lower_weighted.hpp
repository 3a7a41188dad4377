// Sums of vectors with scalar weights, which have a kernel of their own.
#pragma once
#include <optional>
#include <vector>

#include "reduce/lower.hpp"

namespace logsum::reduce {

// The sum of factor * weight * vector; vectors as in fold.hpp: `reduced` (V) depends on the reduced
// index alone, `kept` (U, or -1) on the kept one: the vector is V, or U - V.
struct WeightedTerm {
  int weight = -1;
  int reduced = -1, kept = -1;
  double factor = 1;
  bool keep = false;
};

// Vectors shorter than this are cheaper component by component.
inline constexpr std::int64_t kLeastWeightedDim = 4;

// `formula` as a sum of such terms, or nothing where it is none. Weights are new terms of `graph`.
std::optional<std::vector<WeightedTerm>> AsWeightedTerms(TermGraph& graph, int formula,
                                                         FormulaIndex kept);

}  // namespace logsum::reduce
