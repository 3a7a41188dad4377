#include "formula/print.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/text.hpp"
#include "formula/op_traits.hpp"

namespace logsum::formula {
namespace {

// How strongly a text binds, as in parser.hpp.
enum Level { kComparison, kEither, kSum, kProduct, kSign, kPower, kPrimary };

struct Phrase {
  std::string text;
  Level level = kPrimary;
};

struct Infix {
  Op op;
  std::string_view symbol;
  Level level, left, right;  // of itself, and what its operands need
};

constexpr std::array<Infix, 10> kInfix = {{
    {Op::add, " + ", kSum, kSum, kProduct},
    {Op::subtract, " - ", kSum, kSum, kProduct},
    {Op::multiply, " * ", kProduct, kProduct, kSign},
    {Op::divide, " / ", kProduct, kProduct, kSign},
    {Op::power, " ** ", kPower, kPrimary, kSign},
    {Op::dot, " | ", kEither, kEither, kSum},
    {Op::equal, " == ", kComparison, kEither, kEither},
    {Op::not_equal, " != ", kComparison, kEither, kEither},
    {Op::less, " < ", kComparison, kEither, kEither},
    {Op::less_equal, " <= ", kComparison, kEither, kEither},
}};

Phrase NumberText(double number) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  return {std::string(digits.data(), end), std::signbit(number) ? kSign : kPrimary};
}

std::string Wrapped(const Phrase& text, Level needed) {
  return text.level < needed ? Text("(", text.text, ")") : text.text;
}

bool IsLeaf(const Expression& node) { return node->operands.empty(); }

class Printer {
 public:
  explicit Printer(std::span<const std::string> names) : names_(names) {
    // A prefix that begins no variable's name.
    while (std::ranges::any_of(
        names, [&](const std::string& name) { return name.starts_with(prefix_); })) {
      prefix_ += "_";
    }
  }

  Printed Print(std::span<const Expression> roots) {
    Count(roots);
    Printed printed;
    for (const Expression& node : order_) {
      Phrase text = Write(*node);
      constexpr std::size_t kLongest = 120;
      if ((uses_[node.get()] > 1 && !IsLeaf(node)) || text.text.size() > kLongest) {
        std::string name = prefix_ + std::to_string(printed.parts.size() + 1);
        printed.parts.push_back(name + " = " + text.text);
        text = {std::move(name), kPrimary};
      }
      texts_.emplace(node.get(), std::move(text));
    }
    for (const Expression& root : roots) printed.roots.push_back(texts_.at(root.get()).text);
    return printed;
  }

 private:
  // Counts uses and orders nodes, operands first, without recursion.
  void Count(std::span<const Expression> roots) {
    std::vector<std::pair<Expression, std::size_t>> path;
    for (const Expression& root : roots) {
      if (++uses_[root.get()] == 1) path.emplace_back(root, 0);
      while (!path.empty()) {
        const Expression node = path.back().first;
        if (path.back().second == node->operands.size()) {
          order_.push_back(node);
          path.pop_back();
          continue;
        }
        const Expression& operand = node->operands[path.back().second++];
        if (++uses_[operand.get()] == 1) path.emplace_back(operand, 0);
      }
    }
  }

  const Phrase& Operand(const Node& node, std::size_t k) const {
    return texts_.at(node.operands[k].get());
  }

  std::string SlotName(std::int64_t slot) const {
    const auto k = static_cast<std::size_t>(slot);
    return slot >= 0 && k < names_.size() ? names_[k] : Text("v", slot);
  }

  Phrase Write(const Node& node) const {
    const auto infix = std::ranges::find(kInfix, node.op, &Infix::op);
    if (infix != kInfix.end()) {
      return {Wrapped(Operand(node, 0), infix->left) + std::string(infix->symbol) +
                  Wrapped(Operand(node, 1), infix->right),
              infix->level};
    }
    switch (node.op) {
      case Op::variable:
        return {SlotName(node.first)};
      case Op::match:
        return {Text("match(", SlotName(node.first), ")")};
      case Op::number:
        return NumberText(node.number);
      case Op::index_i:
      case Op::index_j:
      case Op::size_i:
      case Op::size_j:
        return {std::string(Traits(node.op).name)};
      case Op::negate:
        return {Text("-", Wrapped(Operand(node, 0), kSign)), kSign};
      case Op::power_of:
        return {Text(Wrapped(Operand(node, 0), kPrimary), " ** ", node.first), kPower};
      default:
        return {Call(node)};
    }
  }

  std::string Call(const Node& node) const {
    const bool is_element = node.op == Op::extract && node.dim == 1;
    std::string text(is_element ? "Elem" : Traits(node.op).name);
    text += "(";
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      text += Text(k == 0 ? "" : ", ", Operand(node, k).text);
    }
    if (node.op == Op::extract || node.op == Op::pad) text += Text(", ", node.first);
    if ((node.op == Op::extract && !is_element) || node.op == Op::pad || node.op == Op::one_hot ||
        node.op == Op::broadcast) {
      text += Text(", ", node.dim);
    }
    return text + ")";
  }

  std::span<const std::string> names_;
  std::string prefix_ = "t";
  std::unordered_map<const Node*, int> uses_;
  std::vector<Expression> order_;
  std::unordered_map<const Node*, Phrase> texts_;
};

}  // namespace

Printed Print(std::span<const Expression> roots, std::span<const std::string> names) {
  return Printer(names).Print(roots);
}

}  // namespace logsum::formula
