// Merging partial results, on the mergeable state itself. The work is in the values, which are
// read once; the states are one number each.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "logsum/logsumexp.hpp"
#include "logsum/state.hpp"

namespace logsum {
namespace {

constexpr std::string_view kFunction = "merge";
constexpr std::int64_t kElementsPerTask = 8192;
constexpr std::size_t kColumnBlock = 256;

// Where row `row` (row major over the shape of the lse) of an operand begins.
std::int64_t RowOffset(const Tensor& tensor, std::size_t lse_rank, std::int64_t row) {
  std::int64_t offset = 0;
  for (std::size_t i = lse_rank; i-- > 0;) {
    offset += row % tensor.shape[i] * tensor.strides[i];
    row /= tensor.shape[i];
  }
  return offset;
}

double ReadLse(const Tensor& tensor, std::int64_t row) {
  return VisitFloating(tensor.dtype, [&](auto storage) -> double {
    using Storage = decltype(storage);
    return ToFloat(
        static_cast<const Storage*>(tensor.data)[RowOffset(tensor, tensor.shape.size(), row)]);
  });
}

void WriteLse(const Tensor& tensor, std::int64_t row, double value) {
  VisitFloating(tensor.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    static_cast<Storage*>(tensor.data)[RowOffset(tensor, tensor.shape.size(), row)] =
        FromDouble<Storage>(value);
  });
}

// The weight of a part in the merged mean; 0 where it must not be read.
double WeightOf(double lse, const State<double>& merged) {
  if (lse == -State<double>::infinity()) return 0;
  // Equal maxima, +inf among them, share without an exponential.
  return (lse == merged.m ? 1.0 : std::exp(lse - merged.m)) / merged.s;
}

void AddWeighted(const Tensor& out, std::int64_t row, std::int64_t first, std::int64_t count,
                 double weight, double* sums) {
  const std::size_t rank = out.shape.size() - 1;
  const std::int64_t step = out.strides[rank];
  VisitFloating(out.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    const Storage* const values =
        static_cast<const Storage*>(out.data) + RowOffset(out, rank, row) + first * step;
    for (std::int64_t i = 0; i < count; ++i) sums[i] += weight * ToFloat(values[i * step]);
  });
}

void WriteValues(const Tensor& out, std::int64_t row, std::int64_t first, std::int64_t count,
                 const double* sums) {
  const std::size_t rank = out.shape.size() - 1;
  const std::int64_t step = out.strides[rank];
  VisitFloating(out.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    Storage* const values =
        static_cast<Storage*>(out.data) + RowOffset(out, rank, row) + first * step;
    for (std::int64_t i = 0; i < count; ++i) values[i * step] = FromDouble<Storage>(sums[i]);
  });
}

void MergeRow(std::span<const Tensor> lse, std::span<const Tensor> out, std::int64_t row,
              Tensor& merged_lse, Tensor* merged_out) {
  State<double> merged;
  for (const Tensor& part : lse) merged.push(ReadLse(part, row));
  WriteLse(merged_lse, row, merged.value());
  if (merged_out == nullptr) return;
  const auto columns = merged_out->shape.back();
  for (std::int64_t first = 0; first < columns; first += std::int64_t{kColumnBlock}) {
    const std::int64_t count = std::min(columns - first, std::int64_t{kColumnBlock});
    std::array<double, kColumnBlock> sums{};
    for (std::size_t part = 0; part < lse.size(); ++part) {
      const double weight = WeightOf(ReadLse(lse[part], row), merged);
      if (weight != 0) AddWeighted(out[part], row, first, count, weight, sums.data());
    }
    WriteValues(*merged_out, row, first, count, sums.data());
  }
}

void Check(std::span<const Tensor> lse, std::span<const Tensor> out, const Tensor& merged_lse,
           const Tensor* merged_out) {
  if (lse.empty()) ThrowInvalid(kFunction, "lse", "at least one state", "none");
  if (out.size() != (merged_out == nullptr ? 0 : lse.size())) {
    ThrowInvalid(kFunction, "out",
                 merged_out == nullptr ? "none, as merged_out is null" : "one for each lse",
                 std::to_string(out.size()));
  }
  for (const Tensor& part : lse) {
    CheckFloating(kFunction, "lse", part);
    CheckShape(kFunction, "lse", part, lse[0].shape);
    CheckDType(kFunction, "lse", part, lse[0].dtype);
  }
  CheckShape(kFunction, "merged_lse", merged_lse, lse[0].shape);
  CheckFloating(kFunction, "merged_lse", merged_lse);
  if (merged_out == nullptr) return;

  CheckTensor(kFunction, "merged_out", *merged_out);
  const std::size_t rank = lse[0].shape.size();
  if (merged_out->shape.size() != rank + 1 ||
      !std::ranges::equal(merged_out->shape.first(rank), lse[0].shape)) {
    ThrowInvalid(kFunction, "merged_out",
                 "the shape of the lse, " + ShapeString(lse[0].shape) + ", and one more axis",
                 ShapeString(merged_out->shape));
  }
  for (const Tensor& part : out) {
    CheckFloating(kFunction, "out", part);
    CheckShape(kFunction, "out", part, merged_out->shape);
    CheckDType(kFunction, "out", part, out[0].dtype);
  }
  CheckDType(kFunction, "merged_out", *merged_out, out[0].dtype);
}

}  // namespace

void merge(std::span<const Tensor> lse, std::span<const Tensor> out, Tensor& merged_lse,
           Tensor* merged_out, Context context) {
  Check(lse, out, merged_lse, merged_out);
  CheckOutputs(kFunction, {{"merged_lse", &merged_lse}, {"merged_out", merged_out}});
  std::int64_t rows = 1;
  for (const std::int64_t size : lse[0].shape) rows *= size;
  const std::int64_t columns = merged_out == nullptr ? 1 : merged_out->shape.back();
  const std::int64_t work_per_row =
      static_cast<std::int64_t>(lse.size()) * std::max<std::int64_t>(columns, 1);
  const std::int64_t rows_per_task = std::max<std::int64_t>(kElementsPerTask / work_per_row, 1);
  const std::int64_t tasks = (rows + rows_per_task - 1) / rows_per_task;
  ParallelFor(tasks, context.threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(rows, (task + 1) * rows_per_task);
    for (std::int64_t row = task * rows_per_task; row < end; ++row) {
      MergeRow(lse, out, row, merged_lse, merged_out);
    }
  });
}

}  // namespace logsum
