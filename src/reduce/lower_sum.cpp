#include "reduce/lower_sum.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace logsum::reduce {
namespace {

// A product as one of some factors, and one of the rest; -1 for none.
struct Parts {
  int taken = -1, rest = -1;
};

// Takes the factors out that depend on one index alone, or on none.

class Splitter {
 public:
  Splitter(TermGraph& graph, Dependence index) : graph_(graph), index_(index) {}

  bool Takes(int term) const { return (graph_[term].stage | index_) == index_; }

  Parts Split(int term) {
    if (Takes(term)) return {.taken = term};
    if (const auto known = known_.find(term); known != known_.end()) return known->second;
    const Term at = graph_[term];
    Parts parts{.rest = term};
    if (at.code == Code::negate) {
      const Parts inner = Split(at.operands[0]);
      parts = {Product(inner.taken, graph_.Number(-1)), inner.rest};
    } else if (at.code == Code::multiply) {
      const Parts x = Split(at.operands[0]), y = Split(at.operands[1]);
      parts.taken = Product(x.taken, y.taken);
      if (parts.taken >= 0) parts.rest = Product(x.rest, y.rest);
    }
    return known_[term] = parts;
  }

 private:
  int Product(int x, int y) {
    if (x < 0) return y;
    if (y < 0) return x;
    return graph_.Make(Code::multiply, {x, y}, std::max(graph_[x].dim, graph_[y].dim));
  }

  TermGraph& graph_;
  const Dependence index_;
  std::unordered_map<int, Parts> known_;
};

// Whether a product has this factor, so that it is zero or NaN where the factor is zero.
bool HasFactor(const TermGraph& graph, int product, int factor) {
  std::vector<int> path{product};
  std::unordered_set<int> seen;
  while (!path.empty()) {
    const int term = path.back();
    path.pop_back();
    if (term == factor) return true;
    const Term& at = graph[term];
    if (at.code != Code::multiply && at.code != Code::negate && at.code != Code::square) continue;
    if (seen.insert(term).second) path.insert(path.end(), at.operands.begin(), at.operands.end());
  }
  return false;
}

// Whether tiles have an element for each column, so that a product is as cheap in a sum as before.
bool IsPerColumn(const TermGraph& graph, int term) {
  return graph[term].stage == Dependence::j || graph[term].stage == Dependence::ij;
}

}  // namespace

SumOfTerms AsSumOfTerms(TermGraph& graph, int formula, FormulaIndex kept) {
  // Sums of everything are made of sums over j.
  const bool over_i = kept == FormulaIndex::j;
  Splitter of_kept(graph, over_i ? Dependence::j : Dependence::i);
  SumOfTerms sum;
  int rest = formula;
  if (graph[formula].code == Code::keep) {
    sum.mask = graph[formula].operands[0];
    rest = graph[formula].operands[1];
  }
  // Under a mask of the kept index factors stay: it takes out infinite ones.
  if (of_kept.Takes(rest) || (sum.mask >= 0 && of_kept.Takes(sum.mask))) return {.value = formula};
  const auto take = [&](Splitter& splitter, int& part) {
    const Parts parts = splitter.Split(rest);
    part = parts.taken;
    rest = parts.rest;
  };
  take(of_kept, sum.scale);
  Splitter of_rows(graph, Dependence::i);
  if (over_i && !of_rows.Takes(rest)) take(of_rows, sum.row);
  if (sum.mask >= 0 && !HasFactor(graph, rest, sum.mask)) {
    const std::int64_t dim = std::max(graph[sum.mask].dim, graph[rest].dim);
    sum.value = graph.Make(Code::keep, {sum.mask, rest}, dim);
    if (sum.scale < 0 && sum.row < 0) sum.mask = -1;
    return sum;
  }
  const Term at = graph[rest];
  const bool is_product =
      at.stage == Dependence::ij && (at.code == Code::multiply || at.code == Code::square) &&
      IsPerColumn(graph, at.operands.front()) && IsPerColumn(graph, at.operands.back());
  sum.value = is_product ? at.operands.front() : rest;
  if (is_product) sum.times = at.operands.back();
  // Equal sums of products have equal operands, too.
  if (sum.value < sum.times) std::swap(sum.value, sum.times);
  return sum;
}

}  // namespace logsum::reduce
