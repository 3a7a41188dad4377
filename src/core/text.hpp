// Messages put together from pieces.
#pragma once
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

namespace logsum {

// Strings and integers, one after another.
template <class... Pieces>
std::string Text(const Pieces&... pieces) {
  std::string text;
  const auto append = [&](const auto& piece) {
    if constexpr (std::integral<std::decay_t<decltype(piece)>>) {
      text.append(std::to_string(piece));
    } else {
      text.append(std::string_view(piece));
    }
  };
  (append(pieces), ...);
  return text;
}

}  // namespace logsum
