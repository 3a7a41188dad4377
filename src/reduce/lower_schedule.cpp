#include "reduce/lower_schedule.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace logsum::reduce {
namespace {

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

// Whether a component of the result needs the same component of the operands alone, so that the
// result may take an operand's place.
bool IsElementwise(Code code) {
  return (code >= Code::negate && code <= Code::exp_multiply_multiply) && code != Code::match;
}

// Planes of a stage's memory, lowest first.
class Planes {
 public:
  int Take(std::int64_t count) {
    const auto n = Index(static_cast<int>(count));
    std::size_t begin = 0, run = 0;
    for (std::size_t i = 0; i < taken_.size() && run < n; ++i) {
      if (taken_[i]) {
        run = 0;
        begin = i + 1;
      } else {
        ++run;
      }
    }
    if (taken_.size() < begin + n) taken_.resize(begin + n, false);
    std::fill_n(taken_.begin() + static_cast<std::ptrdiff_t>(begin), n, true);
    return static_cast<int>(begin);
  }
  void Give(int plane, std::int64_t count) { std::fill_n(taken_.begin() + plane, count, false); }
  int Count() const { return static_cast<int>(taken_.size()); }

 private:
  std::vector<bool> taken_;
};

}  // namespace

void Scheduler::Use(Stage& stage, int value, int instruction) {
  for (; value >= 0; value = stage.values[Index(value)].base) {
    int& last = stage.values[Index(value)].last_use;
    last = std::max(last, instruction);
  }
}

void Scheduler::UseInTile(int value) { Use(Of(Dependence::ij), value, NumTileInstructions()); }

int Scheduler::InOwnStage(int term) {
  const Dependence stage = graph_[term].stage;
  const int value = Compute(stage, term);
  Use(Of(stage), value, kForever);
  return value;
}

// The term as a value of `stage`, its own or a later one.
int Scheduler::Import(Dependence stage, int term) {
  if (graph_[term].stage == stage) return Compute(stage, term);
  if (const auto known = Of(stage).of_term.find(term); known != Of(stage).of_term.end()) {
    return known->second;
  }
  Value value;
  value.origin = InOwnStage(term);
  value.stage = graph_[term].stage;
  value.dim = graph_[term].dim;
  Of(stage).values.push_back(value);
  return Of(stage).of_term[term] = static_cast<int>(Of(stage).values.size()) - 1;
}

int Scheduler::View(Dependence stage, int base, std::int64_t dim, std::int64_t offset,
                    bool repeated) {
  Value view;
  view.stage = stage;
  view.base = base;
  view.dim = dim;
  view.offset = offset;
  view.repeated = repeated || Of(stage).values[Index(base)].repeated;
  Of(stage).values.push_back(view);
  return static_cast<int>(Of(stage).values.size()) - 1;
}

int Scheduler::Compute(Dependence stage, int term) {
  if (const auto known = Of(stage).of_term.find(term); known != Of(stage).of_term.end()) {
    return known->second;
  }
  const Term& at = graph_[term];
  int result = -1;
  if (at.code == Code::extract || at.code == Code::broadcast) {
    // Operands of a view are of its own stage.
    const int base = Compute(stage, at.operands[0]);
    result = View(stage, base, at.dim, at.code == Code::extract ? at.first : 0,
                  at.code == Code::broadcast);
  } else {
    Instruction instruction{at.code, -1, {-1, -1, -1}, at.number, at.first};
    if (at.code != Code::concat) {
      for (std::size_t i = 0; i < at.operands.size(); ++i) {
        instruction.operands[i] = Import(stage, at.operands[i]);
      }
    } else {
      for (const int operand : at.operands) Import(stage, operand);
    }
    Stage& here = Of(stage);
    result = static_cast<int>(here.values.size());
    Value value;
    value.stage = stage;
    value.dim = at.dim;
    here.values.push_back(value);
    instruction.result = result;
    if (at.code == Code::concat) {
      Concat(stage, result, at);
    } else {
      const int number = static_cast<int>(here.instructions.size());
      here.instructions.push_back(instruction);
      for (const int operand : instruction.operands) Use(here, operand, number);
      Use(here, result, number);
    }
  }
  return Of(stage).of_term[term] = result;
}

void Scheduler::Concat(Dependence stage, int result, const Term& term) {
  Stage& here = Of(stage);
  std::int64_t offset = 0;
  for (const int operand : term.operands) {
    const std::int64_t dim = graph_[operand].dim;
    const int part = View(stage, result, dim, offset, false);
    const int from = Import(stage, operand);
    const int number = static_cast<int>(here.instructions.size());
    here.instructions.push_back({Code::copy, part, {from, -1, -1}, 0, 0});
    Use(here, from, number);
    Use(here, part, number);
    offset += dim;
  }
}

void Scheduler::Allocate(Dependence stage, Schedule& schedule) {
  Stage& here = Of(stage);
  Planes planes;
  std::vector<int> live;  // values with planes of their own
  for (int number = 0; number < static_cast<int>(here.instructions.size()); ++number) {
    std::erase_if(live, [&](int value) {
      const Value& dead = here.values[Index(value)];
      if (dead.last_use >= number) return false;
      planes.Give(dead.plane, dead.dim);
      return true;
    });
    const Instruction& instruction = here.instructions[Index(number)];
    const int result = here.Root(instruction.result);
    Value& value = here.values[Index(result)];
    if (value.plane >= 0) continue;  // a part of a concat that has begun
    if (IsElementwise(instruction.code)) {
      for (const int operand : instruction.operands) {
        const auto at = std::find(live.begin(), live.end(), operand);
        if (at == live.end()) continue;
        Value& given = here.values[Index(operand)];
        if (given.last_use != number || given.dim != value.dim) continue;
        // Another operand that is a part of it would be overwritten before it is read.
        const bool has_views =
            std::any_of(instruction.operands.begin(), instruction.operands.end(), [&](int other) {
              return other >= 0 && other != operand && here.Root(other) == operand;
            });
        if (has_views) continue;
        value.plane = given.plane;
        live.erase(at);
        break;
      }
    }
    if (value.plane < 0) value.plane = planes.Take(value.dim);
    live.push_back(result);
  }
  schedule.planes = planes.Count();
}

void Scheduler::Locate(Dependence stage) {
  Stage& here = Of(stage);
  here.locations.reserve(here.values.size());
  for (const Value& value : here.values) {
    if (value.origin >= 0) {
      here.locations.push_back(LocationOf(value.stage, value.origin));
      continue;
    }
    Location location{stage, value.plane, value.dim, value.repeated};
    if (value.base >= 0) {
      // A base stands before its views.
      const Location& base = here.locations[Index(value.base)];
      location.stage = base.stage;
      location.plane = base.plane + (base.repeated ? 0 : static_cast<int>(value.offset));
    }
    here.locations.push_back(location);
  }
}

void Scheduler::Finish(Program& program) {
  const std::array<std::pair<Dependence, Schedule*>, 4> all = {{
      {Dependence::parameter, &program.parameter},
      {Dependence::i, &program.row},
      {Dependence::j, &program.column},
      {Dependence::ij, &program.tile},
  }};
  for (const auto& [stage, schedule] : all) {
    Allocate(stage, *schedule);
    Locate(stage);
    schedule->instructions = std::move(Of(stage).instructions);
    schedule->values = Of(stage).locations;
  }
}

}  // namespace logsum::reduce
