#include "reduce/lower_fuse.hpp"

#include <cstddef>
#include <utility>

namespace logsum::reduce {
namespace {

class Fusion {
 public:
  Fusion(TermGraph& graph, std::span<int* const> roots)
      : graph_(graph), uses_(static_cast<std::size_t>(graph.Size())) {
    for (int* const root : roots) Count(*root);
    fused_.assign(uses_.size(), -1);
  }

  int Fused(int term) {
    int& known = fused_[static_cast<std::size_t>(term)];
    if (known >= 0) return known;
    Term joined = Joined(term);
    for (int& operand : joined.operands) operand = Fused(operand);
    return known = graph_.Add(std::move(joined));
  }

 private:
  void Count(int term) {
    if (uses_[static_cast<std::size_t>(term)]++ > 0) return;
    const std::vector<int> operands = graph_[term].operands;
    for (const int operand : operands) Count(operand);
  }

  // Whether `term` is a `code` that only `user` wants.
  bool IsOnly(int term, Code code, const Term& user) const {
    const Term& inner = graph_[term];
    return inner.code == code && inner.stage == user.stage && inner.dim == user.dim &&
           uses_[static_cast<std::size_t>(term)] == 1;
  }

  // The term with operands that it can take in, before those are fused themselves.
  Term Joined(int term) const {
    Term outer = graph_[term];
    const auto take = [&](Code code, std::vector<int> operands) {
      outer.code = code;
      outer.operands = std::move(operands);
    };
    const auto inner = [&](std::size_t i) -> const std::vector<int>& {
      return graph_[outer.operands[i]].operands;
    };
    switch (outer.code) {
      case Code::add:
        for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
          if (!IsOnly(outer.operands[i], Code::multiply, outer)) continue;
          take(Code::multiply_add, {inner(i)[0], inner(i)[1], outer.operands[1 - i]});
          break;
        }
        break;
      case Code::subtract:
        if (IsOnly(outer.operands[0], Code::multiply, outer)) {
          take(Code::multiply_subtract, {inner(0)[0], inner(0)[1], outer.operands[1]});
        } else if (IsOnly(outer.operands[1], Code::multiply, outer)) {
          take(Code::negative_multiply_add, {inner(1)[0], inner(1)[1], outer.operands[0]});
        }
        break;
      case Code::negate:
        if (IsOnly(outer.operands[0], Code::pair_sqdist, outer)) {
          take(Code::pair_negative_sqdist, inner(0));
        }
        break;
      case Code::keep:
        if (IsOnly(outer.operands[1], Code::multiply, outer)) {
          take(Code::keep_multiply, {outer.operands[0], inner(1)[0], inner(1)[1]});
        }
        break;
      case Code::exp:
        if (IsOnly(outer.operands[0], Code::add, outer)) {
          take(Code::exp_add, inner(0));
        } else if (IsOnly(outer.operands[0], Code::subtract, outer)) {
          take(Code::exp_subtract, inner(0));
        } else if (IsOnly(outer.operands[0], Code::multiply, outer)) {
          take(Code::exp_multiply, inner(0));
        }
        break;
      case Code::multiply:
        for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
          if (!IsOnly(outer.operands[i], Code::exp, outer)) continue;
          const Term exponential = Joined(outer.operands[i]);
          const Code code = exponential.code == Code::exp_add        ? Code::exp_add_multiply
                            : exponential.code == Code::exp_subtract ? Code::exp_subtract_multiply
                            : exponential.code == Code::exp_multiply ? Code::exp_multiply_multiply
                                                                     : Code::exp;
          if (code == Code::exp) continue;
          take(code, {exponential.operands[0], exponential.operands[1], outer.operands[1 - i]});
          break;
        }
        break;
      default:
        break;
    }
    return outer;
  }

  TermGraph& graph_;
  std::vector<int> uses_;
  std::vector<int> fused_;
};

}  // namespace

void Fuse(TermGraph& graph, std::span<int* const> roots) {
  Fusion fusion(graph, roots);
  for (int* const root : roots) *root = fusion.Fused(*root);
}

}  // namespace logsum::reduce
