// Means of a product's terms, and the gradients that are such means.
#include <string_view>

#include "core/errors.hpp"
#include "logsum/matmul.hpp"
#include "matmul/arguments.hpp"
#include "matmul/max.hpp"
#include "matmul/plan.hpp"
#include "matmul/run.hpp"

namespace logsum {

using namespace matmul;

namespace {

void RequireNone(std::string_view function, std::string_view argument, const Tensor* weight) {
  if (weight != nullptr) ThrowInvalid(function, argument, "null for out's own operand", "a tensor");
}

// The plan with the operands in the order that a mean over `over` contracts them in.
Plan PlanOf(std::span<const std::int64_t> batch, const OperandTensors& A, const OperandTensors& B,
            const OperandTensors& C, MatmulIndex over, Tensor& out) {
  const auto transposed = [](OperandTensors operand) {
    operand.transposed = true;
    return operand;
  };
  const OutputTensors outputs{.out = &out};
  switch (over) {
    case MatmulIndex::inner:  // out[i, j]: A[i, k] C B[k, j]
      return MakePlan(batch, A, transposed(B), C, outputs);
    case MatmulIndex::column:  // out[i, k]: C[i, j] A B[k, j]
      return MakePlan(batch, C, B, A, outputs);
    case MatmulIndex::row:  // out[k, j]: A[i, k] B C[i, j]
      break;
  }
  return MakePlan(batch, transposed(A), transposed(C), B, outputs);
}

void Mean(const ProductShape& shape, const Tensor& A, const Tensor& B, const Tensor& C,
          const Tensor* residual, MatmulIndex over, const MatmulWeights& weights, Tensor& out,
          const Context& context) {
  const Plan plan =
      PlanOf(shape.Batch(), {.value = &A, .weight = weights.A}, {.value = &B, .weight = weights.B},
             {.value = &C, .residual = residual, .weight = weights.C, .negated = true}, over, out);
  if (plan.HasOutput()) RunMeans(plan, context.threads);
}

ProductShape CheckedShape(std::string_view function, const Tensor& A, const Tensor& B,
                          const Tensor& C, const Tensor* residual) {
  const ProductShape shape(function, A, B);
  shape.CheckC("C", C);
  shape.CheckSame("C", C);
  if (residual != nullptr) shape.CheckResidual(*residual);
  return shape;
}

}  // namespace

void logmatmulexp_mean(const Tensor& A, const Tensor& B, const Tensor& C, const Tensor* residual,
                       MatmulIndex over, MatmulWeights weights, Tensor& out, Context context) {
  constexpr std::string_view kFunction = "logmatmulexp_mean";
  const ProductShape shape = CheckedShape(kFunction, A, B, C, residual);
  if (weights.A != nullptr) {
    shape.CheckLikeA("weight_A", *weights.A);
    shape.CheckWide("weight_A", *weights.A);
  }
  if (weights.B != nullptr) {
    shape.CheckLikeB("weight_B", *weights.B);
    shape.CheckWide("weight_B", *weights.B);
  }
  if (weights.C != nullptr) {
    shape.CheckC("weight_C", *weights.C);
    shape.CheckWide("weight_C", *weights.C);
  }
  switch (over) {
    case MatmulIndex::inner:
      RequireNone(kFunction, "weight_C", weights.C);
      shape.CheckC("out", out);
      break;
    case MatmulIndex::column:
      RequireNone(kFunction, "weight_A", weights.A);
      shape.CheckLikeA("out", out);
      break;
    case MatmulIndex::row:
      RequireNone(kFunction, "weight_B", weights.B);
      shape.CheckLikeB("out", out);
      break;
  }
  shape.CheckWide("out", out);
  CheckOutputs(kFunction, {{"out", &out}});
  Mean(shape, A, B, C, residual, over, weights, out, context);
}

void logmatmulexp_backward(const Tensor& grad, const Tensor& A, const Tensor& B, const Tensor& C,
                           const Tensor* residual, Tensor* grad_A, Tensor* grad_B,
                           MatmulOptions options, Context context) {
  constexpr std::string_view kFunction = "logmatmulexp_backward";
  const ProductShape shape = CheckedShape(kFunction, A, B, C, residual);
  shape.CheckC("grad", grad);
  shape.CheckWide("grad", grad);
  if (grad_A != nullptr) {
    shape.CheckLikeA("grad_A", *grad_A);
    shape.CheckWide("grad_A", *grad_A);
  }
  if (grad_B != nullptr) {
    shape.CheckLikeB("grad_B", *grad_B);
    shape.CheckWide("grad_B", *grad_B);
  }
  CheckOutputs(kFunction, {{"grad_A", grad_A}, {"grad_B", grad_B}});
  if (options.semiring == Semiring::max) {
    RunMaxBackward(shape, grad, A, B, grad_A, grad_B, context.threads);
    return;
  }
  const MatmulWeights weights{.C = &grad};
  if (grad_A != nullptr) {
    Mean(shape, A, B, C, residual, MatmulIndex::column, weights, *grad_A, context);
  }
  if (grad_B != nullptr) {
    Mean(shape, A, B, C, residual, MatmulIndex::row, weights, *grad_B, context);
  }
}

void logmatmulexp_backward(const Tensor& grad, const Tensor& A, const Tensor& B, const Tensor& C,
                           Tensor* grad_A, Tensor* grad_B, MatmulOptions options, Context context) {
  logmatmulexp_backward(grad, A, B, C, nullptr, grad_A, grad_B, options, context);
}

}  // namespace logsum
