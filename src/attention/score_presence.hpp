// Which pairs a score formula can leave in, as far as that can be told without s.
#pragma once
#include "formula/builder.hpp"

namespace logsum::attend {

// 0 where the formula is -inf whatever s is, for a choice of -inf by a condition without s, and a
// choice within what it leaves: Where(condition, formula, -inf). Null if there is no such choice.
formula::Expression PresenceOf(formula::Builder& builder, const formula::Expression& formula);

}  // namespace logsum::attend
