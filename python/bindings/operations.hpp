// The operations of the module, one file or two each.
#pragma once
#include <nanobind/nanobind.h>

namespace logsum::python {

void BindAttention(nanobind::module_& module);
void BindAttentionTangent(nanobind::module_& module);
void BindConfig(nanobind::module_& module);
void BindCtc(nanobind::module_& module);
void BindLogsumexp(nanobind::module_& module);
void BindMatmul(nanobind::module_& module);
void BindReduce(nanobind::module_& module);
void BindScan(nanobind::module_& module);

}  // namespace logsum::python
