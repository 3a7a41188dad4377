// Expressions as instructions: a graph of terms with equal ones shared, and its simplifications.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "formula/expression.hpp"
#include "reduce/program.hpp"

namespace logsum::reduce {

struct Term {
  Code code{};
  Dependence stage = Dependence::parameter;
  std::int64_t dim = 1;
  std::vector<int> operands;  // terms, all of them before this one
  double number = 0;
  std::int64_t first = 0;

  bool operator==(const Term&) const = default;
};

class TermGraph {
 public:
  // The term of an expression.
  int Lower(const formula::Expression& expression);

  // Terms as they are asked for, simplified; the same question has the same answer.
  int Make(Code code, std::vector<int> operands, std::int64_t dim, std::int64_t first = 0);
  int Number(double number);
  int Product(int x, int y);  // of scalars
  // As it stands.
  int Add(Term term) { return Intern(std::move(term)); }

  const Term& operator[](int term) const { return terms_[static_cast<std::size_t>(term)]; }
  int Size() const { return static_cast<int>(terms_.size()); }

 private:
  struct Hash {
    std::size_t operator()(const Term& term) const;
  };

  int Intern(Term term);
  int Simplified(const Term& term);
  bool IsNumber(int term) const { return (*this)[term].code == Code::number; }
  bool IsNumber(int term, double number) const {
    return IsNumber(term) && (*this)[term].number == number;
  }
  // Whether x and y are a vector of i and one of j, in this order or the other.
  bool IsPair(int x, int y) const;

  std::vector<Term> terms_;
  std::unordered_map<Term, int, Hash> known_;
  std::unordered_map<const formula::Node*, int> lowered_;
};

}  // namespace logsum::reduce
