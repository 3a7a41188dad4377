#include "core/layout.hpp"

#include <algorithm>
#include <cstdlib>

namespace logsum {
namespace {

bool WalkAsOne(const Axis& outer, const Axis& inner, int num_operands) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(num_operands); ++i) {
    if (outer.stride[i] != inner.stride[i] * inner.size) return false;
  }
  return true;
}

}  // namespace

void AxisList::SortAndMerge(int num_operands) {
  std::stable_sort(
      axes_.begin(), axes_.begin() + static_cast<std::ptrdiff_t>(count_),
      [](const Axis& a, const Axis& b) { return std::abs(a.stride[0]) > std::abs(b.stride[0]); });
  std::size_t merged = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (merged > 0 && WalkAsOne(axes_[merged - 1], axes_[i], num_operands)) {
      axes_[i].size *= axes_[merged - 1].size;
      axes_[merged - 1] = axes_[i];
    } else {
      axes_[merged++] = axes_[i];
    }
  }
  count_ = merged;
}

std::int64_t AxisList::NumElements() const {
  std::int64_t count = 1;
  for (const Axis& axis : View()) count *= axis.size;
  return count;
}

IterationSpace MakeIterationSpace(std::span<const std::int64_t> shape,
                                  std::span<const bool> is_reduced,
                                  std::span<const OperandView> operands) {
  IterationSpace space;
  std::size_t kept_before = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    Axis axis{.size = shape[i]};
    for (std::size_t o = 0; o < operands.size(); ++o) {
      const Tensor* const tensor = operands[o].tensor;
      if (tensor == nullptr) continue;
      if (!operands[o].lacks_reduced_axes) {
        axis.stride[o] = tensor->strides[i];
      } else if (!is_reduced[i]) {
        const bool keeps_rank = tensor->shape.size() == shape.size();
        axis.stride[o] = tensor->strides[keeps_rank ? i : kept_before];
      }
    }
    if (!is_reduced[i]) ++kept_before;
    if (shape[i] != 1) (is_reduced[i] ? space.reduced : space.kept).Append(axis);
  }
  const int num_operands = static_cast<int>(operands.size());
  space.kept.SortAndMerge(num_operands);
  space.reduced.SortAndMerge(num_operands);
  space.num_kept = space.kept.NumElements();
  space.num_reduced = space.reduced.NumElements();
  return space;
}

}  // namespace logsum
