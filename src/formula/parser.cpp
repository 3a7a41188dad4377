#include "formula/parser.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/text.hpp"
#include "formula/functions.hpp"
#include "formula/lexer.hpp"

namespace logsum::formula {
namespace {

// Parentheses, calls, signs and powers within one another; bounds the parser's recursion.
constexpr int kMaxNesting = 200;

// The names of a reduction: its variables, i, j, M and N.
class ReductionScope final : public Scope {
 public:
  explicit ReductionScope(Variables& variables) : variables_(variables) {}

  Expression Find(Builder& builder, const Token& name, Lexer& lexer) override {
    if (lexer.Peek().Is("(")) {
      if (!Variables::IsKind(name.text)) return nullptr;
      return VariableAt(builder, variables_.Declare(lexer, name.text, name.offset, std::nullopt));
    }
    if (const auto position = variables_.Find(name.text)) return VariableAt(builder, *position);
    for (const auto& [text, op] : kTerms) {
      if (text == name.text) return builder.Index(op);
    }
    return nullptr;
  }
  std::string_view Expected() const override { return "a variable of the aliases, i, j, M or N"; }
  std::vector<std::string_view> Names() const override { return variables_.Names(); }

 private:
  static constexpr std::array<std::pair<std::string_view, Op>, 4> kTerms = {
      {{"i", Op::index_i}, {"j", Op::index_j}, {"M", Op::size_i}, {"N", Op::size_j}}};

  Expression VariableAt(Builder& builder, std::int64_t position) const {
    const Variable& variable = variables_.At(position);
    const Dependence dependence = variable.index == FormulaIndex::i   ? Dependence::i
                                  : variable.index == FormulaIndex::j ? Dependence::j
                                                                      : Dependence::parameter;
    return builder.Variable(position, variable.dim, dependence);
  }

  Variables& variables_;
};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// The number of letters to change, add or leave out, whatever their case.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t change = diagonal + (Lower(a[i]) == Lower(b[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

class Parser {
 public:
  Parser(const Source& source, Builder& builder, Scope& scope)
      : lexer_(source), builder_(builder), scope_(scope) {}

  Expression Formula() {
    const Token first = lexer_.Peek();
    const Term result = At(first, "a formula", [&] { return Comparison(); });
    if (lexer_.Peek().kind != TokenKind::end) Unexpected("an operator or the end");
    return result.expression;
  }

 private:
  // Counts how deep the parser is in what lies within one another.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : depth_(parser.depth_) {
      if (++depth_ > kMaxNesting) {
        parser.lexer_.source().Throw(
            parser.lexer_.Peek().offset,
            Text("at most ", kMaxNesting, " parentheses, calls or signs in another"), "more");
      }
    }
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    int& depth_;
  };

  // What `make` makes; a refusal becomes an error at the token of `name`.
  template <class Make>
  Term At(const Token& place, std::string_view name, const Make& make) {
    try {
      return make();
    } catch (const Refusal& refusal) {
      lexer_.source().Throw(place.offset, Text(name, " with ", refusal.expected), refusal.given);
    }
  }

  [[noreturn]] void Unexpected(std::string_view expected) {
    const Token& token = lexer_.Peek();
    if (token.Is("^")) lexer_.source().Throw(token.offset, "** for a power", "'^'");
    if (token.Is("=")) lexer_.source().Throw(token.offset, "== for a comparison", "'='");
    lexer_.source().Throw(token.offset, expected, token.Description());
  }

  static std::optional<Op> ComparisonOp(const Token& token) {
    if (token.Is("<") || token.Is(">")) return Op::less;
    if (token.Is("<=") || token.Is(">=")) return Op::less_equal;
    if (token.Is("==")) return Op::equal;
    if (token.Is("!=")) return Op::not_equal;
    return std::nullopt;
  }

  Term Comparison() {
    const Term x = Either();
    const auto op = ComparisonOp(lexer_.Peek());
    if (!op) return x;
    const Token token = lexer_.Next();
    const Term y = Either();
    if (ComparisonOp(lexer_.Peek())) {
      Unexpected("one comparison (a < b < c is (a < b) * (b < c))");
    }
    const bool swaps = token.text[0] == '>';
    return At(token, token.text, [&] { return swaps ? Apply(*op, y, x) : Apply(*op, x, y); });
  }

  Term Either() {
    Term x = Additive();
    while (lexer_.Peek().Is("|")) {
      const Token token = lexer_.Next();
      const Term y = Additive();
      x = At(token, "|", [&] { return Dot(x, y); });
    }
    return x;
  }

  Term Additive() {
    Term x = Multiplicative();
    while (lexer_.Peek().Is("+") || lexer_.Peek().Is("-")) {
      const Token token = lexer_.Next();
      const Term y = Multiplicative();
      x = At(token, token.text, [&] { return token.Is("+") ? x + y : x - y; });
    }
    return x;
  }

