#include "logsum/scan.hpp"

#include <nanobind/nanobind.h>

#include <cstdint>

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

Graph FromIndex(nb::handle idx) { return Graph::from_index(Array(idx, kRead).tensor()); }

Graph FromArcs(nb::handle source, nb::handle target, std::int64_t num_states) {
  Array source_array(source, kRead), target_array(target, kRead);
  return Graph::from_arcs(source_array.tensor(), target_array.tensor(), num_states);
}

// Returns how many sequences were repaired.
std::int64_t LogZ(nb::handle ms, const Graph& graph, nb::handle v0, nb::handle vt,
                  nb::handle lengths, nb::handle out, nb::handle grad_ms, nb::handle grad_v0,
                  nb::handle grad_vt, Semiring semiring, std::int64_t checkpoint) {
  Array ms_array(ms, kRead), v0_array(v0, kRead), vt_array(vt, kRead), out_array(out, kWrite);
  OptionalArray lengths_array(lengths, kRead), grad_ms_array(grad_ms, kWrite);
  OptionalArray grad_v0_array(grad_v0, kWrite), grad_vt_array(grad_vt, kWrite);
  ScanReport report;
  WithoutLock([&] {
    report = logZ(ms_array.tensor(), graph, v0_array.tensor(), vt_array.tensor(),
                  lengths_array.get(), out_array.tensor(), grad_ms_array.get(), grad_v0_array.get(),
                  grad_vt_array.get(), ScanOptions{.semiring = semiring, .checkpoint = checkpoint});
  });
  return report.repaired;
}

template <void (*kFunction)(const Tensor&, const Graph&, const Tensor&, const Tensor*, Tensor&,
                            ScanOptions, Context)>
void Scores(nb::handle ms, const Graph& graph, nb::handle ends, nb::handle lengths, nb::handle out,
            Semiring semiring) {
  Array ms_array(ms, kRead), ends_array(ends, kRead), out_array(out, kWrite);
  OptionalArray lengths_array(lengths, kRead);
  WithoutLock([&] {
    kFunction(ms_array.tensor(), graph, ends_array.tensor(), lengths_array.get(),
              out_array.tensor(), ScanOptions{.semiring = semiring}, {});
  });
}

void Viterbi(nb::handle ms, const Graph& graph, nb::handle v0, nb::handle vt, nb::handle lengths,
             nb::handle score, nb::handle states, nb::handle arcs) {
  Array ms_array(ms, kRead), v0_array(v0, kRead), vt_array(vt, kRead);
  OptionalArray lengths_array(lengths, kRead);
  Array score_array(score, kWrite), states_array(states, kWrite), arcs_array(arcs, kWrite);
  WithoutLock([&] {
    viterbi(ms_array.tensor(), graph, v0_array.tensor(), vt_array.tensor(), lengths_array.get(),
            score_array.tensor(), states_array.tensor(), arcs_array.tensor());
  });
}

void LogZCovariance(nb::handle ms, const Graph& graph, nb::handle v0, nb::handle vt,
                    nb::handle lengths, nb::handle by_ms, nb::handle by_v0, nb::handle by_vt,
                    nb::handle mean, nb::handle cov_ms, nb::handle cov_v0, nb::handle cov_vt) {
  Array ms_array(ms, kRead), v0_array(v0, kRead), vt_array(vt, kRead);
  OptionalArray lengths_array(lengths, kRead), by_ms_array(by_ms, kRead);
  OptionalArray by_v0_array(by_v0, kRead), by_vt_array(by_vt, kRead), mean_array(mean, kWrite);
  OptionalArray cov_ms_array(cov_ms, kWrite), cov_v0_array(cov_v0, kWrite);
  OptionalArray cov_vt_array(cov_vt, kWrite);
  WithoutLock([&] {
    logZ_covariance(
        ms_array.tensor(), graph, v0_array.tensor(), vt_array.tensor(), lengths_array.get(),
        ScanDirection{.Ms = by_ms_array.get(), .v0 = by_v0_array.get(), .vT = by_vt_array.get()},
        mean_array.get(), cov_ms_array.get(), cov_v0_array.get(), cov_vt_array.get());
  });
}

}  // namespace

void BindScan(nb::module_& module) {
  nb::class_<Graph>(module, "Graph", "The arcs of a scan.")
      .def_static("from_index", &FromIndex, "idx"_a)
      .def_static("from_arcs", &FromArcs, "source"_a, "target"_a, "num_states"_a)
      .def_prop_ro("num_states", &Graph::num_states)
      .def_prop_ro("num_slots", &Graph::num_slots)
      .def_prop_ro("num_arcs", &Graph::num_arcs)
      .def_prop_ro("width", &Graph::width);
  module.def("logZ", &LogZ, "Ms"_a, "graph"_a, "v0"_a, "vT"_a, "lengths"_a.none(), "out"_a,
             "grad_Ms"_a.none(), "grad_v0"_a.none(), "grad_vT"_a.none(), "semiring"_a,
             "checkpoint"_a);
  module.def("forward_scores", &Scores<forward_scores>, "Ms"_a, "graph"_a, "v0"_a,
             "lengths"_a.none(), "alpha"_a, "semiring"_a);
  module.def("backward_scores", &Scores<backward_scores>, "Ms"_a, "graph"_a, "vT"_a,
             "lengths"_a.none(), "beta"_a, "semiring"_a);
  module.def("viterbi", &Viterbi, "Ms"_a, "graph"_a, "v0"_a, "vT"_a, "lengths"_a.none(), "score"_a,
             "states"_a, "arcs"_a);
  module.def("logZ_covariance", &LogZCovariance, "Ms"_a, "graph"_a, "v0"_a, "vT"_a,
             "lengths"_a.none(), "by_Ms"_a.none(), "by_v0"_a.none(), "by_vT"_a.none(),
             "mean"_a.none(), "cov_Ms"_a.none(), "cov_v0"_a.none(), "cov_vT"_a.none());
}

}  // namespace logsum::python
