// Expressions with operators, so that rules read like mathematics.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "formula/builder.hpp"

namespace logsum::formula {

// A borrowed builder and an expression of it.
struct Term {
  Builder* builder;
  Expression expression;

  std::int64_t dim() const { return expression->dim; }
  Term Make(Op op, std::vector<Expression> operands, std::int64_t first = 0,
            std::int64_t dim = 0) const {
    return {builder, builder->Make(op, std::move(operands), first, dim)};
  }
  Term Number(double value) const { return {builder, builder->Number(value)}; }
};

inline Term Apply(Op op, const Term& x) { return x.Make(op, {x.expression}); }
inline Term Apply(Op op, const Term& x, const Term& y) {
  return x.Make(op, {x.expression, y.expression});
}
inline Term Apply(Op op, const Term& x, const Term& y, const Term& z) {
  return x.Make(op, {x.expression, y.expression, z.expression});
}

inline Term operator-(const Term& x) { return Apply(Op::negate, x); }
inline Term operator+(const Term& x, const Term& y) { return Apply(Op::add, x, y); }
inline Term operator-(const Term& x, const Term& y) { return Apply(Op::subtract, x, y); }
inline Term operator*(const Term& x, const Term& y) { return Apply(Op::multiply, x, y); }
inline Term operator/(const Term& x, const Term& y) { return Apply(Op::divide, x, y); }
inline Term operator+(double x, const Term& y) { return y.Number(x) + y; }
inline Term operator-(double x, const Term& y) { return y.Number(x) - y; }
inline Term operator*(double x, const Term& y) { return y.Number(x) * y; }
inline Term operator<(const Term& x, const Term& y) { return Apply(Op::less, x, y); }
inline Term operator<=(const Term& x, const Term& y) { return Apply(Op::less_equal, x, y); }
inline Term operator==(const Term& x, const Term& y) { return Apply(Op::equal, x, y); }
inline Term operator!=(const Term& x, const Term& y) { return Apply(Op::not_equal, x, y); }

inline Term Keep(const Term& weight, const Term& x) { return Apply(Op::keep, weight, x); }
inline Term Sum(const Term& x) { return Apply(Op::sum, x); }

// The scalar product, where one operand may have dimension 1 and is then repeated.
inline Term Dot(const Term& x, const Term& y) {
  return x.dim() == y.dim() ? Apply(Op::dot, x, y) : Sum(x * y);
}

}  // namespace logsum::formula
