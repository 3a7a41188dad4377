// Attention over keys that are not all in one place.
//
// A long context lies in two parts: pages of a cache, or machines. Attention over a part gives the
// mean of its values and the log-sum-exp of its scores, which is all that the other part needs to
// know: merging the two gives attention over everything.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <logsum/logsum.hpp>
#include <numeric>
#include <utility>
#include <vector>

namespace {

// An owning float32 array of four or three axes, and what logsum sees of it.
class Array {
 public:
  explicit Array(std::vector<std::int64_t> shape) : shape_(std::move(shape)), strides_(shape_) {
    std::int64_t count = 1;
    for (std::size_t axis = shape_.size(); axis-- > 0;) {
      strides_[axis] = count;
      count *= shape_[axis];
    }
    values.resize(static_cast<std::size_t>(count));
  }
  logsum::Tensor View() {
    return {
        .data = values.data(), .dtype = logsum::DType::f32, .shape = shape_, .strides = strides_};
  }
  // The rows [begin, begin + count) of axis 2, without a copy.
  logsum::Tensor Rows(std::int64_t begin, std::int64_t count) {
    part_shape_ = shape_;
    part_shape_[2] = count;
    logsum::Tensor part = View();
    part.data = values.data() + begin * strides_[2];
    part.shape = part_shape_;
    return part;
  }

  std::vector<float> values;

 private:
  std::vector<std::int64_t> shape_, part_shape_, strides_;
};

// Any numbers in [-1, 1).
void Fill(Array& array) {
  static std::uint32_t state = 1;
  for (float& value : array.values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1;
  }
}

float LargestDifference(const Array& a, const Array& b) {
  float largest = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    largest = std::max(largest, std::fabs(a.values[i] - b.values[i]));
  }
  return largest;
}

}  // namespace

int main() {
  // Two heads, three queries, a thousand keys; eight components.
  constexpr std::int64_t kHeads = 2, kQueries = 3, kKeys = 1000, kDim = 8, kFirst = 300;
  Array q({1, kHeads, kQueries, kDim}), k({1, kHeads, kKeys, kDim}), v({1, kHeads, kKeys, kDim});
  for (Array* const array : {&q, &k, &v}) Fill(*array);

  Array out({1, kHeads, kQueries, kDim}), lse({1, kHeads, kQueries});
  logsum::Tensor out_view = out.View(), lse_view = lse.View();
  logsum::attention(q.View(), k.View(), v.View(), {}, out_view, lse_view);
  std::cout << "log of the sum of exp(scores):";
  for (std::size_t i = 0; i < kQueries; ++i) std::cout << " " << lse.values[i];
  std::cout << "\n";

  // The first keys, then the others.
  Array out_a = out, lse_a = lse, out_b = out, lse_b = lse, merged = out, merged_lse = lse;
  std::array outs = {out_a.View(), out_b.View()}, sums = {lse_a.View(), lse_b.View()};
  logsum::attention(q.View(), k.Rows(0, kFirst), v.Rows(0, kFirst), {}, outs[0], sums[0]);
  logsum::attention(q.View(), k.Rows(kFirst, kKeys - kFirst), v.Rows(kFirst, kKeys - kFirst), {},
                    outs[1], sums[1]);
  logsum::Tensor merged_view = merged.View(), merged_lse_view = merged_lse.View();
  logsum::merge(sums, outs, merged_lse_view, &merged_view);
  std::cout << "in two parts, difference of the means: " << LargestDifference(out, merged) << "\n"
            << "in two parts, difference of the logs: " << LargestDifference(lse, merged_lse)
            << "\n";

  // Each query sees itself and the two keys before it; the gradient of the sum of all lse with
  // respect to k is what attention pays to each key. Keys that no query sees get nothing.
  const logsum::AttentionOptions options = {
      .causal = logsum::AttentionOptions::Causal::bottom_right, .window_left = 2};
  logsum::attention(q.View(), k.View(), v.View(), {}, out_view, lse_view, options);
  Array grad_out = out, grad_lse = lse, grad_k = k;
  std::fill(grad_out.values.begin(), grad_out.values.end(), 0.0f);
  std::fill(grad_lse.values.begin(), grad_lse.values.end(), 1.0f);
  const logsum::Tensor grad_lse_view = grad_lse.View();
  logsum::Tensor grad_k_view = grad_k.View();
  logsum::AttentionGradients gradients;
  gradients.k = &grad_k_view;
  logsum::attention_backward(grad_out.View(), &grad_lse_view, q.View(), k.View(), v.View(), {},
                             out_view, lse_view, gradients, options);
  std::int64_t seen = 0;
  for (std::int64_t j = 0; j < kKeys; ++j) {
    const auto row = grad_k.values.begin() + j * kDim;
    seen += std::any_of(row, row + kDim, [](float x) { return x != 0; });
  }
  std::cout << "keys that the first head looks at: " << seen << "\n";

  // How that sum moves when the keys move along a direction: by the gradient's product with it, or,
  // forward, in one pass that makes no gradient.
  Array direction = k, lse_tangent = lse;
  Fill(direction);
  const logsum::Tensor direction_view = direction.View();
  logsum::Tensor lse_tangent_view = lse_tangent.View();
  logsum::AttentionTangents tangents;
  tangents.k = &direction_view;
  logsum::attention_tangent(q.View(), k.View(), v.View(), {}, out_view, lse_view, tangents, nullptr,
                            &lse_tangent_view, options);
  const float forward = std::reduce(lse_tangent.values.begin(), lse_tangent.values.end());
  const float reverse = std::transform_reduce(grad_k.values.begin(), grad_k.values.end(),
                                              direction.values.begin(), 0.0f);
  std::cout << "forward and reverse mode, difference: " << std::fabs(forward - reverse) << "\n";
}
