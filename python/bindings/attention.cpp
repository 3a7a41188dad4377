#include "logsum/attention.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <vector>

#include "attention_arrays.hpp"
#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Causal = AttentionOptions::Causal;
constexpr Array::Access kRead = Array::Access::read;
constexpr Array::Access kWrite = Array::Access::write;

void Attention(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle bias,
               nb::handle sinks, nb::handle lengths_q, nb::handle lengths_k, nb::handle score_args,
               nb::handle out, nb::handle lse, Causal causal, std::int64_t window_left,
               std::int64_t window_right, double scale, double softcap, const std::string& score,
               const std::vector<std::string>& score_names) {
  Array q_array(q, kRead), k_array(k, kRead), v_array(v, kRead);
  AttentionArrayArguments arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
  Array out_array(out, kWrite), lse_array(lse, kWrite);
  const AttentionOptions options{causal, window_left, window_right, scale, softcap, score};
  WithoutLock([&] {
    attention(q_array.tensor(), k_array.tensor(), v_array.tensor(), arrays.Get(),
              out_array.tensor(), lse_array.tensor(), options);
  });
}

void AttentionBackward(nb::handle grad_out, nb::handle grad_lse, nb::handle q, nb::handle k,
                       nb::handle v, nb::handle mask, nb::handle bias, nb::handle sinks,
                       nb::handle lengths_q, nb::handle lengths_k, nb::handle score_args,
                       nb::handle out, nb::handle lse, nb::handle grad_q, nb::handle grad_k,
                       nb::handle grad_v, nb::handle grad_bias, nb::handle grad_sinks,
                       nb::handle grad_score_args, Causal causal, std::int64_t window_left,
                       std::int64_t window_right, double scale, double softcap,
                       const std::string& score, const std::vector<std::string>& score_names) {
  Array grad_out_array(grad_out, kRead), q_array(q, kRead), k_array(k, kRead), v_array(v, kRead);
  Array out_array(out, kRead), lse_array(lse, kRead);
  OptionalArray grad_lse_array(grad_lse, kRead);
  AttentionArrayArguments arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
  AttentionCounterparts grads(grad_q, grad_k, grad_v, grad_bias, grad_sinks, grad_score_args,
                              kWrite);
  auto wanted = grads.Get<AttentionGradients>();
  const AttentionOptions options{causal, window_left, window_right, scale, softcap, score};
  WithoutLock([&] {
    attention_backward(grad_out_array.tensor(), grad_lse_array.get(), q_array.tensor(),
                       k_array.tensor(), v_array.tensor(), arrays.Get(), out_array.tensor(),
                       lse_array.tensor(), wanted, options);
  });
}

}  // namespace

void BindAttention(nb::module_& module) {
  nb::enum_<Causal>(module, "AttentionCausal", nb::is_arithmetic(),
                    "The diagonal that queries look up to, by number.")
      .value("none", Causal::none)
      .value("top_left", Causal::top_left)
      .value("bottom_right", Causal::bottom_right);
  module.def("attention", &Attention, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "bias"_a.none(),
             "sinks"_a.none(), "lengths_q"_a.none(), "lengths_k"_a.none(), "score_args"_a, "out"_a,
             "lse"_a, "causal"_a, "window_left"_a, "window_right"_a, "scale"_a, "softcap"_a,
             "score"_a, "score_names"_a);
  module.def("attention_backward", &AttentionBackward, "grad_out"_a, "grad_lse"_a.none(), "q"_a,
             "k"_a, "v"_a, "mask"_a.none(), "bias"_a.none(), "sinks"_a.none(), "lengths_q"_a.none(),
             "lengths_k"_a.none(), "score_args"_a, "out"_a, "lse"_a, "grad_q"_a.none(),
             "grad_k"_a.none(), "grad_v"_a.none(), "grad_bias"_a.none(), "grad_sinks"_a.none(),
             "grad_score_args"_a, "causal"_a, "window_left"_a, "window_right"_a, "scale"_a,
             "softcap"_a, "score"_a, "score_names"_a);
}

}  // namespace logsum::python
