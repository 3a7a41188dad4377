// Calls of attention, its gradient and the tangents of both on arrays of any type, compared with
// the reference.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "array.hpp"
#include "attention_problem.hpp"
#include "attention_reference.hpp"
#include "attention_tangent_reference.hpp"
#include "logsum/attention.hpp"
#include "rounding.hpp"

namespace logsum::testing {

// Fills q, k and v, and whatever of bias, mask and sinks has got a size already. Scores have about
// the standard deviation `sigma`.
inline void FillNormal(std::mt19937& random, AttentionInput& input, double sigma = 1) {
  std::normal_distribution<double> normal;
  const auto fill = [&](std::vector<double>& values, std::int64_t count, double scale) {
    values.resize(static_cast<std::size_t>(count));
    for (double& value : values) value = scale * normal(random);
  };
  fill(input.q, input.batch * input.heads * input.queries * input.dim, sigma);
  fill(input.k, input.batch * input.kv_heads * input.keys * input.dim, 1);
  fill(input.v, input.batch * input.kv_heads * input.keys * input.value_dim, 1);
  fill(input.bias.values, std::ssize(input.bias.values), sigma);
  fill(input.sinks, std::ssize(input.sinks), sigma);
  for (double& value : input.mask.values) value = static_cast<double>(random() % 4 != 0);
}

// Makes room for values that broadcast; FillNormal then fills them.
inline void Resize(BroadcastValues& array, const std::array<std::int64_t, 4>& shape) {
  array.shape = shape;
  array.values.resize(static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]));
}

// s + slope(h) Tanh(s), which stands for any formula with an array, one slope for each head.
inline void SetBentScore(AttentionInput& input, const std::vector<double>& slopes,
                         const std::vector<double>& slope_tangents) {
  const auto of_head = [](const std::vector<double>& values, const AttentionPair& at) {
    return values[static_cast<std::size_t>(at.head)];
  };
  const auto bent_slope = [](double s) { return 1 - std::tanh(s) * std::tanh(s); };
  input.options.score = "s + slope(h) * Tanh(s)";
  input.score = [=](double s, const AttentionPair& at) {
    return s + of_head(slopes, at) * std::tanh(s);
  };
  input.score_derivative = [=](double s, const AttentionPair& at) {
    return 1 + of_head(slopes, at) * bent_slope(s);
  };
  input.score_tangent = [=](double s, double moved, const AttentionPair& at) {
    return moved + of_head(slopes, at) * bent_slope(s) * moved +
           of_head(slope_tangents, at) * std::tanh(s);
  };
  input.score_derivative_tangent = [=](double s, double moved, const AttentionPair& at) {
    const double slope = of_head(slopes, at), slope_tangent = of_head(slope_tangents, at);
    return (slope_tangent - 2 * slope * std::tanh(s) * moved) * bent_slope(s);
  };
}

// In memory as (batch, row, head, component): what a transposed view is.
inline const std::vector<int> kRowsBeforeHeads = {0, 2, 1, 3};

// Arrays beside those that have gradients: what they move by, or gradients' tangents.
template <class T>
struct BesideArguments {
  Array<T> q, k, v, bias, sinks;
};

// Which arrays move along a direction.
struct Moves {
  bool q = true, k = true, v = true, bias = true, sinks = true;
};

template <class T>
class AttentionCase {
 public:
  using Wide = WideOf<T>;

