#include "logsum/attention.hpp"

#include "attention/arguments.hpp"
#include "attention/forward.hpp"
#include "core/errors.hpp"

namespace logsum {

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArrays& arrays,
               Tensor& out, Tensor& lse, AttentionOptions options, Context context) {
  const attend::Arguments arguments("attention", q, k, v, arrays, out, lse, options);
  CheckOutputs("attention", {{"out", &out}, {"lse", &lse}});
  attend::RunForward(arguments.problem(), context);
}

}  // namespace logsum
