#include "reduce/bind.hpp"

#include <algorithm>
#include <cstddef>

#include "core/dtype.hpp"

namespace logsum::reduce {
namespace {

// Axes that are not the batch's.
std::size_t OwnAxes(FormulaIndex index) { return index == FormulaIndex::parameter ? 1 : 2; }

}  // namespace

Binding::Binding(const Reduction::Body& body, std::span<const Tensor> arguments,
                 std::span<const Tensor> outputs)
    : body_(body), arguments_(arguments), outputs_(outputs) {
  const auto see = [&](const Tensor& tensor, FormulaIndex index, std::size_t own) {
    const std::size_t axes = tensor.shape.size() - own;
    if (index == FormulaIndex::i) num_rows_ = tensor.shape[axes];
    if (index == FormulaIndex::j) num_columns_ = tensor.shape[axes];
    is_double_ |= tensor.dtype == DType::f64;
    if (axes > batch_.size()) batch_.insert(batch_.begin(), axes - batch_.size(), 1);
    for (std::size_t i = 0; i < axes; ++i) {
      std::int64_t& size = batch_[batch_.size() - axes + i];
      if (size == 1) size = tensor.shape[i];
    }
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    see(arguments[i], body.slots[i].index, OwnAxes(body.slots[i].index));
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Group& group = body.groups[static_cast<std::size_t>(body.targets[i].group)];
    const std::size_t own = OwnAxes(group.kept) + (group.fold == Fold::kmin ? 1 : 0);
    see(outputs[i], group.kept, own);
    batch_axes_.push_back(outputs[i].shape.size() - own);
  }
}

std::int64_t Binding::NumEntries() const {
  std::int64_t entries = 1;
  for (const std::int64_t size : batch_) entries *= size;
  return entries;
}

std::int64_t Binding::Offset(const Tensor& tensor, std::size_t batch_axes,
                             std::int64_t entry) const {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    const std::int64_t size = batch_[batch_.size() - 1 - i];
    if (i < batch_axes && tensor.shape[batch_axes - 1 - i] != 1) {
      offset += entry % size * tensor.strides[batch_axes - 1 - i];
    }
    entry /= size;
  }
  return offset;
}

void Binding::ArgumentsOf(std::int64_t entry, std::vector<ArgumentView>& views) const {
  views.clear();
  for (std::size_t i = 0; i < arguments_.size(); ++i) {
    const Tensor& tensor = arguments_[i];
    const std::size_t own = OwnAxes(body_.slots[i].index), rank = tensor.shape.size();
    const std::int64_t offset = Offset(tensor, rank - own, entry);
    views.push_back({static_cast<const std::byte*>(tensor.data) +
                         offset * static_cast<std::int64_t>(SizeOf(tensor.dtype)),
                     tensor.dtype, own == 2 ? tensor.strides[rank - 2] : 0,
                     tensor.strides[rank - 1]});
  }
}

FoldOutput Binding::OutputOf(std::int64_t entry, std::size_t target, std::int64_t begin) const {
  const Tensor& tensor = outputs_[target];
  const Target& wanted = body_.targets[target];
  const Group& group = body_.groups[static_cast<std::size_t>(wanted.group)];
  const std::size_t axes = batch_axes_[target], rank = tensor.shape.size();
  FoldOutput output;
  output.dtype = output.value_dtype = tensor.dtype;
  output.component = tensor.strides[rank - 1];
  if (group.kept != FormulaIndex::parameter) output.kept = tensor.strides[axes];
  if (group.fold == Fold::kmin) output.count = tensor.strides[rank - 2];
  const std::int64_t offset = Offset(tensor, axes, entry) + begin * output.kept;
  output.data = static_cast<std::byte*>(tensor.data) +
                offset * static_cast<std::int64_t>(SizeOf(tensor.dtype));
  if (wanted.result == Result::residual) {
    const Result value = group.fold == Fold::softmax_weight ? Result::lse : Result::value;
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (body_.targets[i].group == wanted.group && body_.targets[i].result == value) {
        output.value_dtype = outputs_[i].dtype;
      }
    }
  }
  return output;
}

}  // namespace logsum::reduce