  // Rounds the input to T. `order`: how the axes of q, k, v, out and their gradients lie in memory.
  explicit AttentionCase(AttentionInput input, const std::vector<int>& order = {})
      : input_(std::move(input)),
        q({input_.batch, input_.heads, input_.queries, input_.dim}, order),
        k({input_.batch, input_.kv_heads, input_.keys, input_.dim}, order),
        v({input_.batch, input_.kv_heads, input_.keys, input_.value_dim}, order),
        out({input_.batch, input_.heads, input_.queries, input_.value_dim}, order),
        grad_out({input_.batch, input_.heads, input_.queries, input_.value_dim}, order),
        grad_q({input_.batch, input_.heads, input_.queries, input_.dim}, order),
        grad_k({input_.batch, input_.kv_heads, input_.keys, input_.dim}, order),
        grad_v({input_.batch, input_.kv_heads, input_.keys, input_.value_dim}, order),
        lse({input_.batch, input_.heads, input_.queries}),
        grad_lse({input_.batch, input_.heads, input_.queries}),
        mask(ShapeOf(input_.mask)),
        bias(ShapeOf(input_.bias)),
        grad_bias(ShapeOf(input_.bias)),
        sinks({std::ssize(input_.sinks)}),
        grad_sinks({std::ssize(input_.sinks)}),
        lengths_q({std::ssize(input_.lengths_q)}),
        lengths_k({std::ssize(input_.lengths_k)}),
        direction{q, k, v, bias, sinks},
        grad_tangent{q, k, v, bias, sinks},
        out_tangent(out),
        lse_tangent(lse) {
    Round(input_.q, q);
    Round(input_.k, k);
    Round(input_.v, v);
    Round(input_.mask.values, mask);
    Round(input_.bias.values, bias);
    Round(input_.sinks, sinks);
    for (std::size_t b = 0; b < input_.lengths_q.size(); ++b) {
      lengths_q.data()[b] = input_.lengths_q[b];
      lengths_k.data()[b] = input_.lengths_k[b];
    }
    std::mt19937 random(17);
    std::normal_distribution<double> normal;
    grad_out.Fill([&] { return normal(random); });
    grad_lse.Fill([&] { return normal(random); });
    for (Array<T>* array :
         {&direction.q, &direction.k, &direction.v, &direction.bias, &direction.sinks}) {
      array->Fill([&] { return normal(random); });
    }
  }

  void Run(int threads = 0) {
    Tensor q_view = q, k_view = k, v_view = v, out_view = out, lse_view = lse;
    const Optional optional(*this);
    attention(q_view, k_view, v_view, optional.arrays, out_view, lse_view, input_.options,
              {.threads = threads});
  }

  // After Run, of what it gave.
  void RunBackward(int threads = 0) {
    Tensor gq = grad_q, gk = grad_k, gv = grad_v, gb = grad_bias, gs = grad_sinks;
    const Tensor incoming = grad_lse;
    AttentionGradients gradients;
    gradients.q = &gq;
    gradients.k = &gk;
    gradients.v = &gv;
    if (input_.bias.IsThere()) gradients.bias = &gb;
    if (!input_.sinks.empty()) gradients.sinks = &gs;
    gradients.score_args = grad_score_args;
    const Optional optional(*this);
    attention_backward(grad_out, &incoming, q, k, v, optional.arrays, out, lse, gradients,
                       input_.options, {.threads = threads});
  }

  // After Run, along `direction`, of which tests may change any part.
  void RunTangent(int threads = 0) {
    const Optional optional(*this);
    const Along along(*this);
    Tensor out_view = out_tangent, lse_view = lse_tangent;
    attention_tangent(q, k, v, optional.arrays, out, lse, along.tangents, &out_view, &lse_view,
                      input_.options, {.threads = threads});
  }

  // After RunTangent, of what it gave.
  void RunBackwardTangent(int threads = 0) {
    Tensor gq = grad_tangent.q, gk = grad_tangent.k, gv = grad_tangent.v;
    Tensor gb = grad_tangent.bias, gs = grad_tangent.sinks;
    const Tensor incoming = grad_lse;
    AttentionGradients wanted;
    wanted.q = &gq;
    wanted.k = &gk;
    wanted.v = &gv;
    if (input_.bias.IsThere()) wanted.bias = &gb;
    if (!input_.sinks.empty()) wanted.sinks = &gs;
    wanted.score_args = grad_score_arg_tangents;
    const Optional optional(*this);
    const Along along(*this);
    attention_backward_tangent(grad_out, &incoming, q, k, v, optional.arrays, out, lse,
                               along.tangents, out_tangent, lse_tangent, wanted, input_.options,
                               {.threads = threads});
  }