  Term Multiplicative() {
    Term x = Sign();
    while (lexer_.Peek().Is("*") || lexer_.Peek().Is("/")) {
      const Token token = lexer_.Next();
      const Term y = Sign();
      x = At(token, token.text, [&] { return token.Is("*") ? x * y : x / y; });
    }
    return x;
  }

  Term Sign() {
    const Nesting nesting(*this);
    const Token token = lexer_.Peek();
    if (lexer_.Skip("+")) return Sign();
    if (!lexer_.Skip("-")) return Power();
    const Term x = Sign();
    return At(token, "-", [&] { return -x; });
  }

  Term Power() {
    const Term x = Primary();
    const Token token = lexer_.Peek();
    if (!lexer_.Skip("**")) return x;
    const Term y = Sign();
    return At(token, "**", [&] { return Raise(x, y); });
  }

  Term Primary() {
    const Token token = lexer_.Peek();
    if (token.kind == TokenKind::number) {
      lexer_.Next();
      return {&builder_, builder_.Number(token.number)};
    }
    if (lexer_.Skip("(")) {
      const Term x = Comparison();
      if (!lexer_.Skip(")")) Unexpected("an operator or )");
      return x;
    }
    if (token.kind != TokenKind::name) Unexpected("a number, a variable, a function or (");
    lexer_.Next();
    if (const Expression found = scope_.Find(builder_, token, lexer_)) return {&builder_, found};
    return lexer_.Peek().Is("(") ? Call(token) : Name(token);
  }

  Term Name(const Token& name) {
    if (name.text == "inf") {
      return {&builder_, builder_.Number(std::numeric_limits<double>::infinity())};
    }
    if (const Function* function = FindFunction(name.text)) {
      lexer_.source().Throw(name.offset, std::string(function->signature), "no parentheses");
    }
    Unknown(name, scope_.Expected());
  }

  Term Call(const Token& name) {
    const Function* function = FindFunction(name.text);
    if (function == nullptr) {
      const std::vector<std::string_view> names = scope_.Names();
      if (std::ranges::find(names, name.text) != names.end()) {
        lexer_.source().Throw(name.offset, "a function", Text("the variable ", Quoted(name.text)));
      }
      Unknown(name, "a function of the language");
    }
    lexer_.Next();  // (
    CallArguments arguments{builder_, {}, {}};
    const std::string_view parameters = function->parameters;
    for (std::size_t k = 0; k < parameters.size() && parameters[k] != '*'; ++k) {
      if (k > 0) ExpectInCall(",", *function);
      Argument(parameters[k], *function, arguments);
    }
    if (parameters.ends_with('*')) {
      while (lexer_.Skip(",")) Argument('x', *function, arguments);
    }
    ExpectInCall(")", *function);
    return At(name, name.text, [&] { return function->make(arguments); });
  }

  void ExpectInCall(std::string_view symbol, const Function& function) {
    if (lexer_.Skip(symbol)) return;
    Unexpected(Text(symbol, " of ", function.signature));
  }

  void Argument(char kind, const Function& function, CallArguments& arguments) {
    const Token token = lexer_.Peek();
    if (kind == 'n') {
      arguments.integers.push_back(lexer_.Integer(Text("for ", function.signature, " a number")));
      return;
    }
    if (token.Is(")") || token.Is(",")) Unexpected(Text("all of ", function.signature));
    const Term x = Comparison();
    if (kind == 'v' && x.expression->op != Op::variable) {
      lexer_.source().Throw(token.offset, "a variable to differentiate by", "an expression");
    }
    arguments.operands.push_back(x.expression);
  }

  [[noreturn]] void Unknown(const Token& name, std::string_view expected) {
    constexpr std::size_t kLongest = 64;  // what is longer is no misspelling
    if (name.text.size() > kLongest) {
      lexer_.source().Throw(name.offset, expected, Quoted(name.text));
    }
    std::vector<std::string_view> known = scope_.Names();
    for (const Function& function : Functions()) known.push_back(function.name);
    std::string_view nearest;
    // A third of the letters may be wrong.
    std::size_t least = std::max<std::size_t>(2, name.text.size() / 3 + 1);
    for (const std::string_view candidate : known) {
      if (candidate.size() > kLongest) continue;
      const std::size_t distance = EditDistance(name.text, candidate);
      if (distance < std::min(least, name.text.size())) {
        least = distance;
        nearest = candidate;
      }
    }
    std::string given = Quoted(name.text);
    if (!nearest.empty()) given += Text(" (did you mean ", nearest, "?)");
    lexer_.source().Throw(name.offset, expected, given);
  }

  Lexer lexer_;
  Builder& builder_;
  Scope& scope_;
  int depth_ = 0;
};

}  // namespace

Expression Parse(const Source& source, Builder& builder, Variables& variables) {
  ReductionScope scope(variables);
  return Parse(source, builder, scope);
}

Expression Parse(const Source& source, Builder& builder, Scope& scope) {
  return Parser(source, builder, scope).Formula();
}

}  // namespace logsum::formula
