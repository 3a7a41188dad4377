// Any text as a score formula of attention.
#pragma once
#include <string_view>

namespace logsum::fuzz {

// The formula's line, then one for each array: "slope 3", a name and a digit for the size of each
// axis; "doc 25 i", of integers. The call has batch 2, 3 heads, 5 queries and 7 keys. Throws
// std::invalid_argument where it is refused.
void VisitScore(std::string_view text);

}  // namespace logsum::fuzz
