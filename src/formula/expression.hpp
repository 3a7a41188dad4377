// Expressions: immutable graphs of operations, with equal parts shared.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formula/op.hpp"
#include "logsum/reduce.hpp"

namespace logsum::formula {

// What a value depends on. Values that do not depend on the pair are computed once.
enum class Dependence : std::uint8_t { parameter = 0, i = 1, j = 2, ij = 3 };

constexpr Dependence operator|(Dependence a, Dependence b) {
  return static_cast<Dependence>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

struct Node;
using Expression = std::shared_ptr<const Node>;

struct Node {
  Op op;
  Dependence dependence = Dependence::parameter;
  std::int64_t dim = 1;
  std::vector<Expression> operands;
  double number = 0;       // Op::number
  std::int64_t first = 0;  // variable, match: argument; extract, pad: offset; power_of: exponent
};

}  // namespace logsum::formula
