// Formulas as text: Python's operators and precedence, the functions of functions.hpp.
//
//   comparison = either [("<" | "<=" | ">" | ">=" | "==" | "!=") either]
//   either     = sum {"|" sum}                  the scalar product
//   sum        = product {("+" | "-") product}
//   product    = sign {("*" | "/") sign}
//   sign       = ("-" | "+") sign | power
//   power      = primary ["**" sign]
//   primary    = number | name | name "(" arguments ")" | "(" comparison ")"
//
// The name inf is infinity, unless a variable is called so.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "formula/builder.hpp"
#include "formula/lexer.hpp"
#include "formula/source.hpp"
#include "formula/variables.hpp"

namespace logsum::formula {

// What names stand for, but functions and inf.
class Scope {
 public:
  virtual ~Scope() = default;

  // What a name stands for with what follows it, which `lexer` has not read; null: no such name.
  virtual Expression Find(Builder& builder, const Token& name, Lexer& lexer) = 0;
  // What Find finds, for errors; and names, for hints about misspelled ones.
  virtual std::string_view Expected() const = 0;
  virtual std::vector<std::string_view> Names() const = 0;
};

// Variables that stand in the formula itself are declared by it. Throws std::invalid_argument that
// points into the text.
Expression Parse(const Source& source, Builder& builder, Variables& variables);
// The same with other names.
Expression Parse(const Source& source, Builder& builder, Scope& scope);

}  // namespace logsum::formula
