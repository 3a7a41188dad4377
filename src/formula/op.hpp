// The primitive operations that expressions are made of, the instructions of the tile engine.
//
// What people write is richer (functions.hpp) and is expressed in these; every one has a
// derivative in the same language, so that derivatives of all orders exist. Adding one means a row
// in kOps, its derivative (differentiate.cpp) and its tile kernel (reduce/).
#pragma once
#include <cstdint>
#include <string_view>

namespace logsum::formula {

// x, y, z are operands; D their dimension. Elementwise operations take operands of one dimension
// or of dimension 1, which is repeated. Comparisons give 1 or 0. NaN operands give NaN unless said.
enum class Op : std::uint8_t {
  // leaves
  variable,  // argument `first`
  number,    // the constant `number`, dimension 1
  index_i,
  index_j,  // the row, the column of the pair, as a number
  size_i,
  size_j,  // M, N
  match,   // 1 where the reduced index is argument `first` (i64, of the kept index), else 0
  // of one operand
  negate,
  exp,
  log,
  square,
  sqrt,
  rsqrt,
  inverse,
  abs,
  sign,  // -1, 0, 1
  step,  // 1 where x >= 0, else 0
  relu,  // max(x, 0)
  sin,
  cos,
  atan,
  tanh,
  sigmoid,   // 1 / (1 + e^-x)
  softplus,  // log(1 + e^x)
  log1p,
  expm1,
  xlogx,     // x log x, 0 at 0
  power_of,  // x^n, n = `first`, an integer
  // of two
  add,
  subtract,
  multiply,
  divide,
  power,      // x^y for real y, as pow
  logaddexp,  // log(e^x + e^y)
  equal,
  not_equal,
  less,
  less_equal,
  keep,   // y where x is not 0, else 0, whatever y is: a weight of zero takes no part
  ratio,  // e^(x - y), 0 where x is -inf
  // of three
  clamp,        // min(max(x, y), z)
  if_else,      // y where x >= 0, else z (NaN: z)
  probability,  // min(e^(x - y - z), 1): a term's share of the log-sum-exp y with residual z.
                // 0 where x is -inf; where y is +inf, e^-z if x is +inf too, else 0
  // vectors
  sum,             // of all components: dimension 1
  dot,             // sum of x y
  sqdist,          // sum of (x - y)^2, from differences
  broadcast,       // of a dimension-1 operand to `dim`
  extract,         // `dim` components from `first` on
  pad,             // the transpose of extract: x at `first` among `dim` zeros
  concat,          // of all operands, two or more
  one_hot,         // 1 at component round(x), else 0
  matvec,          // x a matrix (n, m) row by row, y a vector of m: n
  vecmat,          // x a vector of n, y a matrix (n, m): m
  tensor_product,  // x of n, y of m: x[a] y[b] at a m + b
};

}  // namespace logsum::formula
