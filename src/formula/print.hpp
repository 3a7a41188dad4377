// Expressions as text, in the language they are parsed from.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "formula/expression.hpp"

namespace logsum::formula {

struct Printed {
  std::vector<std::string> parts;  // "t1 = ...": what is used more than once, or long
  std::vector<std::string> roots;  // in terms of them
};

// names: of the slots. Linear in the size of the graph.
Printed Print(std::span<const Expression> roots, std::span<const std::string> names);

}  // namespace logsum::formula
