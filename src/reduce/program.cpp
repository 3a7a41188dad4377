#include "reduce/program.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "reduce/lower.hpp"
#include "reduce/lower_fuse.hpp"
#include "reduce/lower_schedule.hpp"
#include "reduce/lower_sum.hpp"
#include "reduce/lower_weighted.hpp"

namespace logsum::reduce {
namespace {

// A push in terms.
struct Wanted {
  int group;
  int formula, weight = -1;
  int row = -1, mask = -1, scale = -1;
  int reduced = -1, kept = -1;
  double factor = 1;
  bool keep = false;

  std::optional<FormulaIndex> sum_kept{};  // of sums of terms (lower_sum.hpp)

  // Whether it is a sum of the same terms.
  bool SharesTerms(const Wanted& other) const {
    return sum_kept && sum_kept == other.sum_kept && formula == other.formula &&
           weight == other.weight && row == other.row && mask == other.mask;
  }
};

bool DependsOnReducedAlone(const Group& group, Dependence stage) {
  return (group.kept == FormulaIndex::i && stage == Dependence::j) ||
         (group.kept == FormulaIndex::j && stage == Dependence::i);
}

// Whether a term is the number 0 in every component.
bool IsZero(const TermGraph& graph, int term) {
  while (graph[term].code == Code::broadcast) term = graph[term].operands[0];
  return graph[term].code == Code::number && graph[term].number == 0;
}

// What a group adds for a tile.
void AddWanted(TermGraph& graph, const Group& group, int number, Program& program,
               std::vector<Wanted>& wanted) {
  const int formula = graph.Lower(group.formula);
  GroupShape shape{graph[formula].dim, false};
  if (group.weight != nullptr) {
    const int weight = graph.Lower(group.weight);
    const Term at = graph[weight];
    shape.dim = at.dim;
    shape.weighted = group.fold == Fold::softmax_weight && at.dim >= kLeastWeightedDim &&
                     DependsOnReducedAlone(group, at.stage);
    if (shape.weighted) {
      wanted.push_back({.group = number, .formula = formula, .reduced = weight});
    } else {
      wanted.push_back({.group = number, .formula = formula, .weight = weight});
    }
  } else if (group.fold == Fold::sum) {
    if (IsZero(graph, formula)) {
      program.groups.push_back(shape);  // nothing to add
      return;
    }
    if (const auto terms = AsWeightedTerms(graph, formula, group.kept)) {
      shape.weighted = true;
      for (const WeightedTerm& term : *terms) {
        wanted.push_back({.group = number,
                          .formula = term.weight,
                          .reduced = term.reduced,
                          .kept = term.kept,
                          .factor = term.factor,
                          .keep = term.keep});
      }
    } else {
      const SumOfTerms sum = AsSumOfTerms(graph, formula, group.kept);
      wanted.push_back({.group = number,
                        .formula = sum.value,
                        .weight = sum.times,
                        .row = sum.row,
                        .mask = sum.mask,
                        .scale = sum.scale,
                        .sum_kept = group.kept});
    }
  } else {
    wanted.push_back({.group = number, .formula = formula});
  }
  program.groups.push_back(shape);
}

// Brings sums of the same terms together.
void SortBySharedTerms(std::vector<Wanted>& wanted) {
  for (auto push = wanted.begin(); push != wanted.end(); ++push) {
    std::stable_partition(push + 1, wanted.end(),
                          [&](const Wanted& other) { return push->SharesTerms(other); });
  }
}

// The position of a vector's value in Program::packed once locations are known; until then its
// stage and value.
class PackedVectors {
 public:
  explicit PackedVectors(const TermGraph& graph, Scheduler& scheduler)
      : graph_(graph), scheduler_(scheduler) {}

  int Of(int term) {
    if (term < 0) return -1;
    const Dependence stage = graph_[term].stage;
    const std::pair<Dependence, int> value{stage, scheduler_.InOwnStage(term)};
    const auto known = std::find(values_.begin(), values_.end(), value);
    if (known != values_.end()) return static_cast<int>(known - values_.begin());
    values_.push_back(value);
    return static_cast<int>(values_.size()) - 1;
  }

  void Finish(Program& program) const {
    for (const auto& [stage, value] : values_) {
      program.packed.push_back({stage, scheduler_.LocationOf(stage, value)});
    }
  }

 private:
  const TermGraph& graph_;
  Scheduler& scheduler_;
  std::vector<std::pair<Dependence, int>> values_;
};

}  // namespace

std::shared_ptr<const Program> Compile(std::span<const Group> groups,
                                       std::span<const ReductionArgument> arguments) {
  const auto program = std::make_shared<Program>();
  program->sources.assign(groups.begin(), groups.end());
  for (const ReductionArgument& argument : arguments) program->slots.push_back(argument.index);
  TermGraph graph;
  std::vector<Wanted> wanted;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    AddWanted(graph, groups[i], static_cast<int>(i), *program, wanted);
  }
  std::vector<int*> roots;
  for (Wanted& push : wanted) {
    for (int* const term : {&push.formula, &push.weight, &push.row, &push.mask, &push.scale,
                            &push.reduced, &push.kept}) {
      if (*term >= 0) roots.push_back(term);
    }
  }
  Fuse(graph, roots);
  SortBySharedTerms(wanted);

  Scheduler scheduler(graph);
  PackedVectors packed(graph, scheduler);
  for (const Wanted& from : wanted) {
    Push push;
    push.group = from.group;
    push.formula = scheduler.InTile(from.formula);
    if (from.weight >= 0) push.weight = scheduler.InTile(from.weight);
    if (from.row >= 0) push.row = scheduler.InTile(from.row);
    if (from.mask >= 0) push.mask = scheduler.InTile(from.mask);
    if (from.scale >= 0) push.scale = scheduler.InTile(from.scale);
    push.after = scheduler.NumTileInstructions();
    for (const int value : {push.formula, push.weight, push.mask}) scheduler.UseInTile(value);
    push.reduced_vectors = packed.Of(from.reduced);
    push.kept_vectors = packed.Of(from.kept);
    push.factor = from.factor;
    push.keep = from.keep;
    program->pushes.push_back(push);
  }
  for (std::size_t k = wanted.size(); k-- > 1;) {
    if (!wanted[k - 1].SharesTerms(wanted[k])) continue;
    program->pushes[k - 1].sharing = program->pushes[k].sharing + 1;
  }
  scheduler.Finish(*program);
  packed.Finish(*program);
  for (int i = 0; i < graph.Size(); ++i) {
    const Code code = graph[i].code;
    program->uses_indices |= code == Code::index_i || code == Code::index_j ||
                             code == Code::size_i || code == Code::size_j;
  }
  return program;
}

}  // namespace logsum::reduce
