// What a Score is.
#pragma once
#include <optional>
#include <vector>

#include "attention/score.hpp"
#include "attention/score_parse.hpp"
#include "attention/score_program.hpp"

namespace logsum::attend {

struct Score::Body {
  std::vector<ArrayShape> shapes;  // of the arrays
  std::vector<DType> dtypes;
  ScoreFormula formula;
  // The array of each use, with strides of 0 where it is not indexed.
  std::vector<View<4>> views;
  ScoreProgram program;
  std::optional<ScoreProgram> presence;  // score_presence.hpp: none if it leaves no pair out
  bool is_double = false;
};

}  // namespace logsum::attend
