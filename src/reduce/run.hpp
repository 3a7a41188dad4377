// Running a compiled program on arrays.
#pragma once
#include <span>

#include "logsum/reduce.hpp"
#include "logsum/tensor.hpp"
#include "reduce/body.hpp"
#include "reduce/program.hpp"

namespace logsum::reduce {

// `arguments`: one for each of body.slots; `outputs`: one for each of body.targets. Shapes and
// dtypes have been checked. Arithmetic is double if any argument or floating output is float64.
void Run(const Program& program, const Reduction::Body& body, std::span<const Tensor> arguments,
         std::span<Tensor> outputs, Context context);

}  // namespace logsum::reduce
