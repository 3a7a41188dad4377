// What all functions of scan.hpp check, and the shapes that they agree on.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "logsum/scan.hpp"
#include "logsum/tensor.hpp"
#include "scan/graph.hpp"

namespace logsum::scan {

// An operand of N sequences, step by step: element (t, n, i) lies at
// data + t * step + n * sequence + Offset(i). A null one has no data.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f64;
  std::int64_t step = 0, sequence = 0;
  // Where element i lies: i / width * outer + i % width * inner.
  std::int64_t width = 1, outer = 0, inner = 0;

  bool Exists() const { return data != nullptr; }
  bool IsRun() const { return width == 1 ? outer == 1 : inner == 1 && outer == width; }
  std::int64_t Offset(std::int64_t i) const { return i / width * outer + i % width * inner; }
  std::int64_t At(std::int64_t t, std::int64_t n) const { return t * step + n * sequence; }
};

// The shapes T, N, C and E of a scan. Throws std::invalid_argument where operands do not fit.
class ScanShape {
 public:
  // Ms decides T and N. lengths may be null.
  ScanShape(std::string_view function, const Tensor& Ms, const Graph& graph, const Tensor* lengths);

  std::int64_t T() const { return num_steps_; }
  std::int64_t N() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t C() const { return arcs_.num_states; }
  std::int64_t E() const { return arcs_.num_slots; }
  const Graph::Arcs& Arcs() const { return arcs_; }
  const std::vector<std::int64_t>& Lengths() const { return lengths_; }
  const Operand& Ms() const { return Ms_; }

  // Views of operands once checked: of Ms' shape, of (N, C), of (T + 1, N, C), of (N,), (T, N) and
  // (T + 1, N). A null tensor gives a null operand.
  Operand LikeMs(std::string_view argument, const Tensor* tensor) const;
  Operand States(std::string_view argument, const Tensor* tensor) const;
  Operand Weights(std::string_view argument, const Tensor& tensor) const;  // states, Ms' dtype
  Operand Scores(std::string_view argument, const Tensor* tensor) const;
  Operand Sequences(std::string_view argument, const Tensor* tensor) const;
  Operand Steps(std::string_view argument, const Tensor* tensor, std::int64_t steps) const;

  // Ms' dtype; f64 for f64 and f32 for others; Ms' dtype or f32; i64.
  void CheckSame(std::string_view argument, const Tensor* tensor) const;
  void CheckScore(std::string_view argument, const Tensor* tensor) const;
  void CheckWide(std::string_view argument, const Tensor* tensor) const;
  void CheckIndex(std::string_view argument, const Tensor* tensor) const;

 private:
  std::string_view function_;
  const Graph::Arcs& arcs_;
  std::int64_t num_steps_ = 0;
  bool by_state_ = false;  // Ms is (T, N, C, nz)
  Operand Ms_;
  std::vector<std::int64_t> lengths_;
};

// -1, 0 or an interval.
void CheckCheckpoint(std::string_view function, std::int64_t checkpoint);

}  // namespace logsum::scan
