// Making one reduction from another: its arguments, those that derivatives add, and what a fold's
// derivative is made of.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/errors.hpp"
#include "formula/term.hpp"
#include "reduce/body.hpp"

namespace logsum::reduce {

inline constexpr std::string_view kFunction = "Genred";  // in errors

formula::Dependence DependenceOf(FormulaIndex index);
// The arguments with every one of K results split into K.
std::vector<ReductionArgument> Slots(std::span<const ReductionArgument> arguments);
// What people are told of a result.
ReductionOutput Describe(const Group& group, Result result);
// The targets of a body's saving() form: its own, and what is needed beside them.
std::vector<Target> SavingTargets(const Reduction::Body& body);
// Whether an output whose first target is `target` has one for each of its K results, and how many
// it has.
bool IsSplit(const Reduction::Body& body, const ReductionOutput& output, std::size_t target);
std::size_t NumTargets(const Reduction::Body& body, const ReductionOutput& output,
                       std::size_t target);
// Fills in slots and program.
std::shared_ptr<const Reduction::Body> Finish(Reduction::Body body);

// Makes a derivative; one that would be too large is an error like others.
template <class Make>
auto Deriving(std::string_view derivative, const Make& make) {
  try {
    return make();
  } catch (const formula::Refusal& refusal) {
    ThrowInvalid(kFunction, derivative, refusal.expected, refusal.given);
  }
}

class Derivation {
 public:
  // All arguments of the base become given ones, in their order.
  explicit Derivation(const Reduction::Body& base);

  formula::Builder& builder() { return builder_; }
  const Reduction::Body& base() const { return base_; }
  formula::Term Of(const formula::Expression& expression) { return {&builder_, expression}; }

  // Appends an argument, with a name that no other has; returns its slots' expressions.
  std::vector<formula::Expression> Append(ReductionArgument argument);
  // The slots of the base's argument `position`; throws where that is no floating argument.
  std::vector<formula::Expression> Floating(int position);

  // Beside a pair's value: its share of a log-sum-exp group, and whether it is a group's minimum
  // (the k-th). They append the saved outputs they need, once.
  formula::Term Probability(int group);
  formula::Term Match(int group, int k);
  formula::Term TakesPart(int group);  // 0 where the formula is -inf
  formula::Term Saved(int group, Result result);

  formula::Term Formula(int group) { return Of(Base(group).formula); }
  formula::Term Weight(int group) { return Of(Base(group).weight); }
  const Group& Base(int group) const { return base_.groups[static_cast<std::size_t>(group)]; }

  // Adds an output that is a sum over pairs: of one formula, or of K.
  void AddSum(std::vector<formula::Expression> formulas, FormulaIndex kept, std::int64_t count);
  std::shared_ptr<const Reduction::Body> Finish() { return reduce::Finish(std::move(body_)); }

 private:
  const std::vector<formula::Expression>& SavedSlots(int group, Result result);

  const Reduction::Body& base_;
  std::vector<Target> saving_targets_;
  std::vector<std::vector<formula::Expression>> saved_;  // by output of saving()
  formula::Builder builder_;
  Reduction::Body body_;
  std::int64_t num_slots_ = 0;
};

}  // namespace logsum::reduce
