// Formulas as text: Python's operators and precedence, the functions of functions.hpp.
//
//   comparison = either [("<" | "<=" | ">" | ">=" | "==" | "!=") either]
//   either     = sum {"|" sum}                  the scalar product
//   sum        = product {("+" | "-") product}
//   product    = sign {("*" | "/") sign}
//   sign       = ("-" | "+") sign | power
//   power      = primary ["**" sign]
//   primary    = number | name | name "(" arguments ")" | "(" comparison ")"
#pragma once
#include <string_view>

#include "formula/builder.hpp"
#include "formula/source.hpp"
#include "formula/variables.hpp"

namespace logsum::formula {

// Variables that stand in the formula itself are declared by it. Throws std::invalid_argument that
// points into the text.
Expression Parse(const Source& source, Builder& builder, Variables& variables);

}  // namespace logsum::formula
