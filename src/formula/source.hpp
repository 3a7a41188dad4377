// A text given by people, and errors that point into it.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace logsum::formula {

struct Source {
  std::string_view function, argument;  // whose argument the text is
  std::string_view text;

  // Throws std::invalid_argument("FUNCTION: ARGUMENT: expected EXPECTED, got GIVEN"), followed by
  // the text with a caret under `offset`.
  [[noreturn]] void Throw(std::size_t offset, std::string_view expected,
                          std::string_view given) const;
};

std::string Quoted(std::string_view text);  // 'text', shortened and in plain characters

}  // namespace logsum::formula
