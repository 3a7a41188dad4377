#include "logsum/attention.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Access = Array::Access;
using Causal = AttentionOptions::Causal;
constexpr Access kRead = Access::read;
constexpr Access kWrite = Access::write;

// The optional arrays of a call.
class Arrays {
 public:
  Arrays(nb::handle mask, nb::handle bias, nb::handle sinks, nb::handle lengths_q,
         nb::handle lengths_k, nb::handle score_args, const std::vector<std::string>& score_names)
      : mask_(mask, kRead),
        bias_(bias, kRead),
        sinks_(sinks, kRead),
        lengths_q_(lengths_q, kRead),
        lengths_k_(lengths_k, kRead),
        score_args_(score_args, kRead),
        names_(score_names.begin(), score_names.end()) {}

  AttentionArrays Get() {
    return {.mask = mask_.get(),
            .bias = bias_.get(),
            .sinks = sinks_.get(),
            .lengths_q = lengths_q_.get(),
            .lengths_k = lengths_k_.get(),
            .score_args = score_args_.tensors(),
            .score_names = names_};
  }

 private:
  OptionalArray mask_, bias_, sinks_, lengths_q_, lengths_k_;
  ArrayList score_args_;
  std::vector<std::string_view> names_;
};

// Arrays that may be None, which is a tensor without data.
class OptionalArrayList {
 public:
  explicit OptionalArrayList(nb::handle objects) {
    for (const nb::handle object : nb::borrow<nb::sequence>(objects)) {
      const Tensor* const tensor = arrays_.emplace_back(object, kWrite).get();
      tensors_.push_back(tensor == nullptr ? Tensor{} : *tensor);
    }
  }
  std::span<Tensor> tensors() { return tensors_; }

 private:
  std::deque<OptionalArray> arrays_;  // they do not move
  std::vector<Tensor> tensors_;
};

void Attention(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle bias,
               nb::handle sinks, nb::handle lengths_q, nb::handle lengths_k, nb::handle score_args,
               nb::handle out, nb::handle lse, Causal causal, std::int64_t window_left,
               std::int64_t window_right, double scale, double softcap, const std::string& score,
               const std::vector<std::string>& score_names) {
  Array q_array(q, kRead), k_array(k, kRead), v_array(v, kRead);
  Arrays arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
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
  Arrays arrays(mask, bias, sinks, lengths_q, lengths_k, score_args, score_names);
  OptionalArray grad_q_array(grad_q, kWrite), grad_k_array(grad_k, kWrite);
  OptionalArray grad_v_array(grad_v, kWrite), grad_bias_array(grad_bias, kWrite);
  OptionalArray grad_sinks_array(grad_sinks, kWrite);
  OptionalArrayList grad_score_arrays(grad_score_args);
  const AttentionOptions options{causal, window_left, window_right, scale, softcap, score};
  AttentionGradients gradients{.q = grad_q_array.get(),
                               .k = grad_k_array.get(),
                               .v = grad_v_array.get(),
                               .bias = grad_bias_array.get(),
                               .sinks = grad_sinks_array.get(),
                               .score_args = grad_score_arrays.tensors()};
  WithoutLock([&] {
    attention_backward(grad_out_array.tensor(), grad_lse_array.get(), q_array.tensor(),
                       k_array.tensor(), v_array.tensor(), arrays.Get(), out_array.tensor(),
                       lse_array.tensor(), gradients, options);
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
