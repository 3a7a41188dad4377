#include "formula/pull.hpp"

#include "formula/op_traits.hpp"

namespace logsum::formula {
namespace {

// number * scalar * vector; null parts are 1.
struct Factors {
  double number = 1;
  Expression scalar, vector;
};

Factors Factorize(Expression x) {
  Factors factors;
  if (x->op == Op::negate) {
    factors.number = -1;
    x = x->operands[0];
  }
  if (IsNumber(x)) {
    factors.number *= x->number;
    return factors;
  }
  if (x->op == Op::multiply && IsNumber(x->operands[0])) {
    factors.number *= x->operands[0]->number;
    x = x->operands[1];
  }
  if (x->dim == 1) {
    factors.scalar = x;
  } else if (x->op == Op::multiply && x->operands[0]->dim == 1) {
    factors.scalar = x->operands[0];
    factors.vector = x->operands[1];
  } else if (x->op == Op::multiply && x->operands[1]->dim == 1) {
    factors.scalar = x->operands[1];
    factors.vector = x->operands[0];
  } else {
    factors.vector = x;
  }
  if (factors.vector && factors.scalar) {
    // The scalar of a vector may have a number and a sign of its own.
    if (factors.scalar->op == Op::negate) {
      factors.number = -factors.number;
      factors.scalar = factors.scalar->operands[0];
    }
    if (factors.scalar->op == Op::multiply && IsNumber(factors.scalar->operands[0])) {
      factors.number *= factors.scalar->operands[0]->number;
      factors.scalar = factors.scalar->operands[1];
    }
  }
  return factors;
}

// x y; for x = a b as a (b y) where b y is there already, as in the derivative of b e^y, which
// contains that product.
Expression Multiply(Builder& builder, const Expression& x, const Expression& y) {
  if (!x) return y;
  if (!y) return x;
  if (x->op == Op::multiply) {
    for (std::size_t k : {1, 0}) {
      const Expression known = builder.Find(Op::multiply, {x->operands[k], y});
      if (known) return Multiply(builder, x->operands[1 - k], known);
    }
  }
  return builder.Make(Op::multiply, {x, y});
}

// number * x, where the number joins a factor that is not computed for every pair.
Expression Scale(Builder& builder, double number, const Expression& x) {
  if (!x) return builder.Number(number);
  if (number == 1) return x;
  if (number == -1) return builder.Make(Op::negate, {x});
  if (x->op == Op::multiply && x->dependence == Dependence::ij) {
    for (std::size_t k : {0, 1}) {
      const Expression &factor = x->operands[k], &other = x->operands[1 - k];
      if (factor->dependence != Dependence::ij && factor->dim == 1) {
        return builder.Make(Op::multiply, {Scale(builder, number, factor), other});
      }
    }
  }
  return builder.Make(Op::multiply, {builder.Number(number), x});
}

Term Assemble(Builder& builder, const Factors& factors) {
  if (!factors.vector) return {&builder, Scale(builder, factors.number, factors.scalar)};
  if (!factors.scalar) return {&builder, Scale(builder, factors.number, factors.vector)};
  return {&builder, builder.Make(Op::multiply,
                                 {Scale(builder, factors.number, factors.scalar), factors.vector})};
}

}  // namespace

Term Product(const Term& x, const Term& y) {
  const Factors a = Factorize(x.expression), b = Factorize(y.expression);
  Builder& builder = *x.builder;
  return Assemble(builder, {.number = a.number * b.number,
                            .scalar = Multiply(builder, a.scalar, b.scalar),
                            .vector = Multiply(builder, a.vector, b.vector)});
}

Term SumOf(const Term& x) {
  if (x.dim() == 1) return x;
  Factors factors = Factorize(x.expression);
  const Expression sum = x.Make(Op::sum, {factors.vector}).expression;
  factors.scalar = Multiply(*x.builder, factors.scalar, sum);
  factors.vector = nullptr;
  return Assemble(*x.builder, factors);
}

Pull::Pull(Builder& builder, const Expression& node, Adjoints& adjoints)
    : adjoints_(adjoints), value_{&builder, node}, adjoint_{&builder, nullptr} {
  const Pending pending = adjoints.at(node.get());
  if (pending.masked && !pending.adjoint && Traits(node->op).elementwise) {
    adjoint_.expression = pending.masked;
    mask_ = pending.mask;
    return;
  }
  adjoint_.expression = pending.adjoint;
  if (pending.masked) {
    const Expression kept = builder.Make(Op::keep, {pending.mask, pending.masked});
    adjoint_.expression = pending.adjoint ? builder.Make(Op::add, {pending.adjoint, kept}) : kept;
  }
}

bool Pull::Wants(std::size_t k) const { return adjoints_.contains(node().operands[k].get()); }

void Pull::To(std::size_t k, const Term& contribution) { Add(k, contribution, mask_); }

void Pull::ToMasked(std::size_t k, const Expression& mask, const Term& contribution) {
  if (mask_ || mask->dim != operand(k).dim()) {
    Add(k, Keep({value_.builder, mask}, contribution), mask_);
  } else {
    Add(k, contribution, mask);
  }
}

void Pull::Add(std::size_t k, const Term& contribution, const Expression& mask) {
  const auto place = adjoints_.find(node().operands[k].get());
  if (place == adjoints_.end()) return;
  Builder& builder = *value_.builder;
  Pending& pending = place->second;
  const auto add = [&](Expression& sum, const Expression& term) {
    sum = sum ? builder.Make(Op::add, {sum, term}) : term;
  };
  Term term = contribution;
  const std::int64_t dim = operand(k).dim();
  if (mask && dim == mask->dim && (!pending.mask || pending.mask == mask)) {
    if (dim == 1) term = SumOf(term);
    pending.mask = mask;
    add(pending.masked, term.expression);
    return;
  }
  if (mask) term = Keep({&builder, mask}, term);
  if (dim == 1) term = SumOf(term);
  add(pending.adjoint, term.expression);
}

}  // namespace logsum::formula
