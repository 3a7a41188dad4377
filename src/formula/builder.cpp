#include "formula/builder.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "core/text.hpp"
#include "formula/op_traits.hpp"

namespace logsum::formula {
namespace {

std::string Dimensions(std::span<const Expression> operands) {
  std::string text = operands.size() == 1 ? "dimension " : "dimensions ";
  for (std::size_t k = 0; k < operands.size(); ++k) {
    if (k != 0) text += k + 1 == operands.size() ? " and " : ", ";
    text += std::to_string(operands[k]->dim);
  }
  return text;
}

std::int64_t ElementwiseDimension(std::span<const Expression> operands) {
  std::int64_t dim = 1;
  for (const Expression& operand : operands) dim = std::max(dim, operand->dim);
  for (const Expression& operand : operands) {
    if (operand->dim != dim && operand->dim != 1) {
      throw Refusal("operands of one dimension, or of dimension 1", Dimensions(operands));
    }
  }
  return dim;
}

// The dimension of an operation's value; throws where its operands do not fit.
std::int64_t ValueDimension(Op op, std::span<const Expression> operands, std::int64_t first,
                            std::int64_t dim) {
  if (Traits(op).elementwise) return ElementwiseDimension(operands);
  switch (op) {
    case Op::sum:
      return 1;
    case Op::dot:
    case Op::sqdist:
      if (operands[0]->dim != operands[1]->dim) {
        throw Refusal("operands of one dimension", Dimensions(operands));
      }
      return 1;
    case Op::broadcast:
    case Op::one_hot:
      if (operands[0]->dim != 1) throw Refusal("an operand of dimension 1", Dimensions(operands));
      return dim;
    case Op::extract:
      if (first < 0 || dim < 1 || first + dim > operands[0]->dim) {
        throw Refusal(Text("components within 0 to ", operands[0]->dim - 1),
                      Text(first, " to ", first + dim - 1));
      }
      return dim;
    case Op::pad:
      if (first < 0 || first + operands[0]->dim > dim) {
        throw Refusal(Text("components within 0 to ", dim - 1),
                      Text(first, " to ", first + operands[0]->dim - 1));
      }
      return dim;
    case Op::concat: {
      std::int64_t total = 0;
      for (const Expression& operand : operands) total += operand->dim;
      return total;
    }
    case Op::matvec:
      if (operands[0]->dim % operands[1]->dim != 0) {
        throw Refusal("a matrix whose size is a multiple of the vector's", Dimensions(operands));
      }
      return operands[0]->dim / operands[1]->dim;
    case Op::vecmat:
      if (operands[1]->dim % operands[0]->dim != 0) {
        throw Refusal("a matrix whose size is a multiple of the vector's", Dimensions(operands));
      }
      return operands[1]->dim / operands[0]->dim;
    default:  // tensor_product
      return operands[0]->dim * operands[1]->dim;
  }
}

std::size_t Mix(std::size_t seed, std::size_t value) {
  return (seed ^ value) * std::size_t{0x9e3779b97f4a7c15u} + (seed >> 7);
}

}  // namespace

std::size_t Builder::Hash::operator()(const Expression& node) const {
  std::size_t seed = Mix(static_cast<std::size_t>(node->op), static_cast<std::size_t>(node->dim));
  seed = Mix(seed, static_cast<std::size_t>(node->first));
  seed = Mix(seed, std::bit_cast<std::uint64_t>(node->number));
  seed = Mix(seed, static_cast<std::size_t>(node->dependence));
  const std::hash<const Node*> hash;
  if (Traits(node->op).commutes) {
    return Mix(seed, hash(node->operands[0].get()) + hash(node->operands[1].get()));
  }
  for (const Expression& operand : node->operands) seed = Mix(seed, hash(operand.get()));
  return seed;
}

bool Builder::Equal::operator()(const Expression& a, const Expression& b) const {
  if (a->op != b->op || a->dim != b->dim || a->first != b->first ||
      a->dependence != b->dependence ||
      std::bit_cast<std::uint64_t>(a->number) != std::bit_cast<std::uint64_t>(b->number)) {
    return false;
  }
  if (a->operands == b->operands) return true;
  return Traits(a->op).commutes && a->operands[0] == b->operands[1] &&
         a->operands[1] == b->operands[0];
}

Expression Builder::Intern(Node node) {
  if (node.dim > kMaxDimension) {
    throw Refusal(Text("dimensions up to ", kMaxDimension), std::to_string(node.dim));
  }
  int depth = 1;
  for (const Expression& operand : node.operands) {
    depth = std::max(depth, depth_.at(operand.get()) + 1);
  }
  auto made = std::make_shared<const Node>(std::move(node));
  const auto [place, is_new] = nodes_.insert(std::move(made));
  if (is_new) {
    depth_.emplace(place->get(), depth);
    if (depth > kMaxDepth) {
      throw Refusal(Text("operations at most ", kMaxDepth, " deep"), "more");
    }
    if (nodes_.size() > kMaxNodes) {
      throw Refusal(Text("at most ", kMaxNodes, " operations"), "more");
    }
  }
  return *place;
}

Expression Builder::Find(Op op, const std::vector<Expression>& operands) const {
  Node node{.op = op, .operands = operands};
  for (const Expression& operand : operands) {
    node.dim = std::max(node.dim, operand->dim);
    node.dependence = node.dependence | operand->dependence;
  }
  const auto place = nodes_.find(std::make_shared<const Node>(std::move(node)));
  return place == nodes_.end() ? nullptr : *place;
}

void Builder::Adopt(const Expression& root) {
  // Depth first, without recursion: operands before their users.
  std::vector<std::pair<const Expression*, std::size_t>> path{{&root, 0}};
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (depth_.contains(node->get())) {
      path.pop_back();
    } else if (next < (*node)->operands.size()) {
      path.emplace_back(&(*node)->operands[next++], 0);
    } else {
      int depth = 1;
      for (const Expression& operand : (*node)->operands) {
        depth = std::max(depth, depth_.at(operand.get()) + 1);
      }
      nodes_.insert(*node);
      depth_.emplace(node->get(), depth);
      path.pop_back();
    }
  }
}

