#include "logsum/matmul.hpp"

#include <nanobind/nanobind.h>

#include "logsum/semiring.hpp"
#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Access = Array::Access;
constexpr Access kRead = Access::read;
constexpr Access kWrite = Access::write;

void Logmatmulexp(nb::handle a, nb::handle b, nb::handle c, nb::handle bound, nb::handle argmax,
                  nb::handle residual, Semiring semiring) {
  Array a_array(a, kRead), b_array(b, kRead), c_array(c, kWrite);
  OptionalArray bound_array(bound, kWrite), argmax_array(argmax, kWrite);
  OptionalArray residual_array(residual, kWrite);
  WithoutLock([&] {
    logmatmulexp(a_array.tensor(), b_array.tensor(), c_array.tensor(), bound_array.get(),
                 argmax_array.get(), residual_array.get(), MatmulOptions{.semiring = semiring});
  });
}

void LogmatmulexpMean(nb::handle a, nb::handle b, nb::handle c, nb::handle residual,
                      MatmulIndex over, nb::handle weight_a, nb::handle weight_b,
                      nb::handle weight_c, nb::handle out) {
  Array a_array(a, kRead), b_array(b, kRead), c_array(c, kRead), out_array(out, kWrite);
  OptionalArray residual_array(residual, kRead), weight_a_array(weight_a, kRead);
  OptionalArray weight_b_array(weight_b, kRead), weight_c_array(weight_c, kRead);
  WithoutLock([&] {
    logmatmulexp_mean(
        a_array.tensor(), b_array.tensor(), c_array.tensor(), residual_array.get(), over,
        MatmulWeights{
            .A = weight_a_array.get(), .B = weight_b_array.get(), .C = weight_c_array.get()},
        out_array.tensor());
  });
}

}  // namespace

void BindMatmul(nb::module_& module) {
  nb::enum_<Semiring>(module, "Semiring", "What a product adds by.")
      .value("log", Semiring::log)
      .value("max", Semiring::max);
  nb::enum_<MatmulIndex>(module, "MatmulIndex", nb::is_arithmetic(),
                         "The index that a mean over a product's terms sums over, by number.")
      .value("row", MatmulIndex::row)
      .value("inner", MatmulIndex::inner)
      .value("column", MatmulIndex::column);
  module.def("logmatmulexp", &Logmatmulexp, "a"_a, "b"_a, "c"_a, "bound"_a.none(),
             "argmax"_a.none(), "residual"_a.none(), "semiring"_a);
  module.def("logmatmulexp_mean", &LogmatmulexpMean, "a"_a, "b"_a, "c"_a, "residual"_a.none(),
             "over"_a, "weight_a"_a.none(), "weight_b"_a.none(), "weight_c"_a.none(), "out"_a);
}

}  // namespace logsum::python
