// Rewritings that hold for all values, infinities and NaN among them; only the sign of a zero may
// change. So x * 0 stays: it is NaN where x is not finite. Zeros of derivatives never come here,
// because differentiate.cpp has no expression for them.
#include <algorithm>
#include <cmath>
#include <optional>

#include "formula/builder.hpp"
#include "formula/op_traits.hpp"

namespace logsum::formula {
namespace {

// Arithmetic on numbers, where it is finite; the other functions of numbers are computed once a
// call and gain nothing here.
std::optional<double> Fold(Op op, const std::vector<Expression>& operands, std::int64_t first) {
  const auto value = [&](std::size_t k) { return operands[k]->number; };
  double result = 0;
  switch (op) {
    case Op::negate:
      result = -value(0);
      break;
    case Op::square:
      result = value(0) * value(0);
      break;
    case Op::inverse:
      result = 1 / value(0);
      break;
    case Op::power_of:
      result = std::pow(value(0), static_cast<double>(first));
      break;
    case Op::add:
      result = value(0) + value(1);
      break;
    case Op::subtract:
      result = value(0) - value(1);
      break;
    case Op::multiply:
      result = value(0) * value(1);
      break;
    case Op::divide:
      result = value(0) / value(1);
      break;
    default:
      return std::nullopt;
  }
  // What float32 cannot hold must overflow where it is computed, not here.
  if (!(std::abs(result) <= 0x1p120) || (result != 0 && std::abs(result) < 0x1p-120)) {
    return std::nullopt;
  }
  return result;
}

bool IsPowerOfTwo(double x) {
  int exponent = 0;
  return std::abs(std::frexp(x, &exponent)) == 0.5 && std::abs(exponent) < 120;
}

bool IsNegation(const Expression& x) { return x->op == Op::negate; }

}  // namespace

Expression Builder::Simplify(Op op, const std::vector<Expression>& operands, std::int64_t first,
                             std::int64_t dim) {
  const OpTraits& traits = Traits(op);
  if (!traits.elementwise) return SimplifyVector(op, operands, first, dim);
  if (std::ranges::all_of(operands, [](const Expression& x) { return IsNumber(x); })) {
    if (const auto value = Fold(op, operands, first)) return Number(*value);
  }
  if (traits.operands == 1) return SimplifyUnary(op, operands[0], first);
  if (traits.operands == 2) return SimplifyBinary(op, operands[0], operands[1]);
  return nullptr;
}

Expression Builder::SimplifyUnary(Op op, const Expression& x, std::int64_t first) {
  if (op == Op::negate) {
    if (IsNegation(x)) return x->operands[0];
    if (x->op == Op::subtract) {
      return Make(Op::subtract, {x->operands[1], x->operands[0]});
    }
    if (x->op == Op::multiply && IsNumber(x->operands[0])) {
      return Make(Op::multiply, {Number(-x->operands[0]->number), x->operands[1]});
    }
  }
  if (op == Op::square || op == Op::abs) {
    if (IsNegation(x)) return Make(op, {x->operands[0]});
    if (op == Op::abs && (x->op == Op::abs || x->op == Op::square)) return x;
  }
  if (op == Op::power_of) {
    if (first == 0) return x->dim == 1 ? Number(1) : Make(Op::broadcast, {Number(1)}, 0, x->dim);
    if (first == 1) return x;
    if (first == 2) return Make(Op::square, {x});
    if (first == -1) return Make(Op::inverse, {x});
  }
  return nullptr;
}

Expression Builder::SimplifyBinary(Op op, const Expression& x, const Expression& y) {
  // A result that is one operand must have the dimension of both.
  const bool y_is_full = y->dim >= x->dim;
  switch (op) {
    case Op::add:
      if (IsNumber(y, 0)) return x;
      if (IsNumber(x, 0)) return y;
      if (IsNegation(y)) return Make(Op::subtract, {x, y->operands[0]});
      if (IsNegation(x)) return Make(Op::subtract, {y, x->operands[0]});
      return nullptr;
    case Op::subtract:
      if (IsNumber(y, 0)) return x;
      if (IsNumber(x, 0)) return Make(Op::negate, {y});
      if (IsNegation(y)) return Make(Op::add, {x, y->operands[0]});
      return nullptr;
    case Op::multiply:
      return SimplifyProduct(x, y);
    case Op::divide:
      if (IsNumber(y, 1)) return x;
      if (IsNumber(x, 1)) return Make(Op::inverse, {y});
      if (IsNumber(y) && IsPowerOfTwo(y->number)) {
        return Make(Op::multiply, {Number(1 / y->number), x});
      }
      if (IsNegation(x)) return Make(Op::negate, {Make(op, {x->operands[0], y})});
      if (IsNegation(y)) return Make(Op::negate, {Make(op, {x, y->operands[0]})});
      return nullptr;
    case Op::keep:
      if (IsNumber(x) && x->number != 0) return y;
      if (IsNumber(x, 0)) return Zero(y->dim);
      if (IsNumber(y, 0) && y_is_full) return y;
      if (x == y) return y;
      if (y->op == Op::keep && y->operands[0] == x) return y;
      return nullptr;
    default:
      return nullptr;
  }
}

Expression Builder::SimplifyProduct(const Expression& x, const Expression& y) {
  if (IsNumber(y) && !IsNumber(x)) return Make(Op::multiply, {y, x});  // numbers stand first
  if (IsNumber(x, 1)) return y;
  if (IsNumber(x, -1)) return Make(Op::negate, {y});
  if (x == y) return Make(Op::square, {x});
  if (IsNegation(y)) {
    if (IsNumber(x)) return Make(Op::multiply, {Number(-x->number), y->operands[0]});
    return Make(Op::negate, {Make(Op::multiply, {x, y->operands[0]})});
  }
  if (IsNegation(x)) return Make(Op::negate, {Make(Op::multiply, {x->operands[0], y})});
  return nullptr;
}

Expression Builder::SimplifyVector(Op op, const std::vector<Expression>& operands,
                                   std::int64_t first, std::int64_t dim) {
  const Expression& x = operands[0];
  switch (op) {
    case Op::sum:
      if (x->dim == 1) return x;
      if (x->op == Op::square) return Make(Op::dot, {x->operands[0], x->operands[0]});
      if (x->op == Op::multiply && x->operands[0]->dim == x->operands[1]->dim) {
        return Make(Op::dot, x->operands);
      }
      return nullptr;
    case Op::dot:
      if (x->dim == 1) return Make(Op::multiply, operands);
      if (x == operands[1] && x->op == Op::subtract && x->operands[0]->dim == x->operands[1]->dim) {
        return Make(Op::sqdist, x->operands);
      }
      return nullptr;
    case Op::sqdist:
      if (x->dim == 1) return Make(Op::square, {Make(Op::subtract, operands)});
      return nullptr;
    case Op::broadcast:
      return dim == 1 ? x : nullptr;
    case Op::extract: {
      if (dim == x->dim) return x;
      if (x->op == Op::extract) {
        return Make(Op::extract, x->operands, x->first + first, dim);
      }
      if (x->op == Op::broadcast) return Make(Op::broadcast, x->operands, 0, dim);
      if (x->op != Op::concat) return nullptr;
      std::int64_t begin = 0;  // of the operand in the concatenation
      for (const Expression& part : x->operands) {
        if (first >= begin && first + dim <= begin + part->dim) {
          return Make(Op::extract, {part}, first - begin, dim);
        }
        begin += part->dim;
      }
      return nullptr;
    }
    case Op::pad:
      return dim == x->dim ? x : nullptr;
    case Op::concat:
      return operands.size() == 1 ? x : nullptr;
    case Op::matvec:  // a matrix of one row, a vector of one number
      if (x->dim == operands[1]->dim) return Make(Op::dot, operands);
      if (operands[1]->dim == 1) return Make(Op::multiply, operands);
      return nullptr;
    case Op::vecmat:
      if (x->dim == operands[1]->dim) return Make(Op::dot, operands);
      if (x->dim == 1) return Make(Op::multiply, operands);
      return nullptr;
    case Op::tensor_product:
      if (x->dim == 1 || operands[1]->dim == 1) return Make(Op::multiply, operands);
      return nullptr;
    default:
      return nullptr;
  }
}

}  // namespace logsum::formula
