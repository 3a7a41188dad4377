#include "reduce/lower_weighted.hpp"

#include <cstddef>

namespace logsum::reduce {
namespace {

class Matcher {
 public:
  Matcher(TermGraph& graph, std::int64_t dim, FormulaIndex kept)
      : graph_(graph),
        dim_(dim),
        kept_(kept == FormulaIndex::i ? Dependence::i : Dependence::j),
        reduced_(kept == FormulaIndex::i ? Dependence::j : Dependence::i) {}

  std::vector<WeightedTerm> terms;

  // What stands around the vector so far.
  struct Around {
    int keep = -1;     // of keep(p, ...)
    int weight = -1;   // product of the scalars
    int divisor = -1;  // and of those that divide
    double factor = 1;
  };

  bool Match(int term, Around around) {
    const Term at = graph_[term];
    switch (at.code) {
      case Code::negate:
        around.factor = -around.factor;
        return Match(at.operands[0], around);
      case Code::keep:
        if (graph_[at.operands[0]].dim != 1 || graph_[at.operands[1]].dim != at.dim) break;
        // A weight outside of the keep would take part again.
        if (around.keep >= 0 && around.keep != at.operands[0]) return false;
        around.keep = at.operands[0];
        return Match(at.operands[1], around);
      case Code::multiply:
      case Code::divide: {
        const int x = at.operands[0], y = at.operands[1];
        if (graph_[x].dim == at.dim && graph_[y].dim == 1) {
          if (at.code == Code::divide) {
            around.divisor = Join(around.divisor, y);
          } else {
            Scale(around, y);
          }
          return Match(x, around);
        }
        if (at.code == Code::multiply && graph_[x].dim == 1 && graph_[y].dim == at.dim) {
          Scale(around, x);
          return Match(y, around);
        }
        break;
      }
      case Code::add:
      case Code::subtract: {
        const int x = at.operands[0], y = at.operands[1];
        if (at.stage != Dependence::ij) break;
        const Dependence a = graph_[x].stage, b = graph_[y].stage;
        if (at.code == Code::subtract && a == kept_ && b == reduced_) {
          Append(around, y, x, 1);
          return true;
        }
        if (at.code == Code::subtract && a == reduced_ && b == kept_) {
          Append(around, x, y, -1);
          return true;
        }
        if (graph_[x].dim != at.dim || graph_[y].dim != at.dim) return false;
        if (!Match(x, around)) return false;
        if (at.code == Code::subtract) around.factor = -around.factor;
        return Match(y, around);
      }
      default:
        break;
    }
    if (at.stage != reduced_) return false;
    Append(around, term, -1, 1);
    return true;
  }

 private:
  int Repeated(int vector) { return graph_.Make(Code::broadcast, {vector}, dim_); }

  int Join(int x, int y) { return x < 0 ? y : graph_.Product(x, y); }

  void Scale(Around& around, int scalar) {
    if (graph_[scalar].code == Code::number) {
      around.factor *= graph_[scalar].number;
    } else {
      around.weight = Join(around.weight, scalar);
    }
  }

  void Append(const Around& around, int reduced, int kept, double sign) {
    int weight = around.weight >= 0 ? around.weight : graph_.Number(1);
    if (around.divisor >= 0) weight = graph_.Make(Code::divide, {weight, around.divisor}, 1);
    if (around.keep >= 0) weight = graph_.Make(Code::keep, {around.keep, weight}, 1);
    reduced = Repeated(reduced);
    if (kept >= 0) kept = Repeated(kept);
    terms.push_back({weight, reduced, kept, around.factor * sign, around.keep >= 0});
  }

  TermGraph& graph_;
  const std::int64_t dim_;
  const Dependence kept_, reduced_;
};

}  // namespace

std::optional<std::vector<WeightedTerm>> AsWeightedTerms(TermGraph& graph, int formula,
                                                         FormulaIndex kept) {
  if (kept == FormulaIndex::parameter || graph[formula].dim < kLeastWeightedDim) return {};
  Matcher matcher(graph, graph[formula].dim, kept);
  if (!matcher.Match(formula, {})) return {};
  return std::move(matcher.terms);
}

}  // namespace logsum::reduce
