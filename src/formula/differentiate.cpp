#include "formula/differentiate.hpp"

#include <algorithm>
#include <utility>

#include "formula/derivatives.hpp"
#include "formula/pull.hpp"

namespace logsum::formula {
namespace {

// Nodes that depend on one of `wanted`, operands before their users.
std::vector<Expression> DependentNodes(std::span<const Expression> roots,
                                       std::span<const Expression> wanted) {
  std::vector<Expression> order;
  std::unordered_map<const Node*, bool> depends;
  for (const Expression& leaf : wanted) {
    if (depends.emplace(leaf.get(), true).second) order.push_back(leaf);
  }
  std::vector<std::pair<Expression, std::size_t>> path;
  for (const Expression& root : roots) {
    path.emplace_back(root, 0);
    while (!path.empty()) {
      const Expression node = path.back().first;
      std::size_t& next = path.back().second;
      if (depends.contains(node.get())) {
        path.pop_back();
      } else if (next < node->operands.size()) {
        const Expression operand = node->operands[next++];
        path.emplace_back(operand, 0);
      } else {
        const bool does = std::ranges::any_of(
            node->operands, [&](const Expression& x) { return depends.at(x.get()); });
        depends.emplace(node.get(), does);
        if (does) order.push_back(node);
        path.pop_back();
      }
    }
  }
  return order;
}

// One sweep, for roots without a mask of dimension 1.
std::vector<Expression> Sweep(Builder& builder, std::span<const Root> roots,
                              std::span<const Expression> wanted) {
  std::vector<Expression> values;
  for (const Root& root : roots) values.push_back(root.value);
  const std::vector<Expression> order = DependentNodes(values, wanted);
  Pull::Adjoints adjoints;
  for (const Expression& node : order) adjoints.emplace(node.get(), Pending{});
  const auto add = [&](Expression& sum, const Expression& term) {
    sum = sum ? builder.Make(Op::add, {sum, term}) : term;
  };
  for (const Root& root : roots) {
    const auto place = adjoints.find(root.value.get());
    if (place == adjoints.end()) continue;
    Pending& pending = place->second;
    Expression adjoint = root.adjoint;
    if (adjoint->dim != root.value->dim) {
      adjoint = builder.Make(Op::broadcast, {adjoint}, 0, root.value->dim);
    }
    if (!root.mask) {
      add(pending.adjoint, adjoint);
    } else if (!pending.mask || pending.mask == root.mask) {
      pending.mask = root.mask;
      add(pending.masked, adjoint);
    } else {
      add(pending.adjoint, builder.Make(Op::keep, {root.mask, adjoint}));
    }
  }
  for (auto node = order.rbegin(); node != order.rend(); ++node) {
    const Pending& pending = adjoints.at(node->get());
    if (pending.adjoint || pending.masked) PullBack(builder, *node, adjoints);
  }
  std::vector<Expression> gradients;
  for (const Expression& leaf : wanted) {
    const Pending& pending = adjoints.at(leaf.get());
    Expression gradient = pending.adjoint;
    if (pending.masked) add(gradient, builder.Make(Op::keep, {pending.mask, pending.masked}));
    gradients.push_back(gradient);
  }
  return gradients;
}

}  // namespace

std::vector<Expression> Gradient(Builder& builder, std::span<const Root> roots,
                                 std::span<const Expression> wanted) {
  // Roots under the same masks of dimension 1 share a sweep, and its results the masks.
  std::vector<std::pair<std::vector<Expression>, std::vector<Root>>> sweeps;
  for (Root root : roots) {
    std::vector<Expression> masks;
    if (root.mask && root.mask->dim == 1) masks.push_back(std::exchange(root.mask, nullptr));
    while (!root.mask && root.value->op == Op::keep && root.value->operands[0]->dim == 1) {
      const Expression mask = root.value->operands[0];
      if (std::ranges::find(masks, mask) == masks.end()) masks.push_back(mask);
      root.value = root.value->operands[1];
    }
    const auto same = std::ranges::find(sweeps, masks, [](const auto& x) { return x.first; });
    if (same != sweeps.end()) {
      same->second.push_back(root);
    } else {
      sweeps.emplace_back(std::move(masks), std::vector<Root>{root});
    }
  }
  std::vector<Expression> gradients(wanted.size());
  for (const auto& [masks, members] : sweeps) {
    std::vector<Expression> part = Sweep(builder, members, wanted);
    for (std::size_t k = 0; k < part.size(); ++k) {
      if (!part[k]) continue;
      for (auto mask = masks.rbegin(); mask != masks.rend(); ++mask) {
        part[k] = builder.Make(Op::keep, {*mask, part[k]});
      }
      gradients[k] = gradients[k] ? builder.Make(Op::add, {gradients[k], part[k]}) : part[k];
    }
  }
  return gradients;
}

Expression Tangent(Builder& builder, const Expression& value, std::span<const Expression> variables,
                   std::span<const Expression> tangents) {
  // The gradient is linear in its adjoint; the tangent is that linear map's transpose. The stand-in
  // for the adjoint is no argument's variable and is gone from the result.
  const Expression stand_in = builder.Variable(-1, value->dim, Dependence::parameter);
  const Root along[] = {{value, stand_in}};
  const std::vector<Expression> gradients = Gradient(builder, along, variables);
  std::vector<Root> transposed;
  for (std::size_t k = 0; k < gradients.size(); ++k) {
    if (gradients[k]) transposed.push_back({gradients[k], tangents[k]});
  }
  return Gradient(builder, transposed, std::span(&stand_in, 1))[0];
}

}  // namespace logsum::formula
