#include "formula/variables.hpp"

#include <algorithm>
#include <array>

#include "core/errors.hpp"
#include "core/text.hpp"
#include "formula/builder.hpp"

namespace logsum::formula {
namespace {

constexpr std::int64_t kMaxVariables = 1024;
constexpr std::string_view kForms =
    "Vi(dim), Vj(dim), Pm(dim), each with a position before dim if wanted, or "
    "Var(position, dim, 0 for i, 1 for j, 2 for a parameter)";

std::optional<FormulaIndex> KindIndex(std::string_view kind) {
  if (kind == "Vi") return FormulaIndex::i;
  if (kind == "Vj") return FormulaIndex::j;
  if (kind == "Pm") return FormulaIndex::parameter;
  return std::nullopt;
}

std::int64_t Within(Lexer& lexer, std::string_view what, std::int64_t low, std::int64_t high) {
  const std::size_t offset = lexer.Peek().offset;
  const std::int64_t value = lexer.Integer(what);
  if (value < low || value > high) {
    lexer.source().Throw(offset, Text(what, " from ", low, " to ", high), Text(value));
  }
  return value;
}

}  // namespace

std::string VariableText(std::int64_t position, const Variable& variable) {
  constexpr std::array<std::string_view, 3> kNames = {"Vi", "Vj", "Pm"};
  return Text(kNames[static_cast<std::size_t>(variable.index)], "(", position, ", ", variable.dim,
              ")");
}

bool Variables::IsKind(std::string_view name) { return name == "Var" || KindIndex(name); }

void Variables::DeclareAlias(std::string_view function, std::string_view alias, int place_in_list) {
  Lexer lexer({function, "aliases", alias});
  Token token = lexer.Next();
  std::string name;
  if (token.kind == TokenKind::name && lexer.Peek().Is("=")) {
    name = token.text;
    if (Find(name))
      lexer.source().Throw(token.offset, "names that differ", Text("a second ", name));
    lexer.Next();
    token = lexer.Next();
  }
  if (token.kind != TokenKind::name || !IsKind(token.text)) {
    lexer.source().Throw(token.offset, kForms, token.Description());
  }
  const std::int64_t position = Declare(lexer, token.text, token.offset, place_in_list);
  if (lexer.Peek().kind != TokenKind::end) {
    lexer.source().Throw(lexer.Peek().offset, "the end", lexer.Peek().Description());
  }
  if (name.empty()) return;
  aliases_.push_back({name, position});
  Variable& variable = variables_[static_cast<std::size_t>(position)];
  if (variable.name.empty()) variable.name = name;
}

std::int64_t Variables::Declare(Lexer& lexer, std::string_view kind, std::size_t offset,
                                std::optional<std::int64_t> default_position) {
  Variable declared;
  std::int64_t position = 0;
  lexer.Expect("(", Text("( and ", kForms));
  if (kind == "Var") {
    position = Within(lexer, "a position", 0, kMaxVariables - 1);
    lexer.Expect(",", "a comma and a dimension");
    declared.dim = Within(lexer, "a dimension", 1, kMaxDimension);
    lexer.Expect(",", "a comma and a category: 0 for i, 1 for j, 2 for a parameter");
    declared.index = static_cast<FormulaIndex>(Within(lexer, "a category", 0, 2));
  } else {
    declared.index = *KindIndex(kind);
    const std::size_t first_offset = lexer.Peek().offset;
    const std::int64_t first = lexer.Integer("a position or a dimension");
    if (lexer.Skip(",")) {
      position = first;
      declared.dim = Within(lexer, "a dimension", 1, kMaxDimension);
    } else if (default_position) {
      position = *default_position;
      declared.dim = first;
    } else {
      lexer.source().Throw(offset, Text("a position and a dimension, ", kind, "(0, 3)"),
                           "one number");
    }
    if (position < 0 || position >= kMaxVariables) {
      lexer.source().Throw(first_offset, Text("a position from 0 to ", kMaxVariables - 1),
                           std::to_string(position));
    }
    if (declared.dim < 1 || declared.dim > kMaxDimension) {
      lexer.source().Throw(first_offset, Text("a dimension from 1 to ", kMaxDimension),
                           std::to_string(declared.dim));
    }
  }
  lexer.Expect(")", ")");
  const auto place = static_cast<std::size_t>(position);
  if (place >= variables_.size()) variables_.resize(place + 1);
  Variable& known = variables_[place];
  if (known.dim == 0) {
    known.index = declared.index;
    known.dim = declared.dim;
  } else if (known.dim != declared.dim || known.index != declared.index) {
    lexer.source().Throw(offset,
                         Text(VariableText(position, known), " as before at position ", position),
                         VariableText(position, declared));
  }
  return position;
}

std::optional<std::int64_t> Variables::Find(std::string_view name) const {
  const auto place = std::ranges::find(aliases_, name, &Alias::name);
  if (place == aliases_.end()) return std::nullopt;
  return place->position;
}

std::vector<Variable> Variables::Complete(std::string_view function) const {
  std::string missing;
  for (std::size_t k = 0; k < variables_.size(); ++k) {
    if (variables_[k].dim != 0) continue;
    if (missing.size() > 60) {
      missing += ", ...";
      break;
    }
    missing += Text(missing.empty() ? "" : ", ", k);
  }
  if (!missing.empty()) {
    ThrowInvalid(function, "aliases",
                 Text("a variable at every position from 0 to ", variables_.size() - 1),
                 Text("none at ", missing));
  }
  std::vector<Variable> variables = variables_;
  for (std::size_t k = 0; k < variables.size(); ++k) {
    std::string& name = variables[k].name;
    if (!name.empty()) continue;
    name = Text("v", k);
    while (Find(name)) name += "_";
  }
  return variables;
}

std::vector<std::string_view> Variables::Names() const {
  std::vector<std::string_view> names;
  for (const Alias& alias : aliases_) names.push_back(alias.name);
  return names;
}

}  // namespace logsum::formula
