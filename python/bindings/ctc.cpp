#include "logsum/ctc.hpp"

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

// What all functions of targets read.
struct Sequences {
  Sequences(nb::handle log_probs_object, nb::handle targets_object, nb::handle input_lengths_object,
            nb::handle target_lengths_object)
      : log_probs(log_probs_object, kRead),
        targets(targets_object, kRead),
        input_lengths(input_lengths_object, kRead),
        target_lengths(target_lengths_object, kRead) {}

  Array log_probs, targets, input_lengths, target_lengths;
};

// Returns how many sequences were repaired.
std::int64_t CtcLoss(nb::handle log_probs, nb::handle targets, nb::handle input_lengths,
                     nb::handle target_lengths, nb::handle losses, nb::handle grad,
                     std::int64_t blank, bool from_logits, Semiring semiring, bool zero_infinity,
                     CtcReduction reduction) {
  Sequences read(log_probs, targets, input_lengths, target_lengths);
  Array losses_array(losses, kWrite);
  OptionalArray grad_array(grad, kWrite);
  ScanReport report;
  WithoutLock([&] {
    report = ctc_loss(read.log_probs.tensor(), read.targets.tensor(), read.input_lengths.tensor(),
                      read.target_lengths.tensor(), losses_array.tensor(), grad_array.get(),
                      CtcOptions{.blank = blank,
                                 .from_logits = from_logits,
                                 .semiring = semiring,
                                 .zero_infinity = zero_infinity,
                                 .reduction = reduction});
  });
  return report.repaired;
}

void CtcLossTangent(nb::handle log_probs, nb::handle targets, nb::handle input_lengths,
                    nb::handle target_lengths, nb::handle direction, nb::handle losses_tangent,
                    nb::handle grad_tangent, std::int64_t blank, bool from_logits,
                    Semiring semiring) {
  Sequences read(log_probs, targets, input_lengths, target_lengths);
  Array direction_array(direction, kRead);
  OptionalArray losses_array(losses_tangent, kWrite), grad_array(grad_tangent, kWrite);
  WithoutLock([&] {
    ctc_loss_tangent(read.log_probs.tensor(), read.targets.tensor(), read.input_lengths.tensor(),
                     read.target_lengths.tensor(), direction_array.tensor(), losses_array.get(),
                     grad_array.get(),
                     CtcOptions{.blank = blank, .from_logits = from_logits, .semiring = semiring});
  });
}

void CtcAlign(nb::handle log_probs, nb::handle targets, nb::handle input_lengths,
              nb::handle target_lengths, nb::handle labels, nb::handle scores, std::int64_t blank) {
  Sequences read(log_probs, targets, input_lengths, target_lengths);
  Array labels_array(labels, kWrite), scores_array(scores, kWrite);
  WithoutLock([&] {
    ctc_align(read.log_probs.tensor(), read.targets.tensor(), read.input_lengths.tensor(),
              read.target_lengths.tensor(), labels_array.tensor(), scores_array.tensor(), blank);
  });
}

void CtcDecode(nb::handle log_probs, nb::handle input_lengths, nb::handle labels,
               nb::handle label_lengths, nb::handle scores, std::int64_t blank, std::int64_t beam) {
  Array log_probs_array(log_probs, kRead), input_lengths_array(input_lengths, kRead);
  Array labels_array(labels, kWrite), label_lengths_array(label_lengths, kWrite);
  Array scores_array(scores, kWrite);
  WithoutLock([&] {
    ctc_decode(log_probs_array.tensor(), input_lengths_array.tensor(), labels_array.tensor(),
               label_lengths_array.tensor(), scores_array.tensor(),
               CtcDecodeOptions{.blank = blank, .beam = beam});
  });
}

}  // namespace

void BindCtc(nb::module_& module) {
  nb::enum_<CtcReduction>(module, "CtcReduction", "What becomes of the losses of a batch.")
      .value("none", CtcReduction::none)
      .value("sum", CtcReduction::sum)
      .value("mean", CtcReduction::mean);
  module.def("ctc_loss", &CtcLoss, "log_probs"_a, "targets"_a, "input_lengths"_a,
             "target_lengths"_a, "losses"_a, "grad"_a.none(), "blank"_a, "from_logits"_a,
             "semiring"_a, "zero_infinity"_a, "reduction"_a = CtcReduction::none);
  module.def("ctc_loss_tangent", &CtcLossTangent, "log_probs"_a, "targets"_a, "input_lengths"_a,
             "target_lengths"_a, "direction"_a, "losses_tangent"_a.none(), "grad_tangent"_a.none(),
             "blank"_a, "from_logits"_a, "semiring"_a);
  module.def("ctc_align", &CtcAlign, "log_probs"_a, "targets"_a, "input_lengths"_a,
             "target_lengths"_a, "labels"_a, "scores"_a, "blank"_a);
  module.def("ctc_decode", &CtcDecode, "log_probs"_a, "input_lengths"_a, "labels"_a,
             "label_lengths"_a, "scores"_a, "blank"_a, "beam"_a);
}

}  // namespace logsum::python
