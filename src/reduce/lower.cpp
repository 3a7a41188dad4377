#include "reduce/lower.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <utility>

namespace logsum::reduce {
namespace {

using formula::Op;

Code CodeOf(Op op) {
  switch (op) {
    case Op::variable:
      return Code::variable;
    case Op::number:
      return Code::number;
    case Op::index_i:
      return Code::index_i;
    case Op::index_j:
      return Code::index_j;
    case Op::size_i:
      return Code::size_i;
    case Op::size_j:
      return Code::size_j;
    case Op::match:
      return Code::match;
    case Op::negate:
      return Code::negate;
    case Op::exp:
      return Code::exp;
    case Op::log:
      return Code::log;
    case Op::square:
      return Code::square;
    case Op::sqrt:
      return Code::sqrt;
    case Op::rsqrt:
      return Code::rsqrt;
    case Op::inverse:
      return Code::inverse;
    case Op::abs:
      return Code::abs;
    case Op::sign:
      return Code::sign;
    case Op::step:
      return Code::step;
    case Op::relu:
      return Code::relu;
    case Op::sin:
      return Code::sin;
    case Op::cos:
      return Code::cos;
    case Op::atan:
      return Code::atan;
    case Op::tanh:
      return Code::tanh;
    case Op::sigmoid:
      return Code::sigmoid;
    case Op::softplus:
      return Code::softplus;
    case Op::log1p:
      return Code::log1p;
    case Op::expm1:
      return Code::expm1;
    case Op::xlogx:
      return Code::xlogx;
    case Op::power_of:
      return Code::power_of;
    case Op::add:
      return Code::add;
    case Op::subtract:
      return Code::subtract;
    case Op::multiply:
      return Code::multiply;
    case Op::divide:
      return Code::divide;
    case Op::power:
      return Code::power;
    case Op::logaddexp:
      return Code::logaddexp;
    case Op::equal:
      return Code::equal;
    case Op::not_equal:
      return Code::not_equal;
    case Op::less:
      return Code::less;
    case Op::less_equal:
      return Code::less_equal;
    case Op::keep:
      return Code::keep;
    case Op::ratio:
      return Code::ratio;
    case Op::clamp:
      return Code::clamp;
    case Op::if_else:
      return Code::if_else;
    case Op::probability:
      return Code::probability;
    case Op::sum:
      return Code::sum;
    case Op::dot:
      return Code::dot;
    case Op::sqdist:
      return Code::sqdist;
    case Op::broadcast:
      return Code::broadcast;
    case Op::extract:
      return Code::extract;
    case Op::pad:
      return Code::pad;
    case Op::concat:
      return Code::concat;
    case Op::one_hot:
      return Code::one_hot;
    case Op::matvec:
      return Code::matvec;
    case Op::vecmat:
      return Code::vecmat;
    case Op::tensor_product:
      return Code::tensor_product;
  }
  return Code::number;
}

bool IsSafeDivisor(double x) { return std::abs(x) > 0x1p-100 && std::abs(x) < 0x1p100; }

}  // namespace

std::size_t TermGraph::Hash::operator()(const Term& term) const {
  std::size_t hash = static_cast<std::size_t>(term.code);
  const auto mix = [&hash](std::uint64_t x) {
    hash = (hash ^ static_cast<std::size_t>(x)) * std::size_t{0x9e3779b97f4a7c15};
    hash ^= hash >> 29;
  };
  mix(static_cast<std::uint64_t>(term.dim));
  mix(std::bit_cast<std::uint64_t>(term.number));
  mix(static_cast<std::uint64_t>(term.first));
  for (const int operand : term.operands) mix(static_cast<std::uint64_t>(operand));
  return hash;
}

int TermGraph::Intern(Term term) {
  const auto [known, is_new] = known_.try_emplace(term, Size());
  if (is_new) terms_.push_back(std::move(term));
  return known->second;
}

int TermGraph::Lower(const formula::Expression& expression) {
  if (const auto known = lowered_.find(expression.get()); known != lowered_.end()) {
    return known->second;
  }
  std::vector<int> operands;
  operands.reserve(expression->operands.size());
  for (const auto& operand : expression->operands) operands.push_back(Lower(operand));
  const Term term{CodeOf(expression->op), expression->dependence, expression->dim,
                  std::move(operands),    expression->number,     expression->first};
  return lowered_[expression.get()] = Simplified(term);
}

int TermGraph::Make(Code code, std::vector<int> operands, std::int64_t dim, std::int64_t first) {
  Dependence stage = Dependence::parameter;
  for (const int operand : operands) stage = stage | (*this)[operand].stage;
  return Simplified({code, stage, dim, std::move(operands), 0, first});
}

int TermGraph::Number(double number) {
  Term term{};
  term.code = Code::number;
  term.number = number;
  return Intern(term);
}

int TermGraph::Product(int x, int y) { return Make(Code::multiply, {x, y}, 1); }

bool TermGraph::IsPair(int x, int y) const {
  const Dependence a = (*this)[x].stage, b = (*this)[y].stage;
  return (a == Dependence::i && b == Dependence::j) || (a == Dependence::j && b == Dependence::i);
}

int TermGraph::Simplified(const Term& term) {
  const auto operand = [&](std::size_t i) { return term.operands[i]; };
  const auto at = [&](std::size_t i) -> const Term& { return (*this)[term.operands[i]]; };
  switch (term.code) {
    case Code::negate:
      if (IsNumber(operand(0))) return Number(-at(0).number);
      if (at(0).code == Code::negate) return at(0).operands[0];
      if (at(0).code == Code::subtract) {
        return Make(Code::subtract, {at(0).operands[1], at(0).operands[0]}, term.dim);
      }
      if (at(0).code == Code::multiply && IsNumber(at(0).operands[1])) {
        return Make(Code::multiply, {at(0).operands[0], Number(-(*this)[at(0).operands[1]].number)},
                    term.dim);
      }
      // A factor of an earlier stage is negated once.
      for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
        if (at(0).code != Code::multiply) break;
        const int x = at(0).operands[i], y = at(0).operands[1 - i];
        if ((*this)[x].stage == term.stage || (*this)[y].stage != term.stage) continue;
        return Make(Code::multiply, {y, Make(Code::negate, {x}, (*this)[x].dim)}, term.dim);
      }
      break;
    case Code::multiply: {
      // Numbers stand second, and only one of them.
      if (IsNumber(operand(0)) && !IsNumber(operand(1))) {
        return Make(Code::multiply, {operand(1), operand(0)}, term.dim, term.first);
      }
      if (!IsNumber(operand(1))) break;
      const double number = at(1).number;
      if (IsNumber(operand(0))) return Number(at(0).number * number);
      if (number == 1 && at(0).dim == term.dim) return operand(0);
      if (number == -1 && at(0).dim == term.dim) return Make(Code::negate, {operand(0)}, term.dim);
      if (at(0).code == Code::negate) {
        return Make(Code::multiply, {at(0).operands[0], Number(-number)}, term.dim);
      }
      if (at(0).code == Code::multiply && IsNumber(at(0).operands[1])) {
        return Make(Code::multiply,
                    {at(0).operands[0], Number((*this)[at(0).operands[1]].number * number)},
                    term.dim);
      }
      // The number joins a factor of an earlier stage.
      for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
        if (at(0).code != Code::multiply) break;
        const int x = at(0).operands[i], y = at(0).operands[1 - i];
        if ((*this)[x].stage == term.stage || (*this)[y].stage != term.stage) continue;
        const std::int64_t dim = (*this)[x].dim;
        return Make(Code::multiply, {y, Make(Code::multiply, {x, operand(1)}, dim)}, term.dim);
      }
      break;
    }
    case Code::divide:
      if (IsNumber(operand(1)) && IsSafeDivisor(at(1).number)) {
        return Make(Code::multiply, {operand(0), Number(1 / at(1).number)}, term.dim);
      }
      break;
    case Code::add:
      if (at(1).code == Code::negate) {
        return Make(Code::subtract, {operand(0), at(1).operands[0]}, term.dim);
      }
      if (at(0).code == Code::negate) {
        return Make(Code::subtract, {operand(1), at(0).operands[0]}, term.dim);
      }
      break;
    case Code::subtract:
      if (at(1).code == Code::negate) {
        return Make(Code::add, {operand(0), at(1).operands[0]}, term.dim);
      }
      break;
    case Code::sum:
      if (at(0).dim == 1) return operand(0);
      if (at(0).code == Code::square) {
        const int x = at(0).operands[0];
        if ((*this)[x].code == Code::subtract) {
          return Make(Code::sqdist, (*this)[x].operands, 1);
        }
        return Make(Code::dot, {x, x}, 1);
      }
      if (at(0).code == Code::multiply) {
        const auto x = at(0).operands;
        if ((*this)[x[0]].dim == (*this)[x[1]].dim) return Make(Code::dot, x, 1);
        const bool first_is_scalar = (*this)[x[0]].dim == 1;
        const int scalar = x[first_is_scalar ? 0 : 1], vector = x[first_is_scalar ? 1 : 0];
        return Product(Make(Code::sum, {vector}, 1), scalar);
      }
      break;
    case Code::dot:
    case Code::sqdist: {
      const bool is_dot = term.code == Code::dot;
      if (at(0).dim == 1 && at(1).dim == 1 && is_dot) return Product(operand(0), operand(1));
      if (!IsPair(operand(0), operand(1))) break;
      // A component of dimension 1 would have to be repeated, which views do as well.
      const bool in_order = at(0).stage == Dependence::i;
      Term pair = term;
      pair.code = is_dot ? Code::pair_dot : Code::pair_sqdist;
      if (!in_order) std::swap(pair.operands[0], pair.operands[1]);
      return Intern(pair);
    }
    case Code::broadcast:
    case Code::extract:
      if (at(0).dim == term.dim) return operand(0);
      break;
    default:
      break;
  }
  return Intern(term);
}

}  // namespace logsum::reduce
