// logsum._core: the C++ library as plain functions on arrays. The packages above it check dtypes
// and shapes in Python's terms, allocate results, and know about gradients.
#include <nanobind/nanobind.h>

#include "logsum/version.hpp"
#include "operations.hpp"

NB_MODULE(_core, module) {
  // A Graph may live in somebody's globals, which Python does not always destroy when it ends.
  nanobind::set_leak_warnings(false);
  module.doc() = "The C++ library, on arrays and on (address, dtype, shape, strides).";
  module.attr("version") = logsum::kVersion;
  logsum::python::BindConfig(module);
  logsum::python::BindLogsumexp(module);
  logsum::python::BindMatmul(module);
  logsum::python::BindReduce(module);
  logsum::python::BindScan(module);
  logsum::python::BindCtc(module);
  logsum::python::BindAttention(module);
  logsum::python::BindAttentionTangent(module);
}
