#include "attention/score_presence.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "attention/score_parse.hpp"

namespace logsum::attend {
namespace {

using formula::Builder;
using formula::Expression;
using formula::Node;
using formula::Op;

class Presence {
 public:
  explicit Presence(Builder& builder) : builder_(builder) {}

  // Null: 1.
  Expression Of(const Expression& x) {
    if (IsNegativeInfinity(x)) return builder_.Number(0);
    if (x->op != Op::if_else || DependsOnScore(x->operands[0])) return nullptr;
    const Expression& condition = x->operands[0];
    const Expression chosen = Of(x->operands[1]), other = Of(x->operands[2]);
    if (!chosen && !other) return nullptr;
    const Expression one = builder_.Number(1);
    if (!chosen && formula::IsNumber(other, 0)) {
      // Where(x, a, b) asks whether x - 1 >= 0, for an x that is 0 or 1.
      if (condition->op == Op::subtract && IsComparison(condition->operands[0]) &&
          formula::IsNumber(condition->operands[1], 1)) {
        return condition->operands[0];
      }
      return builder_.Make(Op::less_equal, {builder_.Number(0), condition});
    }
    return builder_.Make(Op::if_else, {condition, chosen ? chosen : one, other ? other : one});
  }

 private:
  static bool IsNegativeInfinity(const Expression& x) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    return formula::IsNumber(x, -kInfinity) ||
           (x->op == Op::negate && formula::IsNumber(x->operands[0], kInfinity));
  }

  static bool IsComparison(const Expression& x) {
    return x->op == Op::equal || x->op == Op::not_equal || x->op == Op::less ||
           x->op == Op::less_equal;
  }

  bool DependsOnScore(const Expression& x) {
    const auto known = depends_.find(x.get());
    if (known != depends_.end()) return known->second;
    const bool does =
        (x->op == Op::variable && x->first == kScoreSlot) ||
        std::ranges::any_of(x->operands, [&](const Expression& y) { return DependsOnScore(y); });
    return depends_.emplace(x.get(), does).first->second;
  }

  Builder& builder_;
  std::unordered_map<const Node*, bool> depends_;
};

}  // namespace

Expression PresenceOf(Builder& builder, const Expression& formula) {
  return Presence(builder).Of(formula);
}

}  // namespace logsum::attend
