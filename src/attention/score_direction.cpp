#include "attention/score_direction.hpp"

#include <cstddef>
#include <cstdint>

#include "attention/score_arrays.hpp"
#include "formula/differentiate.hpp"

namespace logsum::attend {

using formula::Builder;
using formula::Dependence;
using formula::Expression;

ScoreDirection::ScoreDirection(Builder& builder, const Score::Body& score,
                               std::span<const Tensor> arrays)
    : variables_{builder.Variable(kScoreSlot, 1, Dependence::ij)},
      tangents_{builder.Variable(kScoreTangentSlot, 1, Dependence::ij)},
      views_(score.views) {
  for (std::size_t k = 0; k < score.formula.uses.size(); ++k) {
    const ArrayUse& use = score.formula.uses[k];
    const auto array = static_cast<std::size_t>(use.array);
    if (array >= arrays.size() || arrays[array].data == nullptr) continue;
    const Expression& variable = score.formula.variables[k];
    const auto slot = kFirstUseSlot + static_cast<std::int64_t>(views_.size());
    variables_.push_back(variable);
    tangents_.push_back(builder.Variable(slot, 1, variable->dependence));
    views_.push_back(ViewOf(use, arrays[array]));
  }
}

Expression ScoreDirection::TangentOf(Builder& builder, const Expression& value) const {
  return formula::Tangent(builder, value, variables_, tangents_);
}

}  // namespace logsum::attend
