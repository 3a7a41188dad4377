#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <vector>

#include "attention_arrays.hpp"
#include "logsum/attention.hpp"
#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Causal = AttentionOptions::Causal;
constexpr Array::Access kRead = Array::Access::read;
constexpr Array::Access kWrite = Array::Access::write;

void AttentionTangent(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle bias,
                      nb::handle sinks, nb::handle lengths_q, nb::handle lengths_k,
                      nb::handle score_args, nb::handle out, nb::handle lse, nb::handle tangent_q,
                      nb::handle tangent_k, nb::handle tangent_v, nb::handle tangent_bias,
                      nb::handle tangent_sinks, nb::handle tangent_score_args,
                      nb::handle out_tangent, nb::handle lse_tangent, Causal causal,
                      std::int64_t window_left, std::int64_t window_right, double scale,
                      double softcap, const std::string& score,
                      const std::vector<std::string>& score_names) {
  Array q_array(q, kRead), k_array(k, kRead), v_array(v, kRead);
  Array out_array(out, kRead), lse_array(lse, kRead);
  AttentionArrayArguments arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
  AttentionCounterparts tangents(tangent_q, tangent_k, tangent_v, tangent_bias, tangent_sinks,
                                 tangent_score_args, kRead);
  OptionalArray out_tangent_array(out_tangent, kWrite), lse_tangent_array(lse_tangent, kWrite);
  const AttentionOptions options{causal, window_left, window_right, scale, softcap, score};
  WithoutLock([&] {
    attention_tangent(q_array.tensor(), k_array.tensor(), v_array.tensor(), arrays.Get(),
                      out_array.tensor(), lse_array.tensor(), tangents.Get<AttentionTangents>(),
                      out_tangent_array.get(), lse_tangent_array.get(), options);
  });
}

void AttentionBackwardTangent(nb::handle grad_out, nb::handle grad_lse, nb::handle q, nb::handle k,
                              nb::handle v, nb::handle mask, nb::handle bias, nb::handle sinks,
                              nb::handle lengths_q, nb::handle lengths_k, nb::handle score_args,
                              nb::handle out, nb::handle lse, nb::handle tangent_q,
                              nb::handle tangent_k, nb::handle tangent_v, nb::handle tangent_bias,
                              nb::handle tangent_sinks, nb::handle tangent_score_args,
                              nb::handle out_tangent, nb::handle lse_tangent, nb::handle grad_q,
                              nb::handle grad_k, nb::handle grad_v, nb::handle grad_bias,
                              nb::handle grad_sinks, nb::handle grad_score_args, Causal causal,
                              std::int64_t window_left, std::int64_t window_right, double scale,
                              double softcap, const std::string& score,
                              const std::vector<std::string>& score_names) {
  Array grad_out_array(grad_out, kRead), q_array(q, kRead), k_array(k, kRead), v_array(v, kRead);
  Array out_array(out, kRead), lse_array(lse, kRead);
  Array out_tangent_array(out_tangent, kRead), lse_tangent_array(lse_tangent, kRead);
  OptionalArray grad_lse_array(grad_lse, kRead);
  AttentionArrayArguments arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
  AttentionCounterparts tangents(tangent_q, tangent_k, tangent_v, tangent_bias, tangent_sinks,
                                 tangent_score_args, kRead);
  AttentionCounterparts grads(grad_q, grad_k, grad_v, grad_bias, grad_sinks, grad_score_args,
                              kWrite);
  auto wanted = grads.Get<AttentionGradients>();
  const AttentionOptions options{causal, window_left, window_right, scale, softcap, score};
  WithoutLock([&] {
    attention_backward_tangent(grad_out_array.tensor(), grad_lse_array.get(), q_array.tensor(),
                               k_array.tensor(), v_array.tensor(), arrays.Get(), out_array.tensor(),
                               lse_array.tensor(), tangents.Get<AttentionTangents>(),
                               out_tangent_array.tensor(), lse_tangent_array.tensor(), wanted,
                               options);
  });
}

}  // namespace

void BindAttentionTangent(nb::module_& module) {
  module.def("attention_tangent", &AttentionTangent, "q"_a, "k"_a, "v"_a, "mask"_a.none(),
             "bias"_a.none(), "sinks"_a.none(), "lengths_q"_a.none(), "lengths_k"_a.none(),
             "score_args"_a, "out"_a, "lse"_a, "tangent_q"_a.none(), "tangent_k"_a.none(),
             "tangent_v"_a.none(), "tangent_bias"_a.none(), "tangent_sinks"_a.none(),
             "tangent_score_args"_a, "out_tangent"_a.none(), "lse_tangent"_a.none(), "causal"_a,
             "window_left"_a, "window_right"_a, "scale"_a, "softcap"_a, "score"_a, "score_names"_a);
  // grad_q and the like receive the gradients' tangents.
  module.def("attention_backward_tangent", &AttentionBackwardTangent, "grad_out"_a,
             "grad_lse"_a.none(), "q"_a, "k"_a, "v"_a, "mask"_a.none(), "bias"_a.none(),
             "sinks"_a.none(), "lengths_q"_a.none(), "lengths_k"_a.none(), "score_args"_a, "out"_a,
             "lse"_a, "tangent_q"_a.none(), "tangent_k"_a.none(), "tangent_v"_a.none(),
             "tangent_bias"_a.none(), "tangent_sinks"_a.none(), "tangent_score_args"_a,
             "out_tangent"_a, "lse_tangent"_a, "grad_q"_a.none(), "grad_k"_a.none(),
             "grad_v"_a.none(), "grad_bias"_a.none(), "grad_sinks"_a.none(), "grad_score_args"_a,
             "causal"_a, "window_left"_a, "window_right"_a, "scale"_a, "softcap"_a, "score"_a,
             "score_names"_a);
}

}  // namespace logsum::python
