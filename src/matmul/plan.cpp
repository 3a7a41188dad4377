#include "matmul/plan.hpp"

#include <array>
#include <cstddef>

namespace logsum::matmul {
namespace {

using Axes = std::vector<std::size_t>;  // batch axes, by number

// The stride of `tensor` along axis `axis` of `batch`, zero where it has none or repeats.
std::int64_t BatchStride(const Tensor& tensor, std::span<const std::int64_t> batch,
                         std::size_t axis) {
  const std::size_t own = tensor.shape.size() - 2;
  const std::size_t missing = batch.size() - own;
  if (axis < missing || tensor.shape[axis - missing] == 1) return 0;
  return tensor.strides[axis - missing];
}

bool Varies(const OperandTensors& operand, std::span<const std::int64_t> batch, std::size_t axis) {
  for (const Tensor* const tensor : {operand.value, operand.residual, operand.weight}) {
    if (tensor != nullptr && BatchStride(*tensor, batch, axis) != 0) return true;
  }
  return false;
}

// Whether `tensor` has batch axis `axis` as more than a repetition, by shape.
bool Has(const Tensor& tensor, std::span<const std::int64_t> batch, std::size_t axis) {
  const std::size_t missing = batch.size() - (tensor.shape.size() - 2);
  return axis >= missing && tensor.shape[axis - missing] == batch[axis];
}

struct Roles {
  std::span<const std::int64_t> shape;
  Axes batch{}, rows{}, columns{}, depth{};

  Offsets Along(const Tensor& tensor, const Axes& axes) const { return Along(tensor, axes, 1, 0); }
  Offsets Along(const Tensor& tensor, const Axes& axes, std::int64_t size,
                std::int64_t stride) const {
    std::vector<Offsets::Step> steps;
    for (const std::size_t axis : axes) {
      steps.push_back({shape[axis], BatchStride(tensor, shape, axis)});
    }
    steps.push_back({size, stride});
    return Offsets(steps);
  }
  std::int64_t Count(const Axes& axes) const {
    std::int64_t count = 1;
    for (const std::size_t axis : axes) count *= shape[axis];
    return count;
  }
};

Source MakeSource(const Tensor* tensor, const Roles& roles, const Axes& outer, const Axes& inner,
                  bool transposed) {
  if (tensor == nullptr) return {};
  const std::size_t last = tensor->shape.size() - 1;
  const std::size_t outer_axis = transposed ? last : last - 1;
  const std::size_t inner_axis = transposed ? last - 1 : last;
  return {tensor->data, tensor->dtype, roles.Along(*tensor, roles.batch),
          roles.Along(*tensor, outer, tensor->shape[outer_axis], tensor->strides[outer_axis]),
          roles.Along(*tensor, inner, tensor->shape[inner_axis], tensor->strides[inner_axis])};
}

Operand MakeOperand(const OperandTensors& tensors, const Roles& roles, const Axes& outer,
                    const Axes& inner) {
  const auto source = [&](const Tensor* tensor) {
    return MakeSource(tensor, roles, outer, inner, tensors.transposed);
  };
  return {source(tensors.value), source(tensors.residual), source(tensors.weight), tensors.negated};
}

std::int64_t SizeAt(const Tensor& tensor, bool last) {
  return tensor.shape[tensor.shape.size() - (last ? 1 : 2)];
}

}  // namespace

Offsets::Offsets(std::span<const Step> axes) {
  // Axes of one element are no axes; neighbours that step as one are merged.
  std::vector<Step> merged;
  std::int64_t count = 1;
  for (const Step& axis : axes) {
    count *= axis.size;
    if (axis.size == 1) continue;
    if (!merged.empty() && merged.back().stride == axis.stride * axis.size) {
      merged.back() = {merged.back().size * axis.size, axis.stride};
    } else {
      merged.push_back(axis);
    }
  }
  if (merged.size() == 1) stride_ = merged[0].stride;
  if (merged.size() < 2 || count == 0) return;
  table_ = {0};
  table_.reserve(static_cast<std::size_t>(count));
  for (const Step& axis : merged) {
    std::vector<std::int64_t> next;
    next.reserve(table_.size() * static_cast<std::size_t>(axis.size));
    for (const std::int64_t base : table_) {
      for (std::int64_t i = 0; i < axis.size; ++i) next.push_back(base + i * axis.stride);
    }
    table_ = std::move(next);
  }
}

Plan MakePlan(std::span<const std::int64_t> batch, const OperandTensors& left,
              const OperandTensors& right, const OperandTensors& target,
              const OutputTensors& outputs) {
  Roles roles{.shape = batch};
  for (std::size_t axis = 0; axis < batch.size(); ++axis) {
    if (batch[axis] == 1) continue;
    const bool in_left = Varies(left, batch, axis), in_right = Varies(right, batch, axis);
    Axes& role = !Has(*outputs.out, batch, axis) ? roles.depth
                 : in_left && in_right           ? roles.batch
                 : in_right                      ? roles.columns
                                                 : roles.rows;
    role.push_back(axis);
  }
  Plan plan;
  plan.batch = roles.Count(roles.batch);
  plan.rows = roles.Count(roles.rows) * SizeAt(*left.value, left.transposed);
  plan.depth = roles.Count(roles.depth) * SizeAt(*left.value, !left.transposed);
  plan.columns = roles.Count(roles.columns) * SizeAt(*right.value, right.transposed);
  plan.left = MakeOperand(left, roles, roles.rows, roles.depth);
  plan.right = MakeOperand(right, roles, roles.columns, roles.depth);
  plan.target = MakeOperand(target, roles, roles.rows, roles.columns);
  const auto output = [&](const Tensor* tensor) {
    return MakeSource(tensor, roles, roles.rows, roles.columns, target.transposed);
  };
  plan.out = output(outputs.out);
  plan.bound = output(outputs.bound);
  plan.argmax = output(outputs.argmax);
  plan.residual = output(outputs.residual);
  plan.is_mean = target.value != nullptr;
  return plan;
}

}  // namespace logsum::matmul
