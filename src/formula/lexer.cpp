#include "formula/lexer.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "core/text.hpp"

namespace logsum::formula {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Longer symbols first.
constexpr std::array<std::string_view, 17> kSymbols = {
    "**", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "|", "(", ")", ",", "=", "^"};

}  // namespace

std::string Token::Description() const { return kind == TokenKind::end ? "the end" : Quoted(text); }

Token Lexer::Next() {
  const Token token = token_;
  Advance();
  return token;
}

bool Lexer::Skip(std::string_view symbol) {
  if (!token_.Is(symbol)) return false;
  Advance();
  return true;
}

void Lexer::Expect(std::string_view symbol, std::string_view expected) {
  if (!Skip(symbol)) source_.Throw(token_.offset, expected, token_.Description());
}

std::int64_t Lexer::Integer(std::string_view what) {
  const std::size_t begin = token_.offset;
  const bool is_negative = Skip("-");
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  if (token_.kind != TokenKind::number || !std::ranges::all_of(token_.text, IsDigit)) {
    source_.Throw(begin, Text(what, ", an integer"), token_.Description());
  }
  if (token_.number > static_cast<double>(kLargest)) {
    source_.Throw(begin, Text(what, ", an integer up to ", kLargest), token_.Description());
  }
  const auto value = static_cast<std::int64_t>(Next().number);
  return is_negative ? -value : value;
}

void Lexer::Advance() {
  const std::string_view text = source_.text;
  while (position_ < text.size() && IsSpace(text[position_])) ++position_;
  token_ = {.kind = TokenKind::end, .text = {}, .offset = position_};
  if (position_ == text.size()) return;
  const std::string_view rest = text.substr(position_);
  const auto take = [&](TokenKind kind, std::size_t length) {
    token_.kind = kind;
    token_.text = rest.substr(0, length);
    position_ += length;
  };
  if (IsNameStart(rest[0])) {
    const auto end =
        std::ranges::find_if_not(rest, [](char c) { return IsNameStart(c) || IsDigit(c); });
    return take(TokenKind::name, static_cast<std::size_t>(end - rest.begin()));
  }
  if (IsDigit(rest[0]) || (rest[0] == '.' && rest.size() > 1 && IsDigit(rest[1]))) {
    const auto [end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), token_.number);
    if (error != std::errc{}) {
      source_.Throw(position_, "a number that float64 holds", "one too large or too small");
    }
    return take(TokenKind::number, static_cast<std::size_t>(end - rest.data()));
  }
  for (const std::string_view symbol : kSymbols) {
    if (rest.starts_with(symbol)) return take(TokenKind::symbol, symbol.size());
  }
  source_.Throw(position_, "names, numbers and operators", Quoted(rest.substr(0, 1)));
}

}  // namespace logsum::formula
