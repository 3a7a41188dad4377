// Arguments and outputs of a call, batch entry by batch entry.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "logsum/tensor.hpp"
#include "reduce/body.hpp"
#include "reduce/fold.hpp"
#include "reduce/pack.hpp"

namespace logsum::reduce {

class Binding {
 public:
  Binding(const Reduction::Body& body, std::span<const Tensor> arguments,
          std::span<const Tensor> outputs);

  std::int64_t NumRows() const { return num_rows_; }
  std::int64_t NumColumns() const { return num_columns_; }
  std::int64_t NumEntries() const;
  bool IsDouble() const { return is_double_; }

  void ArgumentsOf(std::int64_t entry, std::vector<ArgumentView>& views) const;
  // The output of a target, from kept index `begin` on.
  FoldOutput OutputOf(std::int64_t entry, std::size_t target, std::int64_t begin) const;
  std::span<const Target> Targets() const { return body_.targets; }

 private:
  std::int64_t Offset(const Tensor& tensor, std::size_t batch_axes, std::int64_t entry) const;

  const Reduction::Body& body_;
  std::span<const Tensor> arguments_, outputs_;
  std::vector<std::int64_t> batch_;
  std::vector<std::size_t> batch_axes_;  // of each output
  std::int64_t num_rows_ = 1, num_columns_ = 1;
  bool is_double_ = false;
};

}  // namespace logsum::reduce
