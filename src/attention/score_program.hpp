// Expressions of a score formula as a program of src/reduce's instructions, for one tile.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "attention/tile.hpp"
#include "formula/expression.hpp"
#include "reduce/kernels.hpp"
#include "reduce/program.hpp"

namespace logsum::attend {

// A value of the tile, there once `after` instructions have run and until the next one.
struct ScoreOutput {
  int after = 0;
  int value = 0;  // its position in the tile's schedule
};

struct ScoreProgram {
  reduce::Program stages;            // schedules alone: nothing is pushed
  std::vector<ScoreOutput> outputs;  // one for each expression, in order
  // Whether tiles that are given may be read, and the last output be written, where they lie.
  bool in_place = true;
};

// Keys whose pairs are computed at a time, so that a few values of a tile stay in L1.
inline constexpr int kScoreKeys = 64;

// Values of a query, a key and a pair are what programs call j, i and ij.
template <class Real>
constexpr std::int64_t ScorePlane(formula::Dependence stage) {
  constexpr auto run = reduce::kRun<Real>;
  switch (stage) {
    case formula::Dependence::parameter:
      return run;
    case formula::Dependence::i:
      return kTileKeys;
    case formula::Dependence::j:
      return kTileQueries;
    case formula::Dependence::ij:
      return kScoreKeys * kTileQueries + run;  // planes a power of two apart would share cache sets
  }
  return 0;
}

// Elements of Real that a program's values take.
template <class Real>
std::int64_t ScoreMemory(const ScoreProgram& program) {
  using formula::Dependence;
  return program.stages.parameter.planes * ScorePlane<Real>(Dependence::parameter) +
         program.stages.row.planes * ScorePlane<Real>(Dependence::i) +
         program.stages.column.planes * ScorePlane<Real>(Dependence::j) +
         program.stages.tile.planes * ScorePlane<Real>(Dependence::ij);
}

// What a thread may take for the values of a formula, whose vectors could ask for any amount.
inline constexpr std::int64_t kMostScoreBytes = std::int64_t{4} << 20;

// The program that computes `values`. Throws formula::Refusal where they take too much memory.
ScoreProgram CompileScore(std::span<const formula::Expression> values);

}  // namespace logsum::attend
