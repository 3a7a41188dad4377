// Terms in the order they are computed, stage by stage, and the memory they take.
#pragma once
#include <array>
#include <cstddef>
#include <unordered_map>
#include <vector>

#include "reduce/lower.hpp"
#include "reduce/program.hpp"

namespace logsum::reduce {

class Scheduler {
 public:
  explicit Scheduler(const TermGraph& graph) : graph_(graph) {}

  // The term as a value of the tile's schedule, computed after all that was asked for before.
  int InTile(int term) { return Import(Dependence::ij, term); }
  // Keeps a value of the tile until what follows its last instruction so far has been done.
  void UseInTile(int value);
  int NumTileInstructions() const {
    return static_cast<int>(Of(Dependence::ij).instructions.size());
  }
  // The term as a value of its own stage, kept to the end.
  int InOwnStage(int term);

  // Places all values; writes the schedules.
  void Finish(Program& program);
  Location LocationOf(Dependence stage, int value) const {
    return Of(stage).locations[static_cast<std::size_t>(value)];
  }

 private:
  static constexpr int kForever = 1 << 30;

  struct Value {
    int origin = -1;  // of a value of an earlier stage: its number there
    Dependence stage = Dependence::parameter;
    int base = -1;  // of a view: what it is a part of
    std::int64_t dim = 1, offset = 0;
    bool repeated = false;
    int last_use = -1;  // an instruction's number
    int plane = -1;
  };
  struct Stage {
    std::vector<Instruction> instructions;
    std::vector<Value> values;
    std::vector<Location> locations;
    std::unordered_map<int, int> of_term;

    // What has the memory that a value is a part of.
    int Root(int value) const {
      while (values[static_cast<std::size_t>(value)].base >= 0) {
        value = values[static_cast<std::size_t>(value)].base;
      }
      return value;
    }
  };

  Stage& Of(Dependence stage) { return stages_[static_cast<std::size_t>(stage)]; }
  const Stage& Of(Dependence stage) const { return stages_[static_cast<std::size_t>(stage)]; }

  int Compute(Dependence stage, int term);
  int Import(Dependence stage, int term);
  int View(Dependence stage, int base, std::int64_t dim, std::int64_t offset, bool repeated);
  void Concat(Dependence stage, int result, const Term& term);
  static void Use(Stage& stage, int value, int instruction);
  void Allocate(Dependence stage, Schedule& schedule);
  void Locate(Dependence stage);

  const TermGraph& graph_;
  std::array<Stage, 4> stages_;
};

}  // namespace logsum::reduce
