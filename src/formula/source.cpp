#include "formula/source.hpp"

#include <algorithm>

#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::formula {
namespace {

bool IsPlain(char c) { return c >= ' ' && c <= '~'; }
bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xc0u) == 0x80u; }

// One plain character for each of the text's: messages must be readable and valid in any encoding.
std::string Plain(std::string_view text) {
  std::string plain;
  for (const char c : text) {
    if (IsPlain(c)) {
      plain += c;
    } else if (!Continues(c)) {
      plain += c == '\n' || c == '\t' || c == '\r' ? ' ' : '?';
    }
  }
  return plain;
}

}  // namespace

void Source::Throw(std::size_t offset, std::string_view expected, std::string_view given) const {
  // Of a long text the part around the place.
  constexpr std::size_t kBefore = 60, kAfter = 40;
  const std::size_t begin = offset > kBefore ? offset - kBefore : 0;
  const std::size_t end = std::min(text.size(), offset + kAfter);
  const std::string before =
      Text(begin > 0 ? "..." : "", Plain(text.substr(begin, offset - begin)));
  const std::string after =
      Text(Plain(text.substr(offset, end - offset)), end < text.size() ? "..." : "");
  std::string detail(given);
  detail.append("\n  ").append(before).append(after);
  detail.append("\n  ").append(before.size(), ' ').append("^");
  ThrowInvalid(function, argument, expected, detail);
}

std::string Quoted(std::string_view text) {
  constexpr std::size_t kLongest = 40;
  return Text("'", Plain(text.substr(0, kLongest)), text.size() > kLongest ? "...'" : "'");
}

}  // namespace logsum::formula
