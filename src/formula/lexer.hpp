// Text as tokens.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formula/source.hpp"

namespace logsum::formula {

enum class TokenKind : std::uint8_t { end, number, name, symbol };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;
  std::size_t offset = 0;
  double number = 0;

  bool Is(std::string_view symbol) const { return kind == TokenKind::symbol && text == symbol; }
  std::string Description() const;  // for errors
};

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source) { Advance(); }

  const Source& source() const { return source_; }
  const Token& Peek() const { return token_; }
  Token Next();
  bool Skip(std::string_view symbol);  // if it comes next
  void Expect(std::string_view symbol, std::string_view expected);
  // An integer, which may have a sign; `what` it is, for errors.
  std::int64_t Integer(std::string_view what);

 private:
  void Advance();

  Source source_;
  std::size_t position_ = 0;
  Token token_;
};

}  // namespace logsum::formula
