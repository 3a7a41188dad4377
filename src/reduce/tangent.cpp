// Forward mode: the derivatives of a reduction's results along tangents of its arguments.
#include "core/text.hpp"
#include "formula/differentiate.hpp"
#include "formula/pull.hpp"
#include "reduce/derivation.hpp"

namespace logsum {
namespace {

using formula::Expression;
using formula::Keep;
using formula::Op;
using formula::Product;
using formula::Term;
using reduce::Derivation;
using reduce::Fold;
using reduce::Group;
using reduce::Result;

// Tangents of expressions along those of the wanted arguments.
class Along {
 public:
  Along(Derivation& derivation, std::span<const int> arguments) : derivation_(derivation) {
    for (const int position : arguments) {
      const std::vector<Expression> slots = derivation.Floating(position);
      variables_.insert(variables_.end(), slots.begin(), slots.end());
    }
    for (const int position : arguments) {
      const ReductionArgument& argument =
          derivation.base().arguments[static_cast<std::size_t>(position)];
      const std::vector<Expression> slots = derivation.Append({.name = Text("d", argument.name),
                                                               .index = argument.index,
                                                               .dim = argument.dim,
                                                               .source = ArgumentSource::tangent,
                                                               .position = position,
                                                               .count = argument.count});
      tangents_.insert(tangents_.end(), slots.begin(), slots.end());
    }
  }

  Term operator()(const Term& value) const {
    const Expression tangent =
        Tangent(derivation_.builder(), value.expression, variables_, tangents_);
    return derivation_.Of(tangent ? tangent : derivation_.builder().Zero(value.dim()));
  }

 private:
  Derivation& derivation_;
  std::vector<Expression> variables_, tangents_;
};

// What is summed over pairs; of each of the K results of a kmin.
std::vector<Expression> Formulas(Derivation& derivation, const Along& along, int g, Result result) {
  const Group& group = derivation.Base(g);
  const Term slope = along(derivation.Formula(g));
  const auto masked = [](const Term& mask, const Term& x) {
    return std::vector<Expression>{Keep(mask, x).expression};
  };
  switch (group.fold) {
    case Fold::sum:
      return {slope.expression};
    case Fold::logsumexp: {
      const Term p = derivation.Probability(g);
      return masked(p, Product(p, slope));
    }
    case Fold::softmax_weight: {
      const Term p = derivation.Probability(g);
      if (result == Result::lse) return masked(p, Product(p, slope));
      const Term weight = derivation.Weight(g), mean = derivation.Saved(g, Result::value);
      return masked(p, Product(p, Product(slope, weight - mean) + along(weight)));
    }
    case Fold::logsumexp_weight: {
      const Term weight = derivation.Weight(g);
      const Term ratio =
          Apply(Op::ratio, derivation.Formula(g), derivation.Saved(g, Result::value));
      return masked(derivation.TakesPart(g),
                    Product(ratio, Keep(weight, Product(slope, weight)) + along(weight)));
    }
    case Fold::min:
    case Fold::max: {
      const Term match = derivation.Match(g, 0);
      return masked(match, Product(match, slope));
    }
    case Fold::kmin: {
      std::vector<Expression> formulas;
      for (int k = 0; k < static_cast<int>(group.count); ++k) {
        const Term match = derivation.Match(g, k);
        formulas.push_back(Keep(match, Product(match, slope)).expression);
      }
      return formulas;
    }
  }
  return {};
}

}  // namespace

Reduction Reduction::tangent(std::span<const int> arguments) const {
  return reduce::Deriving("tangent", [&] {
    Derivation derivation(*body_);
    const Along along(derivation, arguments);
    std::size_t next_target = 0;
    for (const ReductionOutput& output : body_->outputs) {
      const std::size_t target = next_target;
      next_target += reduce::NumTargets(*body_, output, target);
      if (output.integer) continue;
      std::vector<Expression> formulas;
      for (std::size_t t = target; t < next_target; ++t) {
        const reduce::Target& base = body_->targets[t];
        if (output.constant) {
          formulas.push_back(derivation.builder().Zero(output.dim));
          continue;
        }
        for (Expression& formula : Formulas(derivation, along, base.group, base.result)) {
          formulas.push_back(std::move(formula));
        }
      }
      derivation.AddSum(std::move(formulas), output.index, output.count);
    }
    return Reduction(derivation.Finish());
  });
}

}  // namespace logsum
