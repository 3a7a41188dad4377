// Reductions of formulas over pairs: sums, log-sum-exps, minima over i or j of F(x_i, y_j, p), in
// the language of KeOps, whose M x N values are never stored. Parsed and run without a compiler.
//
// A formula is text in variables that depend on i, on j or on neither, each a vector of a fixed
// dimension: "Square(p - a) * Exp(x + y)" with the aliases "x = Vi(1)", "y = Vj(1)", "a = Vj(1)",
// "p = Pm(1)". docs/reduce.md lists the language.
//
// Shapes: an i-variable of dimension D is (..., M, D), a j-variable (..., N, D), a parameter
// (..., D). Batch axes broadcast: they are aligned at the right, and an axis that an argument lacks
// or has with size 1 is repeated. axis = 1 reduces over j and gives (..., M, Dout), axis = 0
// reduces over i and gives (..., N, Dout), with the full batch shape; K results of a KMin are
// (..., M, K, Dout). Any strides; outputs may not overlap inputs or one another.
//
// Types: arguments are all f16, bf16, f32 or f64 of one dtype; half types are widened when read,
// and arithmetic is f32 for them. Beside half types, incoming gradients, saved outputs and results
// may be f32. Indices are i64.
//
// Special values (docs/numerics.md): in a log-sum-exp a term of -inf is a true zero, whose gradient
// is 0; +inf dominates and shares its gradient equally; NaN gives NaN. A reduction of nothing is
// the reduction's unit: 0, -inf, or +inf for Min, with the index -1.
//
// Errors: std::invalid_argument, before anything is written; those of a formula quote it and point
// at the place. Time M N operations of the formula; memory beside the outputs at most 4 MB a thread
// and, where one pass has outputs of both axes, as much again as the outputs.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum {

// What a variable or a result is indexed by.
enum class FormulaIndex { i, j, parameter };

// Where an argument of a derived reduction comes from.
enum class ArgumentSource {
  given,     // argument `position` of the reduction that was parsed or differentiated
  incoming,  // the gradient of output `position` of the reduction that was differentiated
  saved,     // output `position` of the saving() form of the reduction that was differentiated
  tangent,   // the tangent of argument `position` of the reduction that was differentiated
};

struct ReductionArgument {
  std::string name;  // the alias; made up where there is none
  FormulaIndex index;
  std::int64_t dim;
  ArgumentSource source = ArgumentSource::given;
  int position = 0;        // of `source`
  bool integer = false;    // i64: saved indices
  std::int64_t count = 0;  // K where it belongs to a result of K: an axis of K before the last
};

struct ReductionOutput {
  FormulaIndex index;
  std::int64_t dim;
  std::int64_t count = 0;  // K of KMin and its relatives: an axis of K before the last; else 0
  bool integer = false;    // i64 indices
  bool saved = false;      // only saving() has it: what the gradient needs beside the results
  bool constant = false;   // has no derivative: indices, and the residual of a log-sum-exp
};

// A parsed formula with its reductions; immutable, cheap to copy, shareable between threads.
class Reduction {
 public:
  // aliases: "x = Vi(3)", "y = Vj(1, 3)", in any order of positions; those that give no position
  // take their place in the list. Variables may also stand in the formula itself: Vi(0, 3).
  // reduction_op: Sum, LogSumExp, LogSumExpWeight, SumSoftMaxWeight (SoftMax), Min, Max, ArgMin,
  // ArgMax, Min_ArgMin, Max_ArgMax, KMin, ArgKMin, KMin_ArgKMin; axis: the one that is reduced,
  // 0 (i) or 1 (j); opt_arg: K; formula2: the weights of LogSumExpWeight and SumSoftMaxWeight.
  static Reduction parse(std::string_view formula, std::span<const std::string_view> aliases,
                         std::string_view reduction_op, int axis, int opt_arg = 0,
                         std::string_view formula2 = {});

  // The same results followed by what gradient() and tangent() need of this run: its outputs
  // are this one's, then the saved ones.
  Reduction saving() const;
  // All requested gradients in one pass: an output for each of `arguments` (positions in
  // arguments(), given, incoming, tangent or floating saved ones alike), in the argument's shape
  // with the full batch shape. Its own arguments are this reduction's, an incoming gradient for
  // each output of this that is not constant, and outputs of saving(); arguments() says which. Can
  // be differentiated again.
  Reduction gradient(std::span<const int> arguments) const;
  // Forward mode: the tangents of the floating outputs (a constant one's is 0), from those of
  // `arguments`.
  Reduction tangent(std::span<const int> arguments) const;

  void run(std::span<const Tensor> arguments, std::span<Tensor> outputs, Context = {}) const;

  std::span<const ReductionArgument> arguments() const;
  std::span<const ReductionOutput> outputs() const;
  // The formulas of the outputs as text, a line each, for people to read.
  std::string text() const;

  struct Body;  // src/reduce/body.hpp

 private:
  explicit Reduction(std::shared_ptr<const Body> body) : body_(std::move(body)) {}
  std::shared_ptr<const Body> body_;
};

// A row of the language's table, for documentation: every function a formula may call.
struct FormulaFunction {
  std::string_view name, signature, dimensions, summary;
};
std::span<const FormulaFunction> formula_functions();

}  // namespace logsum
