// What the functions of attention.hpp check, and the Problem that a checked call is.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "attention/backward.hpp"
#include "attention/problem.hpp"
#include "attention/score.hpp"
#include "attention/tangent.hpp"
#include "logsum/attention.hpp"

namespace logsum::attend {

// The arguments that all functions have. Throws std::invalid_argument where they do not fit.
class Arguments {
 public:
  Arguments(std::string_view function, const Tensor& q, const Tensor& k, const Tensor& v,
            const AttentionArrays& arrays, const Tensor& out, const Tensor& lse,
            const AttentionOptions& options);

  const Problem& problem() const { return problem_; }

  std::string_view function() const { return function_; }

  // With cotangents of the results, the second of which may be null, and no gradient wanted.
  Gradients Cotangents(const Tensor& grad_out, const Tensor* grad_lse) const;
  // Each may be null.
  ResultTangents TangentsOfResults(const Tensor* out_tangent, const Tensor* lse_tangent) const;
  // That a gradient's or a tangent's shape is that of its array, and its dtype the array's or the
  // arithmetic's.
  void CheckCounterpart(std::string_view argument, const Tensor& counterpart,
                        const Tensor& array) const;

 private:
  void SetSizes(const Tensor& q, const Tensor& k, const Tensor& v);
  void SetOptions(const AttentionOptions& options);
  void SetArrays(const AttentionArrays& arrays);
  void SetScore(const AttentionArrays& arrays, std::string_view formula);
  View<4> LikeOut(std::string_view argument, const Tensor& tensor) const;
  View<3> LikeLse(std::string_view argument, const Tensor& tensor) const;
  // q's dtype, or that of the arithmetic.
  void CheckBesideQ(std::string_view argument, const Tensor& tensor) const;
  View<4> Broadcast(std::string_view argument, const Tensor& tensor) const;

  std::string_view function_;
  Problem problem_;
  std::unique_ptr<const Score> score_;  // where problem_ points
};

// `tensor`, whose sizes fit, as a view with all axes: aligned at the right, stride 0 where an axis
// is missing or repeated.
template <int kAxes>
View<kAxes> BroadcastView(const Tensor& tensor) {
  View<kAxes> view{.data = tensor.data, .dtype = tensor.dtype};
  const std::size_t rank = tensor.shape.size(), first = kAxes - rank;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    view.strides[first + axis] = tensor.shape[axis] == 1 ? 0 : tensor.strides[axis];
  }
  return view;
}

// The same for rows of components: one component counts as contiguous.
View<4> RowView(const Tensor& tensor);

}  // namespace logsum::attend
