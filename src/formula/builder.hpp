// Makes expressions: equal parts are one node, dimensions are checked, and what is trivially known
// is not computed.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "formula/expression.hpp"
#include "formula/op.hpp"

namespace logsum::formula {

// Why an expression cannot be made. The parser adds the place.
class Refusal : public std::invalid_argument {
 public:
  Refusal(const std::string& expected, const std::string& given)
      : std::invalid_argument("expected " + expected + ", got " + given),
        expected(expected),
        given(given) {}
  const std::string expected, given;
};

// Bounds that keep any formula, and its derivatives, harmless: memory, and the recursion with which
// shared pointers free a graph.
inline constexpr std::int64_t kMaxDimension = std::int64_t{1} << 20;
inline constexpr int kMaxDepth = 5000;
inline constexpr std::size_t kMaxNodes = std::size_t{1} << 16;

class Builder {
 public:
  // The parts of an expression of another builder are shared from now on.
  void Adopt(const Expression& root);

  Expression Variable(std::int64_t slot, std::int64_t dim, Dependence dependence);
  Expression Match(std::int64_t slot, std::int64_t dim);
  Expression Number(double value);
  Expression Index(Op op);  // index_i, index_j, size_i, size_j
  // 0 of any dimension.
  Expression Zero(std::int64_t dim);

  // Any other operation, simplified where the result is the same for all numbers, infinities and
  // NaN (but for the sign of a zero). first: power_of, extract, pad; dim: broadcast, extract, pad,
  // one_hot.
  Expression Make(Op op, std::vector<Expression> operands, std::int64_t first = 0,
                  std::int64_t dim = 0);

  // The operation on these operands if it is known already, else null.
  Expression Find(Op op, const std::vector<Expression>& operands) const;

  std::size_t NumNodes() const { return nodes_.size(); }

 private:
  struct Hash {
    std::size_t operator()(const Expression& node) const;
  };
  struct Equal {
    bool operator()(const Expression& a, const Expression& b) const;
  };

  Expression Intern(Node node);
  // An equal expression that costs less, or null: simplify.cpp.
  Expression Simplify(Op op, const std::vector<Expression>& operands, std::int64_t first,
                      std::int64_t dim);
  Expression SimplifyUnary(Op op, const Expression& x, std::int64_t first);
  Expression SimplifyBinary(Op op, const Expression& x, const Expression& y);
  Expression SimplifyProduct(const Expression& x, const Expression& y);
  Expression SimplifyVector(Op op, const std::vector<Expression>& operands, std::int64_t first,
                            std::int64_t dim);

  std::unordered_set<Expression, Hash, Equal> nodes_;
  std::unordered_map<const Node*, int> depth_;
};

inline bool IsNumber(const Expression& x) { return x->op == Op::number; }
inline bool IsNumber(const Expression& x, double value) {
  return x->op == Op::number && x->number == value;
}

}  // namespace logsum::formula
