// The gradient of a reduction: sums over pairs again, all of them in one pass.
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
using formula::Root;
using formula::Term;
using reduce::Derivation;
using reduce::Fold;
using reduce::Group;
using reduce::Result;

// Roots whose gradient, summed over all pairs, is that of the group's result times `incoming`.
// Terms that take no part in the result (a share of 0, not the minimum) are under a mask.
void AddRoots(Derivation& derivation, int g, Result result, std::span<const Expression> incoming,
              std::vector<Root>& roots) {
  const Group& group = derivation.Base(g);
  const Term e = derivation.Of(incoming[0]);
  const auto add = [&](const Expression& value, const Term& adjoint, const Term& mask) {
    roots.push_back({value, adjoint.expression, mask.expression});
  };
  switch (group.fold) {
    case Fold::sum:
      roots.push_back({group.formula, e.expression});
      return;
    case Fold::logsumexp: {
      const Term p = derivation.Probability(g);
      return add(group.formula, Product(e, p), p);
    }
    case Fold::softmax_weight: {
      const Term p = derivation.Probability(g);
      if (result == Result::lse) return add(group.formula, Product(e, p), p);
      const Term weight = derivation.Weight(g), mean = derivation.Saved(g, Result::value);
      add(group.formula, Product(p, Dot(e, weight) - Dot(e, mean)), p);
      return add(group.weight, Product(p, e), p);
    }
    case Fold::logsumexp_weight: {
      const Term weight = derivation.Weight(g);
      const Term ratio =
          Apply(Op::ratio, derivation.Formula(g), derivation.Saved(g, Result::value));
      const Term mask = derivation.TakesPart(g);
      // A weight of 0 takes its term out, even an infinite one.
      add(group.formula, Sum(Keep(weight, Product(Product(e, ratio), weight))), mask);
      return add(group.weight, Product(e, ratio), mask);
    }
    case Fold::min:
    case Fold::max: {
      const Term match = derivation.Match(g, 0);
      return add(group.formula, Product(e, match), match);
    }
    case Fold::kmin: {
      Term adjoint = Product(e, derivation.Match(g, 0)), mask = derivation.Match(g, 0);
      for (int k = 1; k < static_cast<int>(group.count); ++k) {
        const Term match = derivation.Match(g, k);
        adjoint = adjoint + Product(derivation.Of(incoming[static_cast<std::size_t>(k)]), match);
        mask = mask + match;
      }
      return add(group.formula, adjoint, mask);
    }
  }
}

}  // namespace

Reduction Reduction::gradient(std::span<const int> arguments) const {
  return reduce::Deriving("gradient", [&] {
    Derivation derivation(*body_);
    std::vector<std::vector<Expression>> wanted;
    for (const int position : arguments) wanted.push_back(derivation.Floating(position));

    // Incoming gradients come before what was saved.
    struct Seed {
      reduce::Target target;
      std::vector<Expression> incoming;
    };
    std::vector<Seed> seeds;
    std::size_t next_target = 0;
    for (int k = 0; k < static_cast<int>(body_->outputs.size()); ++k) {
      const ReductionOutput& output = body_->outputs[static_cast<std::size_t>(k)];
      const std::size_t target = next_target;
      next_target += reduce::NumTargets(*body_, output, target);
      if (output.constant) continue;
      std::vector<Expression> incoming = derivation.Append({.name = Text("e", k),
                                                            .index = output.index,
                                                            .dim = output.dim,
                                                            .source = ArgumentSource::incoming,
                                                            .position = k,
                                                            .count = output.count});
      if (!reduce::IsSplit(*body_, output, target)) {
        seeds.push_back({body_->targets[target], std::move(incoming)});
        continue;
      }
      for (std::size_t t = target; t < next_target; ++t) {
        seeds.push_back({body_->targets[t], {incoming[t - target]}});
      }
    }

    std::vector<Root> roots;
    for (const Seed& seed : seeds) {
      AddRoots(derivation, seed.target.group, seed.target.result, seed.incoming, roots);
    }
    std::vector<Expression> variables;
    for (const std::vector<Expression>& slots : wanted) {
      variables.insert(variables.end(), slots.begin(), slots.end());
    }
    const std::vector<Expression> gradients = Gradient(derivation.builder(), roots, variables);
    auto gradient = gradients.begin();
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      const ReductionArgument& argument = body_->arguments[static_cast<std::size_t>(arguments[k])];
      std::vector<Expression> formulas;
      for (std::size_t s = 0; s < wanted[k].size(); ++s, ++gradient) {
        formulas.push_back(*gradient ? *gradient : derivation.builder().Zero(argument.dim));
      }
      derivation.AddSum(std::move(formulas), argument.index, argument.count);
    }
    return Reduction(derivation.Finish());
  });
}

}  // namespace logsum
