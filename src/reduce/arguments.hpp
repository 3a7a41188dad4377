// What run() checks before anything is computed, and the arrays as the engine wants them.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "logsum/tensor.hpp"
#include "reduce/body.hpp"

namespace logsum::reduce {

// Throws std::invalid_argument where arrays do not fit the reduction or one another.
class Arrays {
 public:
  Arrays(const Reduction::Body& body, std::span<const Tensor> arguments,
         std::span<const Tensor> outputs);

  std::span<const Tensor> Slots() const { return slots_; }  // one for each of body.slots
  std::span<Tensor> Targets() { return targets_; }          // one for each of body.targets

 private:
  struct Size {
    std::int64_t value = 1;
    const std::string* from = nullptr;  // the argument that it comes from
  };

  void CheckArgument(const ReductionArgument& argument, const Tensor& tensor);
  void CheckDType(const ReductionArgument& argument, const Tensor& tensor, bool is_parsed);
  void CheckIndices(const ReductionArgument& argument, const Tensor& tensor) const;
  void CheckOutput(const std::string& name, const ReductionOutput& output,
                   const Tensor& tensor) const;
  void CheckIndexTerms(const Reduction::Body& body) const;
  // What an argument's shape must be, for errors.
  std::string Expected(const ReductionArgument& argument) const;
  void Split(const Tensor& tensor, std::int64_t count, std::vector<Tensor>& parts);
  Size& SizeOf(FormulaIndex index) { return index == FormulaIndex::i ? rows_ : columns_; }
  const Size& SizeOf(FormulaIndex index) const {
    return index == FormulaIndex::i ? rows_ : columns_;
  }

  std::vector<Tensor> slots_, targets_;
  std::deque<std::vector<std::int64_t>> layouts_;  // of the parts of arrays of K results
  std::vector<std::int64_t> batch_;                // from the right
  std::vector<const std::string*> batch_from_;
  Size rows_, columns_;
  const ReductionArgument* dtype_from_ = nullptr;
  DType dtype_ = DType::f32;  // of the parsed arguments
  bool is_known_ = false;     // dtype_
};

}  // namespace logsum::reduce
