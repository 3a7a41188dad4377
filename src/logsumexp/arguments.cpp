#include "logsumexp/arguments.hpp"

#include <algorithm>
#include <string>

#include "core/errors.hpp"

namespace logsum::reduction {

ReducedShape::ReducedShape(std::string_view function, const Tensor& a, std::span<const int> axes)
    : function_(function), a_(a) {
  CheckTensor(function, "a", a);
  CheckFloating(function, "a", a);
  const int rank = static_cast<int>(a.shape.size());
  for (const int axis : axes) {
    const int index = axis < 0 ? axis + rank : axis;
    if (index < 0 || index >= rank) {
      ThrowInvalid(function, "axes", "axes of an array with " + std::to_string(rank) + " axes",
                   std::to_string(axis));
    }
    bool& is_reduced = is_reduced_[static_cast<std::size_t>(index)];
    if (is_reduced)
      ThrowInvalid(function, "axes", "different axes", std::to_string(axis) + " twice");
    is_reduced = true;
  }
  for (std::size_t i = 0; i < a.shape.size(); ++i) {
    kept_one_[i] = is_reduced_[i] ? 1 : a.shape[i];
    if (!is_reduced_[i]) dropped_[dropped_rank_++] = a.shape[i];
  }
}

void ReducedShape::CheckFull(std::string_view argument, const Tensor& tensor) const {
  CheckShape(function_, argument, tensor, a_.shape);
}

void ReducedShape::CheckKept(std::string_view argument, const Tensor& tensor) const {
  CheckTensor(function_, argument, tensor);
  const std::span<const std::int64_t> kept_one(kept_one_.data(), a_.shape.size());
  if (std::ranges::equal(tensor.shape, kept_one)) return;
  CheckShape(function_, argument, tensor, {dropped_.data(), dropped_rank_});
}

void ReducedShape::CheckLse(std::string_view argument, const Tensor& tensor) const {
  CheckKept(argument, tensor);
  const bool is_half = a_.dtype == DType::f16 || a_.dtype == DType::bf16;
  if (is_half && tensor.dtype == DType::f32) return;
  CheckDType(function_, argument, tensor, a_.dtype);
}

}  // namespace logsum::reduction
