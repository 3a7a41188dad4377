#include "scan/arguments.hpp"

#include <array>
#include <string>

#include "core/errors.hpp"
#include "scan/lengths.hpp"

namespace logsum::scan {
namespace {

Operand View(const Tensor& tensor, std::int64_t step, std::int64_t sequence) {
  return {.data = tensor.data, .dtype = tensor.dtype, .step = step, .sequence = sequence};
}

}  // namespace

void CheckCheckpoint(std::string_view function, std::int64_t checkpoint) {
  if (checkpoint >= -1) return;
  ThrowInvalid(function, "checkpoint", "-1, 0 or an interval", std::to_string(checkpoint));
}

ScanShape::ScanShape(std::string_view function, const Tensor& Ms, const Graph& graph,
                     const Tensor* lengths)
    : function_(function), arcs_(graph.arcs()) {
  CheckTensor(function, "Ms", Ms);
  CheckFloating(function, "Ms", Ms);
  const std::size_t rank = Ms.shape.size();
  const bool by_slot = rank == 3 && Ms.shape[2] == E();
  by_state_ = rank == 4 && arcs_.is_index && Ms.shape[2] == C() && Ms.shape[3] == arcs_.width;
  if (!by_slot && !by_state_) {
    const std::string of_index = arcs_.is_index ? " or (T, N, " + std::to_string(C()) + ", " +
                                                      std::to_string(arcs_.width) + ")"
                                                : "";
    ThrowInvalid(function, "Ms", "shape (T, N, " + std::to_string(E()) + ")" + of_index,
                 ShapeString(Ms.shape));
  }
  num_steps_ = Ms.shape[0];
  const std::int64_t num_sequences = Ms.shape[1];
  lengths_.assign(static_cast<std::size_t>(num_sequences), num_steps_);
  if (lengths != nullptr) {
    lengths_ = ReadLengths(function, "lengths", *lengths, num_sequences, num_steps_);
  }
  Ms_ = LikeMs("Ms", &Ms);
}

Operand ScanShape::LikeMs(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return {};
  if (by_state_) {
    CheckShape(function_, argument, *tensor, std::array{num_steps_, N(), C(), arcs_.width});
  } else {
    CheckShape(function_, argument, *tensor, std::array{num_steps_, N(), E()});
  }
  Operand operand = View(*tensor, tensor->strides[0], tensor->strides[1]);
  operand.outer = tensor->strides[2];
  if (by_state_ && arcs_.width > 0) {
    operand.width = arcs_.width;
    operand.inner = tensor->strides[3];
  }
  return operand;
}

Operand ScanShape::States(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return {};
  CheckShape(function_, argument, *tensor, std::array{N(), C()});
  Operand operand = View(*tensor, 0, tensor->strides[0]);
  operand.outer = tensor->strides[1];
  return operand;
}

Operand ScanShape::Weights(std::string_view argument, const Tensor& tensor) const {
  CheckSame(argument, &tensor);
  return States(argument, &tensor);
}

Operand ScanShape::Scores(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return {};
  CheckShape(function_, argument, *tensor, std::array{num_steps_ + 1, N(), C()});
  Operand operand = View(*tensor, tensor->strides[0], tensor->strides[1]);
  operand.outer = tensor->strides[2];
  return operand;
}

Operand ScanShape::Sequences(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return {};
  CheckShape(function_, argument, *tensor, std::array{N()});
  return View(*tensor, 0, tensor->strides[0]);
}

Operand ScanShape::Steps(std::string_view argument, const Tensor* tensor,
                         std::int64_t steps) const {
  if (tensor == nullptr) return {};
  CheckShape(function_, argument, *tensor, std::array{steps, N()});
  return View(*tensor, tensor->strides[0], tensor->strides[1]);
}

void ScanShape::CheckSame(std::string_view argument, const Tensor* tensor) const {
  if (tensor != nullptr) CheckDType(function_, argument, *tensor, Ms_.dtype);
}

void ScanShape::CheckScore(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return;
  CheckDType(function_, argument, *tensor, Ms_.dtype == DType::f64 ? DType::f64 : DType::f32);
}

void ScanShape::CheckWide(std::string_view argument, const Tensor* tensor) const {
  if (tensor == nullptr) return;
  CheckFloating(function_, argument, *tensor);
  if (tensor->dtype != DType::f32 && tensor->dtype != DType::f64) {
    CheckDType(function_, argument, *tensor, Ms_.dtype);
  }
}

void ScanShape::CheckIndex(std::string_view argument, const Tensor* tensor) const {
  if (tensor != nullptr) CheckDType(function_, argument, *tensor, DType::i64);
}

}  // namespace logsum::scan
