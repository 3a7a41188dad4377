#include "reduce/arguments.hpp"

#include <algorithm>

#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/text.hpp"
#include "reduce/derivation.hpp"
#include "reduce/program.hpp"
#include "reduce/run.hpp"

namespace logsum::reduce {
namespace {

// How many axes stand behind the batch axes.
std::size_t OwnAxes(FormulaIndex index, std::int64_t count) {
  return 1 + (index == FormulaIndex::parameter ? 0 : 1) + (count == 0 ? 0 : 1);
}

bool IsHalf(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

std::string Counted(std::size_t count, std::string_view what) {
  return Text(count, " ", what, count == 1 ? "" : "s");
}

}  // namespace

Arrays::Arrays(const Reduction::Body& body, std::span<const Tensor> arguments,
               std::span<const Tensor> outputs) {
  if (arguments.size() != body.arguments.size()) {
    std::string names;
    for (const ReductionArgument& argument : body.arguments) {
      names += (names.empty() ? " (" : ", ") + argument.name;
    }
    if (!names.empty()) names += ")";
    ThrowInvalid(kFunction, "arguments", Counted(body.arguments.size(), "array") + names,
                 std::to_string(arguments.size()));
  }
  if (outputs.size() != body.outputs.size()) {
    ThrowInvalid(kFunction, "outputs", Counted(body.outputs.size(), "array"),
                 std::to_string(outputs.size()));
  }
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    CheckArgument(body.arguments[k], arguments[k]);
    CheckDType(body.arguments[k], arguments[k], static_cast<int>(k) < body.parsed_arguments);
  }
  for (std::size_t k = 0; k < arguments.size(); ++k) {
    if (body.arguments[k].integer) CheckIndices(body.arguments[k], arguments[k]);
    Split(arguments[k], body.arguments[k].count, slots_);
  }
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const ReductionOutput& output = body.outputs[k];
    CheckOutput(outputs.size() == 1 ? "output" : Text("output ", k), output, outputs[k]);
    const bool splits = IsSplit(body, output, targets_.size());
    Split(outputs[k], splits ? output.count : 0, targets_);
  }
  CheckIndexTerms(body);
}

std::string Arrays::Expected(const ReductionArgument& argument) const {
  std::string text = "shape (..., ";
  std::string why;
  if (argument.index != FormulaIndex::parameter) {
    const Size& size = SizeOf(argument.index);
    const std::string name = argument.index == FormulaIndex::i ? "M" : "N";
    text += (size.from != nullptr ? std::to_string(size.value) : name) + ", ";
    if (size.from != nullptr) why = Text(" (", *size.from, " has ", name, " = ", size.value, ")");
  }
  if (argument.count != 0) text += std::to_string(argument.count) + ", ";
  return Text(text, argument.dim, ")", why);
}

void Arrays::CheckArgument(const ReductionArgument& argument, const Tensor& tensor) {
  CheckTensor(kFunction, argument.name, tensor);
  const std::size_t rank = tensor.shape.size();
  const std::size_t own = OwnAxes(argument.index, argument.count);
  const auto refuse = [&] {
    ThrowInvalid(kFunction, argument.name, Expected(argument),
                 Text("shape ", ShapeString(tensor.shape)));
  };
  if (rank < own || tensor.shape[rank - 1] != argument.dim) refuse();
  if (argument.count != 0 && tensor.shape[rank - 2] != argument.count) refuse();
  if (argument.index != FormulaIndex::parameter) {
    Size& size = SizeOf(argument.index);
    const std::int64_t given = tensor.shape[rank - own];
    if (size.from != nullptr && size.value != given) refuse();
    if (size.from == nullptr) size = {given, &argument.name};
  }
  for (std::size_t k = 0; k + own < rank; ++k) {
    const std::int64_t given = tensor.shape[rank - own - 1 - k];
    if (k == batch_.size()) {
      batch_.push_back(given);
      batch_from_.push_back(&argument.name);
    } else if (batch_[k] == 1) {
      batch_[k] = given;
      batch_from_[k] = &argument.name;
    } else if (given != 1 && given != batch_[k]) {
      ThrowInvalid(kFunction, argument.name,
                   Text("batch axes that broadcast with those of ", *batch_from_[k], ", ",
                        batch_[k], " at axis ", rank - own - 1 - k),
                   Text("shape ", ShapeString(tensor.shape)));
    }
  }
}