  // Whether all results are within `multiple` roundings of the reference; half types round results
  // once more.
  void Check(double multiple) {
    SCOPED_TRACE(Describe(input_));
    CheckValues("out", Reference().out, out, multiple);
    CheckValues("lse", Reference().lse, lse, multiple);
  }
  // A gradient is that of the stored `out`, which half types have rounded.
  void CheckBackward(double multiple) {
    SCOPED_TRACE(Describe(input_));
    AttentionReference reference = Reference();
    if constexpr (kIsHalf) reference.out.value = Values(out);
    reference.Differentiate(Values(grad_out), Values(grad_lse));
    CheckValues("grad q", reference.grad_q, grad_q, multiple);
    CheckValues("grad k", reference.grad_k, grad_k, multiple);
    CheckValues("grad v", reference.grad_v, grad_v, multiple);
    CheckValues("grad bias", reference.grad_bias, grad_bias, multiple);
    CheckValues("grad sinks", reference.grad_sinks, grad_sinks, multiple);
  }

  void CheckTangent(double multiple) {
    SCOPED_TRACE(Describe(input_));
    const AttentionTangentReference reference = TangentReference(Reference(), multiple);
    CheckValues("out tangent", reference.out, out_tangent, multiple);
    CheckValues("lse tangent", reference.lse, lse_tangent, multiple);
  }
  void CheckBackwardTangent(double multiple) {
    SCOPED_TRACE(Describe(input_));
    AttentionReference at = Reference();
    if constexpr (kIsHalf) at.out.value = Values(out);
    AttentionTangentReference reference = TangentReference(at, multiple);
    if constexpr (kIsHalf) reference.out.value = Values(out_tangent);
    reference.Differentiate(Values(grad_out), Values(grad_lse));
    CheckValues("tangent of grad q", reference.grad_q, grad_tangent.q, multiple);
    CheckValues("tangent of grad k", reference.grad_k, grad_tangent.k, multiple);
    CheckValues("tangent of grad v", reference.grad_v, grad_tangent.v, multiple);
    CheckValues("tangent of grad bias", reference.grad_bias, grad_tangent.bias, multiple);
    CheckValues("tangent of grad sinks", reference.grad_sinks, grad_tangent.sinks, multiple);
  }

  AttentionReference& Reference() {
    if (!reference_) reference_.emplace(input_);
    return *reference_;
  }
  // Along `direction`. The tangents of results may be made from the stored `out`, whose rounding in
  // a half type counts as it is, not `multiple` times.
  AttentionTangentReference TangentReference(const AttentionReference& at, double multiple) const {
    const auto values = [](bool is_moved, const Array<T>& array) {
      return is_moved ? Values(array) : std::vector<double>{};
    };
    std::vector<double> out_unit;
    if constexpr (kIsHalf) {
      out_unit = Values(out);
      for (double& unit : out_unit) unit = HalfUlp<T>(unit) / (multiple * kRoundoff<T>);
    }
    return {at,
            {.q = values(moves.q, direction.q),
             .k = values(moves.k, direction.k),
             .v = values(moves.v, direction.v),
             .bias = values(moves.bias, direction.bias),
             .sinks = values(moves.sinks, direction.sinks)},
            out_unit};
  }
  const AttentionInput& input() const { return input_; }

