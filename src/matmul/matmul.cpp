#include "logsum/matmul.hpp"

#include <string_view>

#include "core/errors.hpp"
#include "matmul/arguments.hpp"
#include "matmul/plan.hpp"
#include "matmul/run.hpp"

namespace logsum {

using namespace matmul;

void logmatmulexp(const Tensor& A, const Tensor& B, Tensor& C, Tensor* bound, Tensor* argmax,
                  Tensor* residual, MatmulOptions options, Context context) {
  constexpr std::string_view kFunction = "logmatmulexp";
  const ProductShape shape(kFunction, A, B);
  shape.CheckC("C", C);
  shape.CheckSame("C", C);
  if (bound != nullptr) {
    shape.CheckC("bound", *bound);
    shape.CheckWide("bound", *bound);
  }
  if (residual != nullptr) {
    if (options.semiring != Semiring::log) {
      ThrowInvalid(kFunction, "residual", "null in the max semiring", "a tensor");
    }
    shape.CheckResidual(*residual);
  }
  if (argmax != nullptr) {
    if (options.semiring != Semiring::max) {
      ThrowInvalid(kFunction, "argmax", "null in the log semiring", "a tensor");
    }
    shape.CheckC("argmax", *argmax);
    CheckDType(kFunction, "argmax", *argmax, DType::i64);
  }
  CheckOutputs(kFunction,
               {{"C", &C}, {"bound", bound}, {"argmax", argmax}, {"residual", residual}});
  const Plan plan = MakePlan(shape.Batch(), {.value = &A}, {.value = &B, .transposed = true}, {},
                             {.out = &C, .bound = bound, .argmax = argmax, .residual = residual});
  if (!plan.HasOutput()) return;
  if (options.semiring == Semiring::max) {
    RunMax(plan, context.threads);
  } else {
    RunSums(plan, context.threads);
  }
}

void logmatmulexp(const Tensor& A, const Tensor& B, Tensor& C, Tensor* bound, Tensor* argmax,
                  MatmulOptions options, Context context) {
  logmatmulexp(A, B, C, bound, argmax, nullptr, options, context);
}

}  // namespace logsum
