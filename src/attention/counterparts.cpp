#include "attention/counterparts.hpp"

#include <cstddef>
#include <string>

#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::attend {

View<4> Counterparts::Rows(std::string_view name, const Tensor* counterpart,
                           const Tensor& argument) const {
  if (counterpart == nullptr) return {};
  arguments_.CheckCounterpart(Text(prefix_, name), *counterpart, argument);
  return RowView(*counterpart);
}

template <int kAxes>
View<kAxes> Counterparts::Optional(std::string_view name, const Tensor* counterpart,
                                   const Tensor* argument) const {
  if (counterpart == nullptr) return {};
  const std::string full_name = Text(prefix_, name);
  if (argument == nullptr) {
    ThrowInvalid(arguments_.function(), full_name, "null without its array", "a tensor");
  }
  arguments_.CheckCounterpart(full_name, *counterpart, *argument);
  return BroadcastView<kAxes>(*counterpart);
}

template View<4> Counterparts::Optional<4>(std::string_view, const Tensor*, const Tensor*) const;
template View<1> Counterparts::Optional<1>(std::string_view, const Tensor*, const Tensor*) const;

void Counterparts::CheckScoreArgs(std::span<const Tensor> counterparts) const {
  if (counterparts.empty()) return;
  const std::span<const Tensor> arrays = arrays_.score_args;
  const std::string name = Text(prefix_, "score_args");
  if (counterparts.size() != arrays.size()) {
    ThrowInvalid(arguments_.function(), name,
                 Text("none, or one for each of ", arrays.size(), " arrays"),
                 Text(counterparts.size()));
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (counterparts[i].data == nullptr) continue;
    const std::string argument = Text(name, "[", i, "]");
    CheckFloating(arguments_.function(), argument, arrays[i]);
    arguments_.CheckCounterpart(argument, counterparts[i], arrays[i]);
  }
}

void Counterparts::CheckWritten(const AttentionGradients& given) const {
  const std::string_view function = arguments_.function();
  const auto check = [&](std::string_view name, const Tensor* tensor) {
    CheckOutputs(function, {{Text(prefix_, name), tensor}});
  };
  check("q", given.q);
  check("k", given.k);
  check("v", given.v);
  check("bias", given.bias);
  check("sinks", given.sinks);
  for (std::size_t i = 0; i < given.score_args.size(); ++i) {
    const Tensor& tensor = given.score_args[i];
    if (tensor.data != nullptr) check(Text("score_args[", i, "]"), &tensor);
  }
}

}  // namespace logsum::attend
