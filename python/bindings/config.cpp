#include "logsum/config.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "logsum/tensor.hpp"
#include "operations.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

void BindConfig(nb::module_& module) {
  nb::enum_<DType>(module, "DType", nb::is_arithmetic(), "The element types, by number.")
      .value("f16", DType::f16)
      .value("bf16", DType::bf16)
      .value("f32", DType::f32)
      .value("f64", DType::f64)
      .value("i32", DType::i32)
      .value("i64", DType::i64)
      .value("boolean", DType::boolean);

  nb::class_<Config>(module, "Config", "What this build and this machine offer.")
      .def_ro("version", &Config::version)
      .def_ro("cpu_target", &Config::cpu_target)
      .def_ro("cpu_targets", &Config::cpu_targets)
      .def_ro("thread_backend", &Config::thread_backend)
      .def_ro("num_threads", &Config::num_threads);
  module.def("config", &config);
  module.def("set_num_threads", &set_num_threads, "n"_a);
  module.def("get_num_threads", &get_num_threads);
  module.def("set_cpu_target", &set_cpu_target, "name"_a,
             "Uses the kernels of one instruction set from now on; \"\" for the best.");
}

}  // namespace logsum::python
