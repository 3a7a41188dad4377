// What a Reduction is: its arguments, and its outputs as expressions to fold over pairs.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formula/expression.hpp"
#include "logsum/reduce.hpp"

namespace logsum {

namespace reduce {

class Program;  // program.hpp

// How the values of a formula over the reduced index become a result. A fold may have several
// results (Min_ArgMin; the residual of a log-sum-exp that a gradient needs).
enum class Fold : std::uint8_t {
  sum,
  logsumexp,         // log of the sum of e^formula, each component by itself
  logsumexp_weight,  // log of the sum of e^formula * weight; formula of dimension 1
  softmax_weight,    // mean of weight under shares e^formula; formula of dimension 1
  min,
  max,   // by component, lowest index among equals; NaN wins
  kmin,  // the K lowest, ascending, ties by the lower index; NaN last
};

// What is asked of a fold.
enum class Result : std::uint8_t {
  value,     // sum, lse, mean, minimum, K minima
  argument,  // of min, max, kmin: the index (or the K indices)
  lse,       // of softmax_weight
  residual,  // of logsumexp, softmax_weight: the lse is value + residual to twice the digits;
             // where the lse is +inf the log of the number of infinite terms, where it is -inf or
             // NaN zero
};

struct Group {  // one fold and its results
  Fold fold;
  formula::Expression formula;
  formula::Expression weight;  // null where the fold has none
  FormulaIndex kept;           // i: reduced over j; j: over i; parameter: over both (sum only)
  std::int64_t count = 0;      // K of kmin
};

struct Target {  // an output: a result of a group
  int group;
  Result result;
};

}  // namespace reduce

struct Reduction::Body {
  std::vector<ReductionArgument> arguments;
  // What Op::variable and Op::match count: the arguments, with each of K results split into K.
  std::vector<ReductionArgument> slots;
  int parsed_arguments = 0;  // how many arguments come from parse(): those of one dtype
  std::vector<reduce::Group> groups;
  // One for each output; a sum's output of K results has K targets in a row.
  std::vector<reduce::Target> targets;
  std::vector<ReductionOutput> outputs;            // their public description
  std::shared_ptr<const reduce::Program> program;  // compiled when the reduction is made
};

}  // namespace logsum
