#include "attention/score_parse.hpp"

#include <optional>
#include <utility>

#include "core/errors.hpp"
#include "core/text.hpp"
#include "formula/functions.hpp"
#include "formula/lexer.hpp"
#include "formula/parser.hpp"
#include "formula/source.hpp"
#include "formula/variables.hpp"

namespace logsum::attend {
namespace {

using formula::Builder;
using formula::Dependence;
using formula::Expression;
using formula::Lexer;
using formula::Op;
using formula::Token;

constexpr std::string_view kFunction = "attention";

struct Scalar {
  std::string_view name;
  std::int64_t slot;
  Dependence dependence = Dependence::parameter;
};

constexpr std::array<Scalar, 5> kScalars = {{{"s", kScoreSlot, Dependence::ij},
                                             {"b", kBatchSlot},
                                             {"h", kHeadSlot},
                                             {"q_len", kQueriesSlot},
                                             {"k_len", kKeysSlot}}};

constexpr std::array<std::string_view, 4> kSizeNames = {"B", "Hq", "M", "N"};

Dependence DependenceOf(const ArrayUse& use) {
  const Dependence query = use.Has(kQueryAxis) ? Dependence::j : Dependence::parameter;
  return query | (use.Has(kKeyAxis) ? Dependence::i : Dependence::parameter);
}

bool IsTaken(std::string_view name) {
  return name == "i" || name == "j" || name == "inf" ||
         std::ranges::find(kScalars, name, &Scalar::name) != kScalars.end() ||
         formula::FindFunction(name) != nullptr || formula::Variables::IsKind(name);
}

bool IsName(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && is_letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

void CheckNames(std::span<const ArrayShape> arrays) {
  for (std::size_t k = 0; k < arrays.size(); ++k) {
    const std::string& name = arrays[k].name;
    const std::string given = formula::Quoted(name);
    if (!IsName(name)) {
      ThrowInvalid(kFunction, "score_args", "names of letters, digits and _", given);
    }
    if (IsTaken(name)) {
      ThrowInvalid(kFunction, "score_args", "names that the language has not taken", given);
    }
    const auto before = arrays.first(k);
    if (std::ranges::find(before, name, &ArrayShape::name) != before.end()) {
      ThrowInvalid(kFunction, "score_args", "names that differ", Text("a second ", given));
    }
  }
}

class ScoreScope final : public formula::Scope {
 public:
  ScoreScope(std::span<const ArrayShape> arrays, const std::array<std::int64_t, 4>& sizes,
             ScoreFormula& formula)
      : arrays_(arrays), sizes_(sizes), formula_(formula) {}

  Expression Find(Builder& builder, const Token& name, Lexer& lexer) override {
    const auto array = std::ranges::find(arrays_, name.text, &ArrayShape::name);
    if (array != arrays_.end()) {
      return UseOf(builder, static_cast<int>(array - arrays_.begin()), name, lexer);
    }
    if (lexer.Peek().Is("(")) return nullptr;
    if (name.text == "i") return builder.Index(Op::index_j);
    if (name.text == "j") return builder.Index(Op::index_i);
    const auto scalar = std::ranges::find(kScalars, name.text, &Scalar::name);
    if (scalar == kScalars.end()) return nullptr;
    return builder.Variable(scalar->slot, 1, scalar->dependence);
  }

  std::string_view Expected() const override {
    return "s, i, j, b, h, q_len, k_len or a name in score_args";
  }

  std::vector<std::string_view> Names() const override {
    std::vector<std::string_view> names = {"i", "j"};
    for (const Scalar& scalar : kScalars) names.push_back(scalar.name);
    for (const ArrayShape& array : arrays_) names.push_back(array.name);
    return names;
  }

 private:
  Expression UseOf(Builder& builder, int array, const Token& name, Lexer& lexer) {
    ArrayUse use{array, Indices(arrays_[static_cast<std::size_t>(array)], name, lexer)};
    const auto known = std::ranges::find(formula_.uses, use);
    if (known != formula_.uses.end()) {
      return formula_.variables[static_cast<std::size_t>(known - formula_.uses.begin())];
    }
    const auto slot = kFirstUseSlot + static_cast<std::int64_t>(formula_.uses.size());
    formula_.variables.push_back(builder.Variable(slot, 1, DependenceOf(use)));
    formula_.uses.push_back(std::move(use));
    return formula_.variables.back();
  }

  std::vector<PairAxis> Indices(const ArrayShape& array, const Token& name, Lexer& lexer) const {
    const std::size_t rank = array.sizes.size();
    const std::string call = rank == 0 ? Text(array.name, " alone: it is a scalar")
                             : rank == 1
                                 ? Text(array.name, "(index): it has 1 axis")
                                 : Text(array.name, "(", rank, " indices): it has ", rank, " axes");
    std::vector<PairAxis> axes;
    if (!lexer.Peek().Is("(")) {
      if (rank != 0) lexer.source().Throw(name.offset, call, "no indices");
      return axes;
    }
    std::vector<PairAxis> letters;
    do {
      lexer.Next();
      const Token letter = lexer.Peek();
      if (axes.size() == rank) lexer.source().Throw(letter.offset, call, "more");
      letters.push_back(Index(array, letters, lexer));
      const bool repeats = array.sizes[axes.size()] != sizes_[letters.back()];
      axes.push_back(repeats ? kRepeated : letters.back());
      lexer.Next();
      if (!lexer.Peek().Is(",") && !lexer.Peek().Is(")")) {
        lexer.source().Throw(lexer.Peek().offset,
                             "an index as it stands: b, h, i or j, then , or )",
                             lexer.Peek().Description());
      }
    } while (lexer.Peek().Is(","));
    if (axes.size() != rank) {
      lexer.source().Throw(lexer.Peek().offset, call, Text("only ", axes.size()));
    }
    lexer.Next();
    return axes;
  }

  // The axis that the next token says.
  PairAxis Index(const ArrayShape& array, std::span<const PairAxis> before, Lexer& lexer) const {
    const Token token = lexer.Peek();
    const auto place = token.text.size() == 1 ? std::ranges::find(kAxisLetters, token.text[0])
                                              : kAxisLetters.end();
    if (token.kind != formula::TokenKind::name || place == kAxisLetters.end()) {
      lexer.source().Throw(token.offset, Text("b, h, i or j as an index of ", array.name),
                           token.Description());
    }
    const auto axis = static_cast<PairAxis>(place - kAxisLetters.begin());
    if (std::ranges::find(before, axis) != before.end()) {
      lexer.source().Throw(token.offset, Text("indices of ", array.name, " that differ"),
                           Text("a second ", token.text));
    }
    const std::int64_t given = array.sizes[before.size()], wanted = sizes_[axis];
    if (given != wanted && given != 1) {
      lexer.source().Throw(token.offset,
                           Text("axis ", before.size(), " of ", array.name, " of size 1 or ",
                                kSizeNames[axis], " = ", wanted, " for ", token.text),
                           Text(given));
    }
    return axis;
  }

  std::span<const ArrayShape> arrays_;
  const std::array<std::int64_t, 4>& sizes_;
  ScoreFormula& formula_;
};

}  // namespace

ScoreFormula ParseScore(std::string_view text, std::span<const ArrayShape> arrays,
                        const std::array<std::int64_t, 4>& sizes) {
  CheckNames(arrays);
  ScoreFormula formula;
  ScoreScope scope(arrays, sizes, formula);
  const formula::Source source{kFunction, "score", text};
  formula.value = formula::Parse(source, formula.builder, scope);
  if (formula.value->dim != 1) {
    source.Throw(0, "a formula of dimension 1", Text("dimension ", formula.value->dim));
  }
  return formula;
}

}  // namespace logsum::attend
