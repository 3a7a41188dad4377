// The arguments that attention's functions share.
#pragma once
#include <nanobind/nanobind.h>

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "logsum/attention.hpp"
#include "tensor.hpp"

namespace logsum::python {

// The optional arrays of a call.
class AttentionArrayArguments {
 public:
  AttentionArrayArguments(nanobind::handle mask, nanobind::handle bias, nanobind::handle sinks,
                          nanobind::handle lengths_q, nanobind::handle lengths_k,
                          nanobind::handle score_args, const std::vector<std::string>& score_names)
      : mask_(mask, Array::Access::read),
        bias_(bias, Array::Access::read),
        sinks_(sinks, Array::Access::read),
        lengths_q_(lengths_q, Array::Access::read),
        lengths_k_(lengths_k, Array::Access::read),
        score_args_(score_args, Array::Access::read),
        names_(score_names.begin(), score_names.end()) {}

  AttentionArrays Get() {
    return {.mask = mask_.get(),
            .bias = bias_.get(),
            .sinks = sinks_.get(),
            .lengths_q = lengths_q_.get(),
            .lengths_k = lengths_k_.get(),
            .score_args = score_args_.tensors(),
            .score_names = names_};
  }

 private:
  OptionalArray mask_, bias_, sinks_, lengths_q_, lengths_k_;
  ArrayList score_args_;
  std::vector<std::string_view> names_;
};

// Arrays in the shapes of the arguments, each of which may be None: gradients, to be written, or
// tangents, to be read.
class AttentionCounterparts {
 public:
  AttentionCounterparts(nanobind::handle q, nanobind::handle k, nanobind::handle v,
                        nanobind::handle bias, nanobind::handle sinks, nanobind::handle score_args,
                        Array::Access access)
      : q_(q, access), k_(k, access), v_(v, access), bias_(bias, access), sinks_(sinks, access) {
    for (const nanobind::handle object : nanobind::borrow<nanobind::sequence>(score_args)) {
      const Tensor* const tensor = score_arrays_.emplace_back(object, access).get();
      score_args_.push_back(tensor == nullptr ? Tensor{} : *tensor);
    }
  }

  // AttentionGradients or AttentionTangents.
  template <class T>
  T Get() {
    return {.q = q_.get(),
            .k = k_.get(),
            .v = v_.get(),
            .bias = bias_.get(),
            .sinks = sinks_.get(),
            .score_args = score_args_};
  }

 private:
  OptionalArray q_, k_, v_, bias_, sinks_;
  std::deque<OptionalArray> score_arrays_;  // they do not move
  std::vector<Tensor> score_args_;          // without data: None
};

}  // namespace logsum::python
