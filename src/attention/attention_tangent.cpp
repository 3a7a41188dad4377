#include "attention/arguments.hpp"
#include "attention/counterparts.hpp"
#include "attention/tangent.hpp"
#include "core/errors.hpp"
#include "logsum/attention.hpp"

namespace logsum {

void attention_tangent(const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionArrays& arrays, const Tensor& out, const Tensor& lse,
                       const AttentionTangents& tangents, Tensor* out_tangent, Tensor* lse_tangent,
                       AttentionOptions options, Context context) {
  const attend::Arguments arguments("attention_tangent", q, k, v, arrays, out, lse, options);
  attend::Tangents moved;
  attend::Counterparts(arguments, "tangent of ", q, k, v, arrays).Check(tangents, moved);
  const attend::ResultTangents results = arguments.TangentsOfResults(out_tangent, lse_tangent);
  CheckOutputs("attention_tangent", {{"out_tangent", out_tangent}, {"lse_tangent", lse_tangent}});
  attend::RunTangent(arguments.problem(), moved, results, context);
}

}  // namespace logsum
