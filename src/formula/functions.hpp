// The functions of the language: one table, from which the parser, the errors and the documentation
// are made.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "formula/term.hpp"

namespace logsum::formula {

// What a call was given: operands and integers, each in order.
struct CallArguments {
  Builder& builder;
  std::vector<Expression> operands;
  std::vector<std::int64_t> integers;

  Term operator[](std::size_t k) const { return {&builder, operands[k]}; }
};

struct Function {
  std::string_view name;
  // A letter for each argument: x an expression, v a variable, n an integer; a final * for any
  // number of expressions more.
  std::string_view parameters;
  std::string_view signature, dimensions, summary;
  Term (*make)(const CallArguments& arguments);
};

std::span<const Function> Functions();
const Function* FindFunction(std::string_view name);  // null: there is none

// x ** y: Pow where y is an integer, else Powf.
Term Raise(const Term& x, const Term& y);

}  // namespace logsum::formula