  template <class U>
  static std::vector<double> Values(const Array<U>& array) {
    std::vector<double> values(static_cast<std::size_t>(array.Size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = array.Get(static_cast<std::int64_t>(i));
    }
    return values;
  }

 private:
  static constexpr bool kIsHalf = sizeof(T) == sizeof(Half);

  AttentionInput input_;
  std::optional<AttentionReference> reference_;

 public:
  Array<T> q, k, v, out, grad_out, grad_q, grad_k, grad_v;
  Array<Wide> lse, grad_lse;
  Array<bool> mask;
  Array<T> bias, grad_bias, sinks, grad_sinks;
  Array<std::int64_t> lengths_q, lengths_k;
  BesideArguments<T> direction, grad_tangent;
  Moves moves;
  Array<T> out_tangent;
  Array<Wide> lse_tangent;
  // The arrays that options.score names, and, none or one for each, where their gradients go, what
  // they move by and where their gradients' tangents go.
  std::vector<Tensor> score_args, grad_score_args, score_arg_tangents, grad_score_arg_tangents;
  std::vector<std::string_view> score_names;

 private:
  // The arrays that are there.
  struct Optional {
    Tensor mask, bias, sinks, lengths_q, lengths_k;
    AttentionArrays arrays;

    explicit Optional(AttentionCase& from)
        : mask(from.mask),
          bias(from.bias),
          sinks(from.sinks),
          lengths_q(from.lengths_q),
          lengths_k(from.lengths_k) {
      if (from.input_.mask.IsThere()) arrays.mask = &mask;
      if (from.input_.bias.IsThere()) arrays.bias = &bias;
      if (!from.input_.sinks.empty()) arrays.sinks = &sinks;
      if (!from.input_.lengths_q.empty()) arrays.lengths_q = &lengths_q;
      if (!from.input_.lengths_k.empty()) arrays.lengths_k = &lengths_k;
      arrays.score_args = from.score_args;
      arrays.score_names = from.score_names;
    }
    Optional(const Optional&) = delete;
    Optional& operator=(const Optional&) = delete;
  };

  // The arrays that are there and move.
  struct Along {
    Tensor q, k, v, bias, sinks;
    AttentionTangents tangents;

    explicit Along(AttentionCase& from)
        : q(from.direction.q),
          k(from.direction.k),
          v(from.direction.v),
          bias(from.direction.bias),
          sinks(from.direction.sinks) {
      if (from.moves.q) tangents.q = &q;
      if (from.moves.k) tangents.k = &k;
      if (from.moves.v) tangents.v = &v;
      if (from.moves.bias && from.input_.bias.IsThere()) tangents.bias = &bias;
      if (from.moves.sinks && !from.input_.sinks.empty()) tangents.sinks = &sinks;
      tangents.score_args = from.score_arg_tangents;
    }
    Along(const Along&) = delete;
    Along& operator=(const Along&) = delete;
  };

  static std::vector<std::int64_t> ShapeOf(const BroadcastValues& values) {
    if (!values.IsThere()) return {0};
    return {values.shape.begin(), values.shape.end()};
  }
  template <class U>
  static void Round(std::vector<double>& values, Array<U>& array) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      array.Set(static_cast<std::int64_t>(i), values[i]);
    }
    values = Values(array);
  }
  template <class U>
  static void CheckValues(const char* name, const JudgedValues& expected, const Array<U>& got,
                          double multiple) {
    ASSERT_EQ(std::ssize(expected.value), got.Size()) << name;
    for (std::int64_t i = 0; i < got.Size(); ++i) {
      const double want = expected.value[static_cast<std::size_t>(i)], value = got.Get(i);
      const double unit = expected.unit[static_cast<std::size_t>(i)];
      if (std::isnan(want) && std::isnan(value)) continue;
      if (std::isfinite(want) && std::isfinite(unit)) {
        const double tolerance = multiple * kRoundoff<T> * unit + HalfUlp<U>(want);
        ASSERT_NEAR(value, want, tolerance) << name << " at " << i;
      } else {
        ASSERT_EQ(value, want) << name << " at " << i;
      }
    }
  }
};

}  // namespace logsum::testing
