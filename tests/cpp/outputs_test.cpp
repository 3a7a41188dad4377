// No function writes to an array whose elements along an axis are one, which inputs may be.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "array.hpp"
#include "logsum/attention.hpp"
#include "logsum/ctc.hpp"
#include "logsum/logsumexp.hpp"
#include "logsum/matmul.hpp"
#include "logsum/reduce.hpp"
#include "logsum/scan.hpp"
#include "message.hpp"

namespace logsum::testing {
namespace {

// Zeros with the stride 0 along one axis.
template <class T>
class Repeated {
 public:
  explicit Repeated(std::vector<std::int64_t> shape, std::size_t axis = 0)
      : array_(std::move(shape)), tensor(array_) {
    strides_.assign(tensor.strides.begin(), tensor.strides.end());
    strides_[axis] = 0;
    tensor.strides = strides_;
  }
  Repeated(const Repeated&) = delete;
  Repeated& operator=(const Repeated&) = delete;

 private:
  Array<T> array_;
  std::vector<std::int64_t> strides_;

 public:
  Tensor tensor;
};

std::string Refused(std::string_view call, std::string_view shape, int axis = 0) {
  return std::string(call) + ": expected elements in different places, got stride 0 at axis " +
         std::to_string(axis) + " of " + std::string(shape);
}

TEST(Outputs, OfArrayReductions) {
  Repeated<float> a({3, 4}), row({3}), late({3, 4}, 1);
  Array<float> full({3, 4}), lse({3});
  Tensor out = full, sums = lse;
  const std::array axes = {1};
  EXPECT_EQ(MessageOf([&] { logsumexp(a.tensor, axes, nullptr, nullptr, sums, nullptr); }),
            "no error");
  EXPECT_EQ(MessageOf([&] { logsumexp(a.tensor, axes, nullptr, nullptr, row.tensor, nullptr); }),
            Refused("logsumexp: out", "(3,)"));
  EXPECT_EQ(MessageOf([&] { logsumexp(a.tensor, axes, nullptr, nullptr, sums, &row.tensor); }),
            Refused("logsumexp: sign", "(3,)"));
  EXPECT_EQ(MessageOf([&] { logsumexp_backward(lse, full, lse, axes, a.tensor); }),
            Refused("logsumexp_backward: grad_a", "(3, 4)"));
  EXPECT_EQ(MessageOf([&] { softmax(full, 1, late.tensor, sums); }),
            Refused("softmax: out", "(3, 4)", 1));
  EXPECT_EQ(MessageOf([&] { log_softmax(full, 1, out, row.tensor); }),
            Refused("log_softmax: lse", "(3,)"));
  EXPECT_EQ(MessageOf([&] { softmax_backward(nullptr, nullptr, full, lse, 1, a.tensor); }),
            Refused("softmax_backward: grad_a", "(3, 4)"));
  EXPECT_EQ(MessageOf([&] { logaddexp(full, full, a.tensor); }),
            Refused("logaddexp: out", "(3, 4)"));
  const std::array<Tensor, 1> states = {lse}, values = {full};
  EXPECT_EQ(MessageOf([&] { merge(states, {}, row.tensor, nullptr); }),
            Refused("merge: merged_lse", "(3,)"));
  EXPECT_EQ(MessageOf([&] { merge(states, values, sums, &a.tensor); }),
            Refused("merge: merged_out", "(3, 4)"));
}

TEST(Outputs, OfProducts) {
  Repeated<float> square({3, 3});
  Array<float> a({3, 3}), c({3, 3});
  Tensor to = c;
  EXPECT_EQ(MessageOf([&] { logmatmulexp(square.tensor, a, to, nullptr, nullptr); }), "no error");
  EXPECT_EQ(MessageOf([&] { logmatmulexp(a, a, square.tensor, nullptr, nullptr); }),
            Refused("logmatmulexp: C", "(3, 3)"));
  EXPECT_EQ(MessageOf([&] { logmatmulexp(a, a, to, &square.tensor, nullptr); }),
            Refused("logmatmulexp: bound", "(3, 3)"));
  EXPECT_EQ(MessageOf([&] { logmatmulexp_backward(a, a, a, c, nullptr, &square.tensor); }),
            Refused("logmatmulexp_backward: grad_B", "(3, 3)"));
  EXPECT_EQ(MessageOf([&] {
              logmatmulexp_mean(a, a, c, nullptr, MatmulIndex::inner, {}, square.tensor);
            }),
            Refused("logmatmulexp_mean: out", "(3, 3)"));
}

TEST(Outputs, OfScans) {
  Array<std::int64_t> ends({2});
  const Graph graph = Graph::from_arcs(ends, ends, 2);
  Repeated<float> pair({2}), states({2, 2}), frames({3, 2, 2});
  Repeated<std::int64_t> path({4, 2});
  Array<float> Ms({2, 2, 2}), v({2, 2}), sums({2});
  Array<std::int64_t> at_states({3, 2}), at_arcs({2, 2});
  Tensor total = sums, visited = at_states, taken = at_arcs;
  const auto sum = [&](Tensor& to, Tensor* grad_v0) {
    return MessageOf([&] { logZ(Ms, graph, v, v, nullptr, to, nullptr, grad_v0, nullptr); });
  };
  EXPECT_EQ(sum(total, nullptr), "no error");
  EXPECT_EQ(sum(pair.tensor, nullptr), Refused("logZ: logZ", "(2,)"));
  EXPECT_EQ(sum(total, &states.tensor), Refused("logZ: grad_v0", "(2, 2)"));
  EXPECT_EQ(MessageOf([&] { forward_scores(Ms, graph, v, nullptr, frames.tensor); }),
            Refused("forward_scores: alpha", "(3, 2, 2)"));
  EXPECT_EQ(MessageOf([&] { backward_scores(Ms, graph, v, nullptr, frames.tensor); }),
            Refused("backward_scores: beta", "(3, 2, 2)"));
  EXPECT_EQ(MessageOf([&] { viterbi(Ms, graph, v, v, nullptr, pair.tensor, visited, taken); }),
            Refused("viterbi: score", "(2,)"));
  EXPECT_EQ(MessageOf([&] {
              logZ_covariance(Ms, graph, v, v, nullptr, {}, nullptr, nullptr, nullptr,
                              &states.tensor);
            }),
            Refused("logZ_covariance: cov_vT", "(2, 2)"));
}

TEST(Outputs, OfCtc) {
  Array<float> frames({3, 2, 4}), of_each({2});
  Array<std::int64_t> targets({2, 0}), input_lengths({2}), target_lengths({2}), path({2, 3}),
      counts({2});
  Repeated<float> losses({2}), grad({3, 2, 4});
  Repeated<std::int64_t> labels({2, 3});
  Tensor to = of_each, length = counts, best = path;
  EXPECT_EQ(MessageOf([&] {
              ctc_loss(frames, targets, input_lengths, target_lengths, losses.tensor, nullptr);
            }),
            Refused("ctc_loss: losses", "(2,)"));
  EXPECT_EQ(MessageOf([&] {
              ctc_loss(frames, targets, input_lengths, target_lengths, to, &grad.tensor);
            }),
            Refused("ctc_loss: grad", "(3, 2, 4)"));
  EXPECT_EQ(MessageOf([&] {
              ctc_loss_tangent(frames, targets, input_lengths, target_lengths, frames, nullptr,
                               &grad.tensor);
            }),
            Refused("ctc_loss_tangent: grad_tangent", "(3, 2, 4)"));
  EXPECT_EQ(MessageOf([&] {
              ctc_align(frames, targets, input_lengths, target_lengths, labels.tensor, to);
            }),
            Refused("ctc_align: labels", "(2, 3)"));
  EXPECT_EQ(MessageOf([&] { ctc_decode(frames, input_lengths, best, length, losses.tensor); }),
            Refused("ctc_decode: scores", "(2,)"));
}

TEST(Outputs, OfFormulas) {
  const std::array<std::string_view, 2> aliases = {"x = Vi(2)", "y = Vj(2)"};
  const Reduction reduction = Reduction::parse("SqDist(x, y)", aliases, "Sum", 1);
  Array<float> x({3, 2}), y({5, 2});
  Repeated<float> out({3, 1});
  const std::array<Tensor, 2> arguments = {x, y};
  EXPECT_EQ(MessageOf([&] { reduction.run(arguments, std::span(&out.tensor, 1)); }),
            Refused("Genred: output", "(3, 1)"));
}

TEST(Outputs, OfAttention) {
  Array<float> q({1, 2, 3, 4}), all({1, 2, 3}), bias({3, 3}), slope({2});
  Repeated<float> rows({1, 2, 3, 4}, 2), sums({1, 2, 3}, 1), square({3, 3}, 1), slopes({2});
  Tensor out = q, lse = all;
  AttentionArrays arrays;
  const auto forward = [&](Tensor& to, Tensor& to_lse) {
    return MessageOf([&] { attention(rows.tensor, q, q, arrays, to, to_lse); });
  };
  Array<float> result({1, 2, 3, 4});
  Tensor to = result;
  EXPECT_EQ(forward(to, lse), "no error");
  EXPECT_EQ(forward(rows.tensor, lse), Refused("attention: out", "(1, 2, 3, 4)", 2));
  EXPECT_EQ(forward(to, sums.tensor), Refused("attention: lse", "(1, 2, 3)", 1));

  const Tensor bias_view = bias, slope_view = slope;
  const std::array<std::string_view, 1> names = {"slope"};
  arrays.bias = &bias_view;
  arrays.score_args = std::span(&slope_view, 1);
  arrays.score_names = names;
  const AttentionOptions options{.score = "s * slope(h)"};
  const auto backward = [&](AttentionGradients gradients) {
    return MessageOf(
        [&] { attention_backward(q, nullptr, q, q, q, arrays, out, lse, gradients, options); });
  };
  const auto second = [&](AttentionGradients gradients) {
    return MessageOf([&] {
      attention_backward_tangent(q, nullptr, q, q, q, arrays, out, lse, {}, out, lse, gradients,
                                 options);
    });
  };
  EXPECT_EQ(backward({.v = &rows.tensor}),
            Refused("attention_backward: grad v", "(1, 2, 3, 4)", 2));
  EXPECT_EQ(backward({.bias = &square.tensor}),
            Refused("attention_backward: grad bias", "(3, 3)", 1));
  EXPECT_EQ(backward({.score_args = std::span(&slopes.tensor, 1)}),
            Refused("attention_backward: grad score_args[0]", "(2,)"));
  EXPECT_EQ(second({.k = &rows.tensor}),
            Refused("attention_backward_tangent: tangent of grad k", "(1, 2, 3, 4)", 2));
  EXPECT_EQ(MessageOf([&] {
              attention_tangent(q, q, q, arrays, out, lse, {}, nullptr, &sums.tensor, options);
            }),
            Refused("attention_tangent: lse_tangent", "(1, 2, 3)", 1));
}

// An axis of one element, and an array of none, may have any stride.
TEST(Outputs, StridesThatDoNotMatter) {
  Array<float> a({1, 4}), none({0, 4});
  Repeated<float> out({1, 4}), empty({0, 4}, 1);
  EXPECT_EQ(MessageOf([&] { logaddexp(a, a, out.tensor); }), "no error");
  EXPECT_EQ(MessageOf([&] { logaddexp(none, none, empty.tensor); }), "no error");
}

}  // namespace
}  // namespace logsum::testing
