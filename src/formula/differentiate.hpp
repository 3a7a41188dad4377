// Derivatives of expressions, as expressions.
#pragma once
#include <span>
#include <vector>

#include "formula/builder.hpp"

namespace logsum::formula {

// A value, and what its components are multiplied by: of its dimension, or of dimension 1. Where
// `mask` (of dimension 1 or the value's) is 0 the value takes no part, whatever its derivative is;
// null for none.
struct Root {
  Expression value, adjoint;
  Expression mask = nullptr;
};

// The gradients of the sum of (value | adjoint) over all roots with respect to each of `wanted`, in
// one sweep from the roots to the leaves; null where one is zero. Every part is differentiated
// once, so the graph grows by a constant factor.
//
// A root keep(w, y) is y under the mask w, so that gradients of gradients leave out what gradients
// leave out.
std::vector<Expression> Gradient(Builder& builder, std::span<const Root> roots,
                                 std::span<const Expression> wanted);

// The derivative of `value` along `tangents` of `variables`, by component; null where it is zero.
Expression Tangent(Builder& builder, const Expression& value, std::span<const Expression> variables,
                   std::span<const Expression> tangents);

}  // namespace logsum::formula
