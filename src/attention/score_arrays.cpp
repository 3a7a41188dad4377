#include "attention/score_arrays.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::attend {
namespace {

constexpr std::string_view kFunction = "attention";

// The least and the largest element of an array that has some.
template <class Integer>
std::pair<std::int64_t, std::int64_t> Range(const Tensor& array) {
  const std::size_t rank = array.shape.size();
  std::vector<std::int64_t> index(rank, 0);
  const auto* line = static_cast<const Integer*>(array.data);
  const std::int64_t count = rank == 0 ? 1 : array.shape[rank - 1];
  const std::int64_t step = rank == 0 ? 0 : array.strides[rank - 1];
  Integer least = *line, largest = *line;
  while (true) {
    for (std::int64_t k = 0; k < count; ++k) {
      least = std::min(least, line[k * step]);
      largest = std::max(largest, line[k * step]);
    }
    // The next line, last axis first; past the first axis there is none.
    std::size_t axis = 2;
    for (; axis <= rank; ++axis) {
      const std::size_t at = rank - axis;
      line += array.strides[at];
      if (++index[at] < array.shape[at]) break;
      line -= array.strides[at] * array.shape[at];
      index[at] = 0;
    }
    if (axis > rank) return {least, largest};
  }
}

void CheckRange(const std::string& name, const Tensor& array, bool is_double) {
  if (std::ranges::find(array.shape, 0) != array.shape.end()) return;
  const auto [least, largest] =
      array.dtype == DType::i32 ? Range<std::int32_t>(array) : Range<std::int64_t>(array);
  const int digits = is_double ? 53 : 24;
  const std::int64_t bound = std::int64_t{1} << digits;
  if (least >= -bound && largest <= bound) return;
  ThrowInvalid(kFunction, name,
               Text("integers of at most 2^", digits, " in size, which ",
                    is_double ? "float64" : "float32", " holds exactly"),
               Text(largest > bound ? largest : least));
}

}  // namespace

void CheckScoreArray(const ArrayShape& shape, const Tensor& array, const Problem& problem) {
  const std::string name = Text("score_args: ", shape.name);
  CheckTensor(kFunction, name, array);
  if (array.dtype == DType::i32 || array.dtype == DType::i64) {
    return CheckRange(name, array, problem.is_double);
  }
  if (array.dtype == DType::boolean || array.dtype == problem.q.dtype) return;
  if (array.dtype == DType::f32 && !problem.is_double) return;
  const std::string_view wide =
      problem.q.dtype == DType::f16 || problem.q.dtype == DType::bf16 ? ", float32" : "";
  ThrowInvalid(kFunction, name,
               Text(DTypeName(problem.q.dtype), " as q", wide, ", int32, int64 or bool"),
               DTypeName(array.dtype));
}

View<4> ViewOf(const ArrayUse& use, const Tensor& array) {
  View<4> view{array.data, array.dtype, {}};
  for (std::size_t k = 0; k < use.axes.size(); ++k) {
    if (use.axes[k] != kRepeated) view.strides[use.axes[k]] = array.strides[k];
  }
  return view;
}

}  // namespace logsum::attend
