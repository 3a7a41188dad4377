#include "attention/arguments.hpp"
#include "attention/backward.hpp"
#include "attention/counterparts.hpp"
#include "logsum/attention.hpp"

namespace logsum {

void attention_backward(const Tensor& grad_out, const Tensor* grad_lse, const Tensor& q,
                        const Tensor& k, const Tensor& v, const AttentionArrays& arrays,
                        const Tensor& out, const Tensor& lse, AttentionGradients& gradients,
                        AttentionOptions options, Context context) {
  const attend::Arguments arguments("attention_backward", q, k, v, arrays, out, lse, options);
  attend::Gradients wanted = arguments.Cotangents(grad_out, grad_lse);
  const attend::Counterparts counterparts(arguments, "grad ", q, k, v, arrays);
  counterparts.Check(gradients, wanted);
  counterparts.CheckWritten(gradients);
  attend::RunBackward(arguments.problem(), wanted, context);
}

}  // namespace logsum
