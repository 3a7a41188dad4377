// What the tile engine runs: instructions in stages, and what is folded when.
//
// A stage is what its values depend on. Parameter values are computed once, i values once a block
// of rows, j values once for a block of columns and all rows of a block, ij values tile by tile.
// Programs know neither sizes nor element types.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "formula/expression.hpp"
#include "logsum/reduce.hpp"
#include "reduce/body.hpp"

namespace logsum::reduce {

using formula::Dependence;

// What an instruction does. Names that formula::Op has too mean the same.
enum class Code : std::uint8_t {
  // leaves
  variable,
  number,
  index_i,
  index_j,
  size_i,
  size_j,
  match,
  // of one operand
  negate,
  exp,
  log,
  square,
  sqrt,
  rsqrt,
  inverse,
  abs,
  sign,
  step,
  relu,
  sin,
  cos,
  atan,
  tanh,
  sigmoid,
  softplus,
  log1p,
  expm1,
  xlogx,
  power_of,
  // of two
  add,
  subtract,
  multiply,
  divide,
  power,
  logaddexp,
  equal,
  not_equal,
  less,
  less_equal,
  keep,
  ratio,
  exp_add,
  exp_subtract,
  exp_multiply,  // e^(x + y), e^(x - y), e^(x y)
  // of three
  clamp,
  if_else,
  probability,
  multiply_add,
  multiply_subtract,
  negative_multiply_add,  // x y + z, x y - z, z - x y
  keep_multiply,          // keep(x, y z)
  exp_add_multiply,
  exp_subtract_multiply,
  exp_multiply_multiply,  // z e^(...) as above
  // vectors
  copy,
  sum,
  dot,
  sqdist,
  pad,
  one_hot,
  matvec,
  vecmat,
  tensor_product,
  pair_dot,
  pair_sqdist,  // of an i value and a j value
  pair_negative_sqdist,
  // views, no instructions
  extract,
  broadcast,
  concat,
};

// Where a value lies: `plane` counts components of its stage's memory.
struct Location {
  Dependence stage = Dependence::parameter;
  int plane = 0;
  std::int64_t dim = 1;
  bool repeated = false;  // one component in memory stands for all `dim`
};

struct Instruction {
  Code code{};
  int result = 0;  // as the operands a position in Schedule::values
  std::array<int, 3> operands{-1, -1, -1};
  double number = 0;       // as formula::Node::number
  std::int64_t first = 0;  // as formula::Node::first
};

// The values of one stage in the order they are computed, and those of earlier stages they need.
struct Schedule {
  std::vector<Instruction> instructions;
  std::vector<Location> values;
  int planes = 0;  // of memory; what is dead leaves its planes to others
};

// What a tile adds to a group once `after` instructions have run.
struct Push {
  int group = 0;
  int after = 0;
  int formula = -1, weight = -1;  // positions in the schedule's values; -1 for no weight
  // Of sums: scale * the sum of formula * weight * row where `mask` is not zero (lower_sum.hpp).
  int row = -1, mask = -1, scale = -1;
  int sharing = 1;  // of sums: how many pushes from this one on are of the same terms
  // Of weighted groups (fold.hpp): positions in Program::packed, -1 for none. The formula is the
  // weight of vectors.
  int reduced_vectors = -1, kept_vectors = -1;
  double factor = 1;
  bool keep = false;
};

// A vector of i or of j that weighted sums want row by row.
struct PackedValue {
  Dependence stage = Dependence::i;
  Location location;
};

struct GroupShape {
  std::int64_t dim = 1;   // of the result
  bool weighted = false;  // folded by PushWeighted
};

class Program {
 public:
  Schedule parameter, row, column, tile;
  std::vector<Push> pushes;
  std::vector<PackedValue> packed;
  std::vector<GroupShape> groups;
  std::vector<Group> sources;       // what was compiled
  std::vector<FormulaIndex> slots;  // of its arguments
  bool uses_indices = false;

  // Whether a formula has i, j, M or N in it as numbers, which float32 holds up to 2^24 only.
  bool UsesIndices() const { return uses_indices; }
};

// The same groups give the same program. Microseconds.
std::shared_ptr<const Program> Compile(std::span<const Group> groups,
                                       std::span<const ReductionArgument> arguments);

}  // namespace logsum::reduce
