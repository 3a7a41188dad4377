// The variables of a formula: declared by aliases, or where they stand in the formula.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formula/lexer.hpp"
#include "logsum/reduce.hpp"

namespace logsum::formula {

struct Variable {
  std::string name;  // empty until Complete() where no alias gave one
  FormulaIndex index = FormulaIndex::parameter;
  std::int64_t dim = 0;  // 0: not declared
};

std::string VariableText(std::int64_t position, const Variable& variable);  // "Vi(0, 3)"

class Variables {
 public:
  // An alias, "x = Vi(3)", "x = Vi(0, 3)", "x = Var(0, 3, 0)", or one of these without a name;
  // without a position it takes that of the alias in the list.
  void DeclareAlias(std::string_view function, std::string_view alias, int place_in_list);
  // What follows the name of a kind, "Vi" or "Var" say, that begins at `offset`. Without a default
  // the position must be there. Returns the position.
  std::int64_t Declare(Lexer& lexer, std::string_view kind, std::size_t offset,
                       std::optional<std::int64_t> default_position);
  static bool IsKind(std::string_view name);

  std::optional<std::int64_t> Find(std::string_view name) const;
  const Variable& At(std::int64_t position) const {
    return variables_[static_cast<std::size_t>(position)];
  }

  // All variables, once everything is parsed: no position may be missing.
  std::vector<Variable> Complete(std::string_view function) const;
  // For hints about misspelled names.
  std::vector<std::string_view> Names() const;

 private:
  struct Alias {
    std::string name;
    std::int64_t position;
  };
  std::vector<Variable> variables_;
  std::vector<Alias> aliases_;
};

}  // namespace logsum::formula