Expression Builder::Variable(std::int64_t slot, std::int64_t dim, Dependence dependence) {
  return Intern(
      {.op = Op::variable, .dependence = dependence, .dim = dim, .operands = {}, .first = slot});
}

Expression Builder::Match(std::int64_t slot, std::int64_t dim) {
  return Intern(
      {.op = Op::match, .dependence = Dependence::ij, .dim = dim, .operands = {}, .first = slot});
}

Expression Builder::Number(double value) {
  return Intern({.op = Op::number, .operands = {}, .number = value});
}

Expression Builder::Index(Op op) {
  const Dependence dependence = op == Op::index_i   ? Dependence::i
                                : op == Op::index_j ? Dependence::j
                                                    : Dependence::parameter;
  return Intern({.op = op, .dependence = dependence, .operands = {}});
}

Expression Builder::Zero(std::int64_t dim) {
  const Expression zero = Number(0);
  return dim == 1 ? zero : Make(Op::broadcast, {zero}, 0, dim);
}

Expression Builder::Make(Op op, std::vector<Expression> operands, std::int64_t first,
                         std::int64_t dim) {
  if (dim > kMaxDimension) {
    throw Refusal(Text("dimensions up to ", kMaxDimension), std::to_string(dim));
  }
  const std::int64_t value_dim = ValueDimension(op, operands, first, dim);
  if (Traits(op).elementwise) {
    // What is repeated repeats by itself; where nothing else has the dimension, the result is.
    const auto is_repeated = [](const Expression& x) { return x->op == Op::broadcast; };
    const bool all = std::ranges::all_of(operands, [&](const Expression& operand) {
      return operand->dim == 1 || is_repeated(operand);
    });
    for (Expression& operand : operands) {
      if (is_repeated(operand)) operand = operand->operands[0];
    }
    if (all && value_dim != 1) {
      return Make(Op::broadcast, {Make(op, std::move(operands), first)}, 0, value_dim);
    }
  }
  if (Expression simpler = Simplify(op, operands, first, value_dim)) return simpler;
  Dependence dependence = Dependence::parameter;
  for (const Expression& operand : operands) dependence = dependence | operand->dependence;
  return Intern({.op = op,
                 .dependence = dependence,
                 .dim = value_dim,
                 .operands = std::move(operands),
                 .first = first});
}

}  // namespace logsum::formula
