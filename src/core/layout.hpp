// The iteration space of a reduction: which axes are kept, which are reduced, and how every
// operand steps along them.
//
// Axes of one element are dropped, the others sorted so that the first operand's smallest step
// is innermost, and neighbours that every operand walks as one are merged. A contiguous array
// reduced over its last axes thus becomes one kept and one reduced axis, whatever its rank was.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "logsum/tensor.hpp"

namespace logsum {

inline constexpr int kMaxOperands = 9;

struct Axis {
  std::int64_t size = 1;
  std::array<std::int64_t, kMaxOperands> stride{};  // elements, one for each operand
};

// Up to Tensor::max_axes axes, outermost first.
class AxisList {
 public:
  void Append(const Axis& axis) { axes_[count_++] = axis; }
  void SortAndMerge(int num_operands);

  std::int64_t NumElements() const;
  bool IsEmpty() const { return count_ == 0; }
  // The innermost axis; one of size 1 when there is none.
  Axis Inner() const { return count_ == 0 ? Axis{} : axes_[count_ - 1]; }
  std::span<const Axis> View() const { return {axes_.data(), count_}; }

  // Where element `index` (row major over the list) of an operand lies. Index 0 is where the
  // operand begins, even if the list holds no element: an axis of size 0 must not be divided by.
  std::int64_t Offset(std::int64_t index, int operand) const {
    std::int64_t offset = 0;
    for (std::size_t i = count_; index != 0 && i-- > 0;) {
      offset += (index % axes_[i].size) * axes_[i].stride[static_cast<std::size_t>(operand)];
      index /= axes_[i].size;
    }
    return offset;
  }

 private:
  std::array<Axis, Tensor::max_axes> axes_{};
  std::size_t count_ = 0;
};

// An operand of an operation over a full shape: null for none. An operand that lacks the reduced
// axes (or has them with size 1) does not move along them.
struct OperandView {
  const Tensor* tensor = nullptr;
  bool lacks_reduced_axes = false;
};

struct IterationSpace {
  AxisList kept, reduced;
  std::int64_t num_kept = 0, num_reduced = 0;
};

// `shape` is the full shape, is_reduced says which of its axes are reduced; every operand's own
// shape has been checked against them.
IterationSpace MakeIterationSpace(std::span<const std::int64_t> shape,
                                  std::span<const bool> is_reduced,
                                  std::span<const OperandView> operands);

}  // namespace logsum
