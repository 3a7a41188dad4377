#include "attention/arguments.hpp"
#include "attention/backward_tangent.hpp"
#include "attention/counterparts.hpp"
#include "logsum/attention.hpp"

namespace logsum {

void attention_backward_tangent(const Tensor& grad_out, const Tensor* grad_lse, const Tensor& q,
                                const Tensor& k, const Tensor& v, const AttentionArrays& arrays,
                                const Tensor& out, const Tensor& lse,
                                const AttentionTangents& tangents, const Tensor& out_tangent,
                                const Tensor& lse_tangent, AttentionGradients& gradient_tangents,
                                AttentionOptions options, Context context) {
  const attend::Arguments arguments("attention_backward_tangent", q, k, v, arrays, out, lse,
                                    options);
  attend::Gradients wanted = arguments.Cotangents(grad_out, grad_lse);
  attend::Tangents moved;
  attend::Counterparts(arguments, "tangent of ", q, k, v, arrays).Check(tangents, moved);
  const attend::Counterparts counterparts(arguments, "tangent of grad ", q, k, v, arrays);
  counterparts.Check(gradient_tangents, wanted);
  counterparts.CheckWritten(gradient_tangents);
  attend::RunBackwardTangent(arguments.problem(), wanted, moved,
                             arguments.TangentsOfResults(&out_tangent, &lse_tangent), context);
}

}  // namespace logsum
