// Arrays in the shapes of a call's arguments: their gradients, or what they move by.
#pragma once
#include <span>
#include <string_view>

#include "attention/arguments.hpp"
#include "attention/problem.hpp"
#include "logsum/attention.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

class Counterparts {
 public:
  // A counterpart's name in errors is `prefix` and its argument's: "grad q".
  Counterparts(const Arguments& arguments, std::string_view prefix, const Tensor& q,
               const Tensor& k, const Tensor& v, const AttentionArrays& arrays)
      : arguments_(arguments), prefix_(prefix), q_(q), k_(k), v_(v), arrays_(arrays) {}

  // Checks that what is given, AttentionGradients already checked, can be written to.
  void CheckWritten(const AttentionGradients& given) const;
  // Checks what is given, AttentionGradients or AttentionTangents, and puts its views into
  // Gradients or Tangents. Throws std::invalid_argument.
  template <class Given, class Views>
  void Check(const Given& given, Views& views) const {
    views.q = Rows("q", given.q, q_);
    views.k = Rows("k", given.k, k_);
    views.v = Rows("v", given.v, v_);
    views.bias = Optional<4>("bias", given.bias, arrays_.bias);
    views.sinks = Optional<1>("sinks", given.sinks, arrays_.sinks);
    CheckScoreArgs(given.score_args);
    views.score_args = given.score_args;
  }

 private:
  View<4> Rows(std::string_view name, const Tensor* counterpart, const Tensor& argument) const;
  template <int kAxes>
  View<kAxes> Optional(std::string_view name, const Tensor* counterpart,
                       const Tensor* argument) const;
  void CheckScoreArgs(std::span<const Tensor> counterparts) const;

  const Arguments& arguments_;
  std::string_view prefix_;
  const Tensor &q_, &k_, &v_;
  const AttentionArrays& arrays_;
};

}  // namespace logsum::attend
