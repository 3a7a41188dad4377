#include "logsum/attention.hpp"

#include "attention/arguments.hpp"
#include "attention/forward.hpp"

namespace logsum {

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionArrays& arrays,
               Tensor& out, Tensor& lse, AttentionOptions options, Context context) {
  const attend::Arguments arguments("attention", q, k, v, arrays, out, lse, options);
  attend::RunForward(arguments.problem(), context);
}

}  // namespace logsum
