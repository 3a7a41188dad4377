// What is common to all users of an operation: its name, how many operands, how it treats vectors.
#pragma once
#include <array>
#include <cstddef>
#include <string_view>

#include "formula/op.hpp"

namespace logsum::formula {

inline constexpr std::size_t kOpCount = static_cast<std::size_t>(Op::tensor_product) + 1;
inline constexpr int kAnyNumber = -1;

struct OpTraits {
  Op op;
  std::string_view name;  // as printed; a function of the language where there is one
  int operands;
  bool elementwise = false;  // component by component, operands of dimension 1 repeated
  bool commutes = false;     // with the same bits
};

inline constexpr std::array<OpTraits, kOpCount> kOps = {{
    {Op::variable, "variable", 0},
    {Op::number, "number", 0},
    {Op::index_i, "i", 0},
    {Op::index_j, "j", 0},
    {Op::size_i, "M", 0},
    {Op::size_j, "N", 0},
    {Op::match, "match", 0},
    {Op::negate, "Minus", 1, true},
    {Op::exp, "Exp", 1, true},
    {Op::log, "Log", 1, true},
    {Op::square, "Square", 1, true},
    {Op::sqrt, "Sqrt", 1, true},
    {Op::rsqrt, "Rsqrt", 1, true},
    {Op::inverse, "Inv", 1, true},
    {Op::abs, "Abs", 1, true},
    {Op::sign, "Sign", 1, true},
    {Op::step, "Step", 1, true},
    {Op::relu, "ReLU", 1, true},
    {Op::sin, "Sin", 1, true},
    {Op::cos, "Cos", 1, true},
    {Op::atan, "Atan", 1, true},
    {Op::tanh, "Tanh", 1, true},
    {Op::sigmoid, "Sigmoid", 1, true},
    {Op::softplus, "Softplus", 1, true},
    {Op::log1p, "Log1p", 1, true},
    {Op::expm1, "Expm1", 1, true},
    {Op::xlogx, "XLogX", 1, true},
    {Op::power_of, "Pow", 1, true},
    {Op::add, "Add", 2, true, true},
    {Op::subtract, "Subtract", 2, true},
    {Op::multiply, "Mult", 2, true, true},
    {Op::divide, "Divide", 2, true},
    {Op::power, "Powf", 2, true},
    {Op::logaddexp, "LogAddExp", 2, true, true},
    {Op::equal, "Equal", 2, true, true},
    {Op::not_equal, "NotEqual", 2, true, true},
    {Op::less, "LessThan", 2, true},
    {Op::less_equal, "LessOrEqual", 2, true},
    {Op::keep, "keep", 2, true},
    {Op::ratio, "ratio", 2, true},
    {Op::clamp, "Clamp", 3, true},
    {Op::if_else, "IfElse", 3, true},
    {Op::probability, "probability", 3, true},
    {Op::sum, "Sum", 1},
    {Op::dot, "Scalprod", 2, false, true},
    {Op::sqdist, "SqDist", 2, false, true},
    {Op::broadcast, "broadcast", 1},
    {Op::extract, "Extract", 1},
    {Op::pad, "pad", 1},
    {Op::concat, "Concat", kAnyNumber},
    {Op::one_hot, "OneHot", 1},
    {Op::matvec, "MatVecMult", 2},
    {Op::vecmat, "VecMatMult", 2},
    {Op::tensor_product, "TensorProd", 2},
}};

// Whether row k of a table is about operation k.
template <class Rows>
consteval bool IsByOp(const Rows& rows) {
  for (std::size_t k = 0; k < kOpCount; ++k) {
    if (rows[k].op != static_cast<Op>(k)) return false;
  }
  return rows.size() == kOpCount;
}
static_assert(IsByOp(kOps));

constexpr const OpTraits& Traits(Op op) { return kOps[static_cast<std::size_t>(op)]; }

}  // namespace logsum::formula
