// What a product works on: which axes of its operands are batch, row, column and depth.
//
// Forward, and every mean that a derivative is made of, is one contraction
//
//   out[x, z] = sum over y of left[x, y] right[y, z]
//
// of exponentials, so one plan serves them all: the forward product has (x, y, z) = (i, k, j), the
// mean over columns (i, j, k), over rows (k, i, j). A batch axis that only one operand has joins
// that operand's outer index instead, and one that the output lacks joins the depth: batch
// broadcasting then copies nothing, and a shared operand is packed once.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum::matmul {

// Where the elements of one composite index lie: a stride where they are evenly spaced, which they
// nearly always are, else a table.
class Offsets {
 public:
  struct Step {
    std::int64_t size, stride;
  };

  Offsets() = default;
  // Row-major over `axes`, outermost first.
  explicit Offsets(std::span<const Step> axes);

  std::int64_t operator()(std::int64_t index) const {
    return table_.empty() ? index * stride_ : table_[static_cast<std::size_t>(index)];
  }
  bool IsRun() const { return table_.empty() && stride_ == 1; }
  bool IsEven() const { return table_.empty(); }
  std::int64_t Stride() const { return stride_; }  // where IsEven()

 private:
  std::int64_t stride_ = 0;
  std::vector<std::int64_t> table_;
};

// A matrix for every batch entry, in memory.
struct Source {
  void* data = nullptr;
  DType dtype = DType::f32;
  Offsets batch, outer, inner;

  bool Exists() const { return data != nullptr; }
  std::int64_t At(std::int64_t b, std::int64_t o, std::int64_t i) const {
    return batch(b) + outer(o) + inner(i);
  }
};

// Logarithms, what their rounding took (only of C), and real weights.
struct Operand {
  Source value, residual, weight;
  bool negated = false;  // C, which divides
};

struct Plan {
  std::int64_t batch = 1, rows = 1, columns = 1, depth = 1;
  Operand left;                         // outer: rows, inner: depth
  Operand right;                        // outer: columns, inner: depth
  Operand target;                       // outer: rows, inner: columns; of a mean only
  Source out, bound, argmax, residual;  // like target
  bool is_mean = false;

  bool HasOutput() const { return batch > 0 && rows > 0 && columns > 0; }
};

constexpr std::int64_t CeilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// A part [begin, begin + count) of a composite index.
struct Span {
  std::int64_t begin, count;
};

// A tile of the output.
struct Tile {
  std::int64_t batch;
  Span rows, columns;
};

// The tensors of one operand, any but `value` null, as (..., outer, inner) or with `transposed`
// (..., inner, outer).
struct OperandTensors {
  const Tensor* value = nullptr;
  const Tensor* residual = nullptr;
  const Tensor* weight = nullptr;
  bool negated = false;
  bool transposed = false;
};

struct OutputTensors {
  Tensor* out = nullptr;
  Tensor* bound = nullptr;
  Tensor* argmax = nullptr;
  Tensor* residual = nullptr;
};

// `target` has no value in a forward product. All shapes have been checked, and `batch` is their
// common batch shape.
Plan MakePlan(std::span<const std::int64_t> batch, const OperandTensors& left,
              const OperandTensors& right, const OperandTensors& target,
              const OutputTensors& outputs);

}  // namespace logsum::matmul