void Arrays::CheckDType(const ReductionArgument& argument, const Tensor& tensor, bool is_parsed) {
  if (argument.integer) {
    return logsum::CheckDType(kFunction, argument.name, tensor, DType::i64);
  }
  CheckFloating(kFunction, argument.name, tensor);
  if (!is_known_) {
    is_known_ = true;
    dtype_ = tensor.dtype;
    dtype_from_ = &argument;
    return;
  }
  if (tensor.dtype == dtype_) return;
  if (!is_parsed && IsHalf(dtype_) && tensor.dtype == DType::f32) return;
  ThrowInvalid(kFunction, argument.name, Text(DTypeName(dtype_), " as ", dtype_from_->name),
               DTypeName(tensor.dtype));
}

void Arrays::CheckIndices(const ReductionArgument& argument, const Tensor& tensor) const {
  const std::int64_t size =
      SizeOf(argument.index == FormulaIndex::i ? FormulaIndex::j : FormulaIndex::i).value;
  const std::size_t rank = tensor.shape.size();
  if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) return;
  std::vector<std::int64_t> index(rank, 0);
  const auto* element = static_cast<const std::int64_t*>(tensor.data);
  for (std::size_t axis = 0; axis != rank + 1;) {
    if (*element < -1 || *element >= size) {
      ThrowInvalid(kFunction, argument.name, Text("indices from -1 to ", size - 1),
                   std::to_string(*element));
    }
    // The next one, last axis first; past the first axis there is none.
    for (axis = 1; axis <= rank; ++axis) {
      const std::size_t k = rank - axis;
      element += tensor.strides[k];
      if (++index[k] < tensor.shape[k]) break;
      element -= tensor.strides[k] * tensor.shape[k];
      index[k] = 0;
    }
  }
}

void Arrays::CheckOutput(const std::string& name, const ReductionOutput& output,
                         const Tensor& tensor) const {
  std::vector<std::int64_t> shape(batch_.rbegin(), batch_.rend());
  if (output.index != FormulaIndex::parameter) shape.push_back(SizeOf(output.index).value);
  if (output.count != 0) shape.push_back(output.count);
  shape.push_back(output.dim);
  CheckShape(kFunction, name, tensor, shape);
  CheckOutputs(kFunction, {{name, &tensor}});
  if (output.integer) return logsum::CheckDType(kFunction, name, tensor, DType::i64);
  CheckFloating(kFunction, name, tensor);
  if (!is_known_ || tensor.dtype == dtype_) return;
  if (IsHalf(dtype_) && tensor.dtype == DType::f32) return;
  ThrowInvalid(kFunction, name, Text(DTypeName(dtype_), " as ", dtype_from_->name),
               DTypeName(tensor.dtype));
}

void Arrays::CheckIndexTerms(const Reduction::Body& body) const {
  constexpr std::int64_t kExact = std::int64_t{1} << 24;
  if (!body.program->UsesIndices() || std::max(rows_.value, columns_.value) <= kExact) return;
  const bool is_double =
      std::ranges::any_of(slots_, [](const Tensor& tensor) { return tensor.dtype == DType::f64; });
  if (is_double) return;
  ThrowInvalid(kFunction, "formula",
               "float64 arguments where i, j, M or N exceed 2^24, which float32 cannot count",
               Text("M = ", rows_.value, ", N = ", columns_.value));
}

void Arrays::Split(const Tensor& tensor, std::int64_t count, std::vector<Tensor>& parts) {
  if (count == 0) {
    parts.push_back(tensor);
    return;
  }
  const std::size_t axis = tensor.shape.size() - 2;
  const auto without = [&](std::span<const std::int64_t> values) -> std::span<const std::int64_t> {
    std::vector<std::int64_t>& kept = layouts_.emplace_back(values.begin(), values.end());
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(axis));
    return kept;
  };
  Tensor part = tensor;
  part.shape = without(tensor.shape);
  part.strides = without(tensor.strides);
  const std::int64_t step =
      tensor.strides[axis] * static_cast<std::int64_t>(logsum::SizeOf(tensor.dtype));
  for (std::int64_t k = 0; k < count; ++k) {
    parts.push_back(part);
    if (tensor.data != nullptr) parts.back().data = static_cast<char*>(tensor.data) + k * step;
  }
}

}  // namespace logsum::reduce

namespace logsum {

void Reduction::run(std::span<const Tensor> arguments, std::span<Tensor> outputs,
                    Context context) const {
  reduce::Arrays arrays(*body_, arguments, outputs);
  reduce::Run(*body_->program, *body_, arrays.Slots(), arrays.Targets(), context);
}

}  // namespace logsum
