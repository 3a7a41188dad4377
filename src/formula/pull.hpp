// What the derivative of one operation sees: a node, its adjoint, and where contributions go.
#pragma once
#include <unordered_map>
#include <vector>

#include "formula/term.hpp"

namespace logsum::formula {

// x y, with numbers and factors of dimension 1 put together first: they cost least there, and a sum
// over components can leave them out.
Term Product(const Term& x, const Term& y);
// The sum of all components, of that times a factor of dimension 1.
Term SumOf(const Term& x);

// The contributions to a node's adjoint that have arrived. One under a mask of the node's own
// dimension stays apart, so that the mask can be applied where components begin to mix.
struct Pending {
  Expression adjoint;       // without a mask; null: none
  Expression masked, mask;  // null: none
};

class Pull {
 public:
  using Adjoints = std::unordered_map<const Node*, Pending>;

  Pull(Builder& builder, const Expression& node, Adjoints& adjoints);

  const Term& adjoint() const { return adjoint_; }
  const Term& value() const { return value_; }
  Term operand(std::size_t k) const { return {value_.builder, value_.expression->operands[k]}; }
  Term x() const { return operand(0); }
  Term y() const { return operand(1); }
  Term z() const { return operand(2); }
  const Node& node() const { return *value_.expression; }

  // Whether operand k depends on what is differentiated by.
  bool Wants(std::size_t k) const;
  // Adds to the adjoint of operand k; sums over components where the operand was repeated.
  void To(std::size_t k, const Term& contribution);
  void ToMasked(std::size_t k, const Expression& mask, const Term& contribution);

 private:
  void Add(std::size_t k, const Term& contribution, const Expression& mask);

  Adjoints& adjoints_;
  Term value_, adjoint_;
  Expression mask_;
};

}  // namespace logsum::formula
