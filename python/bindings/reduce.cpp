#include "logsum/reduce.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operations.hpp"
#include "tensor.hpp"

namespace logsum::python {
namespace nb = nanobind;
using namespace nb::literals;

namespace {

Reduction Parse(const std::string& formula, const std::vector<std::string>& aliases,
                const std::string& reduction_op, int axis, int opt_arg,
                const std::string& formula2) {
  const std::vector<std::string_view> views(aliases.begin(), aliases.end());
  std::optional<Reduction> parsed;
  WithoutLock(
      [&] { parsed = Reduction::parse(formula, views, reduction_op, axis, opt_arg, formula2); });
  return *parsed;
}

template <Reduction (Reduction::*kDerive)(std::span<const int>) const>
Reduction Derived(const Reduction& reduction, const std::vector<int>& arguments) {
  std::optional<Reduction> derived;
  WithoutLock([&] { derived = (reduction.*kDerive)(arguments); });
  return *derived;
}

void Run(const Reduction& reduction, nb::handle arguments, nb::handle outputs) {
  ArrayList given(arguments, Array::Access::read), results(outputs, Array::Access::write);
  WithoutLock([&] { reduction.run(given.tensors(), results.tensors()); });
}

template <class Item>
std::vector<Item> Listed(std::span<const Item> items) {
  return {items.begin(), items.end()};
}

// Rows of (name, signature, dimensions, summary).
nb::list FormulaFunctions() {
  nb::list rows;
  for (const FormulaFunction& row : formula_functions()) {
    rows.append(nb::make_tuple(row.name, row.signature, row.dimensions, row.summary));
  }
  return rows;
}

}  // namespace

void BindReduce(nb::module_& module) {
  nb::enum_<FormulaIndex>(module, "FormulaIndex", "What a variable or a result is indexed by.")
      .value("i", FormulaIndex::i)
      .value("j", FormulaIndex::j)
      .value("parameter", FormulaIndex::parameter);
  nb::enum_<ArgumentSource>(module, "ArgumentSource", "Where an argument comes from.")
      .value("given", ArgumentSource::given)
      .value("incoming", ArgumentSource::incoming)
      .value("saved", ArgumentSource::saved)
      .value("tangent", ArgumentSource::tangent);
  nb::class_<ReductionArgument>(module, "ReductionArgument", "What a reduction is given.")
      .def_ro("name", &ReductionArgument::name)
      .def_ro("index", &ReductionArgument::index)
      .def_ro("dim", &ReductionArgument::dim)
      .def_ro("count", &ReductionArgument::count)
      .def_ro("source", &ReductionArgument::source)
      .def_ro("position", &ReductionArgument::position)
      .def_ro("integer", &ReductionArgument::integer);
  nb::class_<ReductionOutput>(module, "ReductionOutput", "What a reduction gives.")
      .def_ro("index", &ReductionOutput::index)
      .def_ro("dim", &ReductionOutput::dim)
      .def_ro("count", &ReductionOutput::count)
      .def_ro("integer", &ReductionOutput::integer)
      .def_ro("saved", &ReductionOutput::saved)
      .def_ro("constant", &ReductionOutput::constant);
  nb::class_<Reduction>(module, "Reduction", "A parsed formula with its reductions.")
      .def_static("parse", &Parse, "formula"_a, "aliases"_a, "reduction_op"_a, "axis"_a,
                  "opt_arg"_a, "formula2"_a)
      .def("saving", &Reduction::saving)
      .def("gradient", &Derived<&Reduction::gradient>, "arguments"_a)
      .def("tangent", &Derived<&Reduction::tangent>, "arguments"_a)
      .def("run", &Run, "arguments"_a, "outputs"_a)
      .def("arguments", [](const Reduction& reduction) { return Listed(reduction.arguments()); })
      .def("outputs", [](const Reduction& reduction) { return Listed(reduction.outputs()); })
      .def("text", &Reduction::text);
  module.def("formula_functions", &FormulaFunctions,
             nb::sig("def formula_functions() -> list[tuple[str, str, str, str]]"),
             "Rows of the language's table: name, signature, dimensions, summary.");
}

}  // namespace logsum::python
