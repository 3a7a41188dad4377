#include <string>

#include "attention/arguments.hpp"
#include "attention/backward.hpp"
#include "core/errors.hpp"
#include "core/text.hpp"
#include "logsum/attention.hpp"

namespace logsum {
namespace {

constexpr std::string_view kFunction = "attention_backward";

// Where the gradient of an optional array goes; nowhere if it is not wanted.
template <int kAxes>
attend::View<kAxes> GradientView(const attend::Arguments& arguments, std::string_view argument,
                                 const Tensor* gradient, const Tensor* array) {
  if (gradient == nullptr) return {};
  if (array == nullptr) ThrowInvalid(kFunction, argument, "null without its array", "a tensor");
  arguments.CheckGradient(argument, *gradient, *array);
  return attend::BroadcastView<kAxes>(*gradient);
}

attend::View<4> GradientRows(const attend::Arguments& arguments, std::string_view argument,
                             const Tensor* gradient, const Tensor& array) {
  if (gradient == nullptr) return {};
  arguments.CheckGradient(argument, *gradient, array);
  return attend::RowView(*gradient);
}

void CheckScoreGradients(const attend::Arguments& arguments, std::span<const Tensor> gradients,
                         std::span<const Tensor> arrays) {
  if (gradients.empty()) return;
  if (gradients.size() != arrays.size()) {
    ThrowInvalid(kFunction, "grad score_args",
                 Text("none, or one for each of ", arrays.size(), " arrays"),
                 std::to_string(gradients.size()));
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (gradients[i].data == nullptr) continue;
    const std::string argument = Text("grad score_args[", i, "]");
    CheckFloating(kFunction, argument, arrays[i]);
    arguments.CheckGradient(argument, gradients[i], arrays[i]);
  }
}

}  // namespace

void attention_backward(const Tensor& grad_out, const Tensor* grad_lse, const Tensor& q,
                        const Tensor& k, const Tensor& v, const AttentionArrays& arrays,
                        const Tensor& out, const Tensor& lse, AttentionGradients& gradients,
                        AttentionOptions options, Context context) {
  const attend::Arguments arguments(kFunction, q, k, v, arrays, out, lse, options);
  arguments.CheckLikeOut("grad_out", grad_out);
  if (grad_lse != nullptr) arguments.CheckLikeLse("grad_lse", *grad_lse);
  CheckScoreGradients(arguments, gradients.score_args, arrays.score_args);
  attend::Gradients wanted{
      .grad_out = attend::RowView(grad_out),
      .grad_lse = grad_lse == nullptr ? attend::View<3>{} : attend::BroadcastView<3>(*grad_lse),
      .q = GradientRows(arguments, "grad q", gradients.q, q),
      .k = GradientRows(arguments, "grad k", gradients.k, k),
      .v = GradientRows(arguments, "grad v", gradients.v, v),
      .bias = GradientView<4>(arguments, "grad bias", gradients.bias, arrays.bias),
      .sinks = GradientView<1>(arguments, "grad sinks", gradients.sinks, arrays.sinks),
      .score_args = gradients.score_args};
  attend::RunBackward(arguments.problem(), wanted, context);
}

}  // namespace logsum
