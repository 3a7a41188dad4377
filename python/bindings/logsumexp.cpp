#include "logsum/logsumexp.hpp"

#include <nanobind/nanobind.h>

#include <vector>

#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Access = Array::Access;
constexpr Access kRead = Access::read;
constexpr Access kWrite = Access::write;

void Logsumexp(nb::handle a, nb::handle axes, nb::handle weights, nb::handle where, nb::handle out,
               nb::handle sign) {
  Array a_array(a, kRead), out_array(out, kWrite);
  OptionalArray weights_array(weights, kRead), where_array(where, kRead), sign_array(sign, kWrite);
  const std::vector<int> axis_list = Axes(axes);
  WithoutLock([&] {
    logsumexp(a_array.tensor(), axis_list, weights_array.get(), where_array.get(),
              out_array.tensor(), sign_array.get());
  });
}

void LogsumexpBackward(nb::handle grad, nb::handle a, nb::handle weights, nb::handle where,
                       nb::handle out, nb::handle sign, nb::handle axes, nb::handle grad_a,
                       nb::handle grad_weights) {
  Array grad_array(grad, kRead), a_array(a, kRead), out_array(out, kRead);
  OptionalArray weights_array(weights, kRead), where_array(where, kRead), sign_array(sign, kRead);
  OptionalArray grad_a_array(grad_a, kWrite), grad_weights_array(grad_weights, kWrite);
  const std::vector<int> axis_list = Axes(axes);
  WithoutLock([&] {
    logsumexp_backward(grad_array.tensor(), a_array.tensor(), weights_array.get(),
                       where_array.get(), out_array.tensor(), sign_array.get(), axis_list,
                       grad_a_array.get(), grad_weights_array.get());
  });
}

template <void (*kFunction)(const Tensor&, int, Tensor&, Tensor&, Context)>
void Softmax(nb::handle a, int axis, nb::handle out, nb::handle lse) {
  Array a_array(a, kRead), out_array(out, kWrite), lse_array(lse, kWrite);
  WithoutLock(
      [&] { kFunction(a_array.tensor(), axis, out_array.tensor(), lse_array.tensor(), {}); });
}

template <void (*kFunction)(const Tensor*, const Tensor*, const Tensor&, const Tensor&, int,
                            Tensor&, Context)>
void SoftmaxBackward(nb::handle grad_out, nb::handle grad_lse, nb::handle a, nb::handle lse,
                     int axis, nb::handle grad_a) {
  OptionalArray grad_out_array(grad_out, kRead), grad_lse_array(grad_lse, kRead);
  Array a_array(a, kRead), lse_array(lse, kRead), grad_a_array(grad_a, kWrite);
  WithoutLock([&] {
    kFunction(grad_out_array.get(), grad_lse_array.get(), a_array.tensor(), lse_array.tensor(),
              axis, grad_a_array.tensor(), {});
  });
}

void Logaddexp(nb::handle a, nb::handle b, nb::handle out) {
  Array a_array(a, kRead), b_array(b, kRead), out_array(out, kWrite);
  WithoutLock([&] { logaddexp(a_array.tensor(), b_array.tensor(), out_array.tensor()); });
}

void Merge(nb::handle lse, nb::handle out, nb::handle merged_lse, nb::handle merged_out) {
  ArrayList lse_list(lse, kRead), out_list(out, kRead);
  Array merged_lse_array(merged_lse, kWrite);
  OptionalArray merged_out_array(merged_out, kWrite);
  WithoutLock([&] {
    merge(lse_list.tensors(), out_list.tensors(), merged_lse_array.tensor(),
          merged_out_array.get());
  });
}

}  // namespace

void BindLogsumexp(nb::module_& module) {
  module.def("logsumexp", &Logsumexp, "a"_a, "axes"_a, "weights"_a.none(), "where"_a.none(),
             "out"_a, "sign"_a.none());
  module.def("logsumexp_backward", &LogsumexpBackward, "grad"_a, "a"_a, "weights"_a.none(),
             "where"_a.none(), "out"_a, "sign"_a.none(), "axes"_a, "grad_a"_a.none(),
             "grad_weights"_a.none());
  module.def("softmax", &Softmax<softmax>, "a"_a, "axis"_a, "out"_a, "lse"_a);
  module.def("log_softmax", &Softmax<log_softmax>, "a"_a, "axis"_a, "out"_a, "lse"_a);
  module.def("softmax_backward", &SoftmaxBackward<softmax_backward>, "grad_out"_a.none(),
             "grad_lse"_a.none(), "a"_a, "lse"_a, "axis"_a, "grad_a"_a);
  module.def("log_softmax_backward", &SoftmaxBackward<log_softmax_backward>, "grad_out"_a.none(),
             "grad_lse"_a.none(), "a"_a, "lse"_a, "axis"_a, "grad_a"_a);
  module.def("logaddexp", &Logaddexp, "a"_a, "b"_a, "out"_a);
  module.def("merge", &Merge, "lse"_a, "out"_a, "merged_lse"_a, "merged_out"_a.none());
}

}  // namespace logsum::python
