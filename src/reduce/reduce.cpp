// Parsing a reduction, and what it tells of itself.
#include "logsum/reduce.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "core/errors.hpp"
#include "core/text.hpp"
#include "formula/functions.hpp"
#include "formula/parser.hpp"
#include "formula/print.hpp"
#include "formula/variables.hpp"
#include "reduce/derivation.hpp"

namespace logsum {
namespace {

using reduce::Fold;
using reduce::Group;
using reduce::kFunction;
using reduce::Result;

struct Kind {
  std::string_view name;
  Fold fold;
  Result first;
  bool and_argument = false;  // a second result
};

// pykeops' names, with those that it accepts beside them.
constexpr std::array<Kind, 17> kKinds = {{
    {"Sum", Fold::sum, Result::value},
    {"LogSumExp", Fold::logsumexp, Result::value},
    {"LogSumExpWeight", Fold::logsumexp_weight, Result::value},
    {"SumSoftMaxWeight", Fold::softmax_weight, Result::value},
    {"SoftMax", Fold::softmax_weight, Result::value},
    {"Min", Fold::min, Result::value},
    {"Max", Fold::max, Result::value},
    {"ArgMin", Fold::min, Result::argument},
    {"ArgMax", Fold::max, Result::argument},
    {"Min_ArgMin", Fold::min, Result::value, true},
    {"MinArgMin", Fold::min, Result::value, true},
    {"Max_ArgMax", Fold::max, Result::value, true},
    {"MaxArgMax", Fold::max, Result::value, true},
    {"KMin", Fold::kmin, Result::value},
    {"ArgKMin", Fold::kmin, Result::argument},
    {"KMin_ArgKMin", Fold::kmin, Result::value, true},
    {"KMinArgKMin", Fold::kmin, Result::value, true},
}};

const Kind& FindKind(std::string_view name) {
  const auto place = std::ranges::find(kKinds, name, &Kind::name);
  if (place != kKinds.end()) return *place;
  std::string names;
  for (const Kind& kind : kKinds) names += Text(names.empty() ? "" : ", ", kind.name);
  ThrowInvalid(kFunction, "reduction_op", Text("one of ", names), formula::Quoted(name));
}

bool TakesWeight(Fold fold) {
  return fold == Fold::logsumexp_weight || fold == Fold::softmax_weight;
}

std::vector<ReductionArgument> Arguments(const std::vector<formula::Variable>& variables) {
  std::vector<ReductionArgument> arguments;
  for (std::size_t k = 0; k < variables.size(); ++k) {
    arguments.push_back({.name = variables[k].name,
                         .index = variables[k].index,
                         .dim = variables[k].dim,
                         .position = static_cast<int>(k)});
  }
  return arguments;
}

std::string Over(FormulaIndex kept) {
  if (kept == FormulaIndex::i) return " over j";
  return kept == FormulaIndex::j ? " over i" : " over i and j";
}

std::string_view ResultName(Fold fold, Result result) {
  if (result == Result::lse) return "LogSumExp";
  if (result == Result::residual) return "residual of LogSumExp";
  const bool is_argument = result == Result::argument;
  switch (fold) {
    case Fold::sum:
      return "Sum";
    case Fold::logsumexp:
      return "LogSumExp";
    case Fold::logsumexp_weight:
      return "LogSumExpWeight";
    case Fold::softmax_weight:
      return "SumSoftMaxWeight";
    case Fold::min:
      return is_argument ? "ArgMin" : "Min";
    case Fold::max:
      return is_argument ? "ArgMax" : "Max";
    case Fold::kmin:
      return is_argument ? "ArgKMin" : "KMin";
  }
  return {};
}

}  // namespace

Reduction Reduction::parse(std::string_view formula, std::span<const std::string_view> aliases,
                           std::string_view reduction_op, int axis, int opt_arg,
                           std::string_view formula2) {
  Kind kind = FindKind(reduction_op);
  if (kind.fold == Fold::logsumexp && !formula2.empty()) kind.fold = Fold::logsumexp_weight;
  if (axis != 0 && axis != 1) {
    ThrowInvalid(kFunction, "axis", "0 (reduce over i) or 1 (over j)", std::to_string(axis));
  }
  if (kind.fold == Fold::kmin && opt_arg < 1) {
    ThrowInvalid(kFunction, "opt_arg", Text("K >= 1 for ", reduction_op), std::to_string(opt_arg));
  }
  if (TakesWeight(kind.fold) && formula2.empty()) {
    ThrowInvalid(kFunction, "formula2", Text("the weights of ", reduction_op), "none");
  }
  if (!TakesWeight(kind.fold) && !formula2.empty()) {
    ThrowInvalid(kFunction, "formula2", Text("none for ", reduction_op), formula::Quoted(formula2));
  }

  formula::Builder builder;
  formula::Variables variables;
  for (std::size_t k = 0; k < aliases.size(); ++k) {
    variables.DeclareAlias(kFunction, aliases[k], static_cast<int>(k));
  }
  Group group{.fold = kind.fold,
              .formula = Parse({kFunction, "formula", formula}, builder, variables),
              .weight = nullptr,
              .kept = axis == 1 ? FormulaIndex::i : FormulaIndex::j,
              .count = kind.fold == Fold::kmin ? opt_arg : 0};
  if (TakesWeight(kind.fold)) {
    if (group.formula->dim != 1) {
      ThrowInvalid(kFunction, "formula", Text("dimension 1 for ", reduction_op, " with weights"),
                   Text("dimension ", group.formula->dim));
    }
    group.weight = Parse({kFunction, "formula2", formula2}, builder, variables);
  }

  Body body;
  body.arguments = Arguments(variables.Complete(kFunction));
  body.parsed_arguments = static_cast<int>(body.arguments.size());
  body.targets.push_back({0, kind.first});
  if (kind.and_argument) body.targets.push_back({0, Result::argument});
  for (const reduce::Target& target : body.targets) {
    body.outputs.push_back(reduce::Describe(group, target.result));
  }
  body.groups.push_back(std::move(group));
  return Reduction(reduce::Finish(std::move(body)));
}

std::span<const ReductionArgument> Reduction::arguments() const { return body_->arguments; }

std::span<const ReductionOutput> Reduction::outputs() const { return body_->outputs; }

std::string Reduction::text() const {
  std::vector<std::string> names;
  for (const ReductionArgument& slot : body_->slots) names.push_back(slot.name);
  std::vector<formula::Expression> roots;
  std::vector<std::size_t> first_root;  // of each group: its formula, then its weight
  for (const Group& group : body_->groups) {
    first_root.push_back(roots.size());
    roots.push_back(group.formula);
    if (group.weight) roots.push_back(group.weight);
  }
  const formula::Printed printed = formula::Print(roots, names);
  std::string text;
  for (const std::string& part : printed.parts) text += part + "\n";
  for (std::size_t k = 0; k < body_->targets.size(); ++k) {
    const reduce::Target target = body_->targets[k];
    const auto g = static_cast<std::size_t>(target.group);
    const Group& group = body_->groups[g];
    const std::string* root = &printed.roots[first_root[g]];
    text += Text(ResultName(group.fold, target.result), Over(group.kept), " of ", *root);
    text += group.weight ? Text(", weights ", root[1], "\n") : "\n";
  }
  return text;
}

std::span<const FormulaFunction> formula_functions() {
  static const std::vector<FormulaFunction> rows = [] {
    std::vector<FormulaFunction> result;
    for (const formula::Function& f : formula::Functions()) {
      result.push_back({f.name, f.signature, f.dimensions, f.summary});
    }
    return result;
  }();
  return rows;
}

}  // namespace logsum
