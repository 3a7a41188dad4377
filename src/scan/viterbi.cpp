#include "core/errors.hpp"
#include "scan/arguments.hpp"
#include "scan/path.hpp"

namespace logsum {

void viterbi(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
             const Tensor* lengths, Tensor& score, Tensor& states, Tensor& arcs, Context context) {
  const scan::ScanShape shape("viterbi", Ms, graph, lengths);
  const scan::Operand first = shape.Weights("v0", v0), last = shape.Weights("vT", vT);
  const scan::Operand best = shape.Sequences("score", &score);
  const scan::Operand path = shape.Steps("states", &states, shape.T() + 1);
  const scan::Operand slots = shape.Steps("arcs", &arcs, shape.T());
  shape.CheckScore("score", &score);
  shape.CheckIndex("states", &states);
  shape.CheckIndex("arcs", &arcs);
  CheckOutputs("viterbi", {{"score", &score}, {"states", &states}, {"arcs", &arcs}});
  scan::RunPath({.shape = shape,
                 .v0 = first,
                 .vT = last,
                 .score = best,
                 .states = path,
                 .arcs = slots,
                 .grad_Ms = {},
                 .grad_v0 = {},
                 .grad_vT = {}},
                context.threads);
}

}  // namespace logsum
