// Formulas parsed for a test, with their variables.
#pragma once
#include <gtest/gtest.h>

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formula/parser.hpp"
#include "formula/variables.hpp"

namespace logsum::formula {

struct Parsed {
  Builder builder;
  Variables variables;
  Expression expression;

  Parsed(std::string_view text, std::initializer_list<std::string_view> aliases) {
    int place = 0;
    for (const std::string_view alias : aliases) variables.DeclareAlias("f", alias, place++);
    expression = Parse({"f", "formula", text}, builder, variables);
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const Variable& variable : variables.Complete("f")) names.push_back(variable.name);
    return names;
  }
  Expression VariableNode(std::size_t k) {
    const Variable& variable = variables.At(static_cast<std::int64_t>(k));
    const Dependence dependence = variable.index == FormulaIndex::i   ? Dependence::i
                                  : variable.index == FormulaIndex::j ? Dependence::j
                                                                      : Dependence::parameter;
    return builder.Variable(static_cast<std::int64_t>(k), variable.dim, dependence);
  }
};

// What the error says that `make` must throw.
template <class Make>
std::string ErrorOf(const Make& make) {
  try {
    make();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace logsum::formula
