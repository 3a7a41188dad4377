#include "reduce/derivation.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "core/errors.hpp"
#include "core/text.hpp"
#include "reduce/program.hpp"

namespace logsum::reduce {

using formula::Dependence;
using formula::Expression;
using formula::Op;
using formula::Term;

Dependence DependenceOf(FormulaIndex index) {
  switch (index) {
    case FormulaIndex::i:
      return Dependence::i;
    case FormulaIndex::j:
      return Dependence::j;
    default:
      return Dependence::parameter;
  }
}

std::vector<ReductionArgument> Slots(std::span<const ReductionArgument> arguments) {
  std::vector<ReductionArgument> slots;
  for (const ReductionArgument& argument : arguments) {
    if (argument.count == 0) {
      slots.push_back(argument);
      continue;
    }
    for (std::int64_t k = 0; k < argument.count; ++k) {
      ReductionArgument slot = argument;
      slot.name += Text("[", k, "]");
      slot.count = 0;
      slots.push_back(std::move(slot));
    }
  }
  return slots;
}

ReductionOutput Describe(const Group& group, Result result) {
  ReductionOutput output{.index = group.kept, .dim = group.formula->dim, .count = group.count};
  output.integer = result == Result::argument;
  output.constant = output.integer || result == Result::residual;
  if (result == Result::value && group.weight) output.dim = group.weight->dim;
  return output;
}

std::vector<Target> SavingTargets(const Reduction::Body& body) {
  std::vector<Target> targets = body.targets;
  const auto need = [&](int group, Result result) {
    const auto same = [&](const Target& target) {
      return target.group == group && target.result == result;
    };
    if (std::ranges::none_of(targets, same)) targets.push_back({group, result});
  };
  for (int g = 0; g < static_cast<int>(body.groups.size()); ++g) {
    switch (body.groups[static_cast<std::size_t>(g)].fold) {
      case Fold::sum:
      case Fold::logsumexp_weight:
        break;
      case Fold::logsumexp:
        need(g, Result::residual);
        break;
      case Fold::softmax_weight:
        need(g, Result::lse);
        need(g, Result::residual);
        break;
      case Fold::min:
      case Fold::max:
      case Fold::kmin:
        need(g, Result::argument);
        break;
    }
  }
  return targets;
}

bool IsSplit(const Reduction::Body& body, const ReductionOutput& output, std::size_t target) {
  const auto group = static_cast<std::size_t>(body.targets[target].group);
  return output.count != 0 && body.groups[group].fold != Fold::kmin;
}

std::size_t NumTargets(const Reduction::Body& body, const ReductionOutput& output,
                       std::size_t target) {
  return IsSplit(body, output, target) ? static_cast<std::size_t>(output.count) : 1;
}

std::shared_ptr<const Reduction::Body> Finish(Reduction::Body body) {
  body.slots = Slots(body.arguments);
  body.program = Compile(body.groups, body.slots);
  return std::make_shared<const Reduction::Body>(std::move(body));
}

Derivation::Derivation(const Reduction::Body& base)
    : base_(base), saving_targets_(SavingTargets(base)), saved_(saving_targets_.size()) {
  for (const Group& group : base.groups) {
    builder_.Adopt(group.formula);
    if (group.weight) builder_.Adopt(group.weight);
  }
  body_.arguments = base.arguments;
  body_.parsed_arguments = base.parsed_arguments;
  for (int k = 0; k < static_cast<int>(body_.arguments.size()); ++k) {
    ReductionArgument& argument = body_.arguments[static_cast<std::size_t>(k)];
    argument.source = ArgumentSource::given;
    argument.position = k;
  }
  num_slots_ = static_cast<std::int64_t>(base.slots.size());
}

std::vector<Expression> Derivation::Append(ReductionArgument argument) {
  const auto is_taken = [&](const std::string& name) {
    return std::ranges::find(body_.arguments, name, &ReductionArgument::name) !=
           body_.arguments.end();
  };
  while (is_taken(argument.name)) argument.name += "_";
  std::vector<Expression> slots;
  for (std::int64_t k = 0; k < std::max<std::int64_t>(argument.count, 1); ++k, ++num_slots_) {
    slots.push_back(argument.integer ? builder_.Match(num_slots_, argument.dim)
                                     : builder_.Variable(num_slots_, argument.dim,
                                                         DependenceOf(argument.index)));
  }
  body_.arguments.push_back(std::move(argument));
  return slots;
}

std::vector<Expression> Derivation::Floating(int position) {
  const auto count = static_cast<int>(base_.arguments.size());
  if (position < 0 || position >= count) {
    ThrowInvalid(kFunction, "arguments", Text("positions from 0 to ", count - 1),
                 std::to_string(position));
  }
  std::int64_t slot = 0;
  for (int k = 0; k < position; ++k) {
    slot += std::max<std::int64_t>(base_.arguments[static_cast<std::size_t>(k)].count, 1);
  }
  const ReductionArgument& argument = base_.arguments[static_cast<std::size_t>(position)];
  if (argument.integer) {
    ThrowInvalid(kFunction, "arguments", "floating ones", argument.name + ", which is an index");
  }
  std::vector<Expression> slots;
  for (std::int64_t k = 0; k < std::max<std::int64_t>(argument.count, 1); ++k, ++slot) {
    slots.push_back(builder_.Variable(slot, argument.dim, DependenceOf(argument.index)));
  }
  return slots;
}

const std::vector<Expression>& Derivation::SavedSlots(int group, Result result) {
  const auto place = std::ranges::find_if(saving_targets_, [&](const Target& target) {
    return target.group == group && target.result == result;
  });
  const auto position = static_cast<std::size_t>(place - saving_targets_.begin());
  std::vector<Expression>& slots = saved_[position];
  if (slots.empty()) {
    constexpr std::array<const char*, 4> kNames = {"value", "index", "lse", "residual"};
    const ReductionOutput output = Describe(Base(group), result);
    slots = Append({.name = kNames[static_cast<std::size_t>(result)],
                    .index = output.index,
                    .dim = output.dim,
                    .source = ArgumentSource::saved,
                    .position = static_cast<int>(position),
                    .integer = output.integer,
                    .count = output.count});
  }
  return slots;
}

Term Derivation::Saved(int group, Result result) { return Of(SavedSlots(group, result)[0]); }

Term Derivation::Match(int group, int k) {
  return Of(SavedSlots(group, Result::argument)[static_cast<std::size_t>(k)]);
}

Term Derivation::Probability(int group) {
  const Result lse = Base(group).fold == Fold::logsumexp ? Result::value : Result::lse;
  const Term value = Saved(group, lse);
  return Apply(Op::probability, Formula(group), value, Saved(group, Result::residual));
}

Term Derivation::TakesPart(int group) {
  return Formula(group) != Formula(group).Number(-std::numeric_limits<double>::infinity());
}

void Derivation::AddSum(std::vector<Expression> formulas, FormulaIndex kept, std::int64_t count) {
  body_.outputs.push_back({.index = kept, .dim = formulas[0]->dim, .count = count});
  for (Expression& formula : formulas) {
    body_.targets.push_back({static_cast<int>(body_.groups.size()), Result::value});
    body_.groups.push_back(
        {.fold = Fold::sum, .formula = std::move(formula), .weight = nullptr, .kept = kept});
  }
}

}  // namespace logsum::reduce
