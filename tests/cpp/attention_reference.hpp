// Attention by its definition, dense and in long double, for every feature; beside each result a
// unit in which its error is to be counted.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "logsum/attention.hpp"

namespace logsum::testing {

// A pair of one head.
struct AttentionPair {
  std::int64_t batch, head, query, key;
};

// Values that broadcast to (batch, head, query, key); none: absent.
struct BroadcastValues {
  std::array<std::int64_t, 4> shape{1, 1, 1, 1};
  std::vector<double> values;

  bool IsThere() const { return !values.empty(); }
  std::size_t IndexOf(const AttentionPair& at) const {
    const std::array<std::int64_t, 4> full = {at.batch, at.head, at.query, at.key};
    std::int64_t index = 0;
    for (std::size_t axis = 0; axis < 4; ++axis) {
      index = index * shape[axis] + (shape[axis] == 1 ? 0 : full[axis]);
    }
    return static_cast<std::size_t>(index);
  }
  double At(const AttentionPair& at) const { return values[IndexOf(at)]; }
};

// The arguments of a call, arrays row-major.
struct AttentionInput {
  std::int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, dim = 1, value_dim = 1;
  std::vector<double> q, k, v;
  BroadcastValues mask, bias;
  std::vector<double> sinks;                       // empty: absent
  std::vector<std::int64_t> lengths_q, lengths_k;  // empty: absent
  AttentionOptions options;                        // options.score is for the library alone:
  std::function<double(double s, const AttentionPair&)> score, score_derivative;  // and this here
  // Of score and score_derivative, where s moves by s_tangent and the score's arrays by what these
  // know. None: no array moves, and the derivative is constant.
  std::function<double(double s, double s_tangent, const AttentionPair&)> score_tangent,
      score_derivative_tangent;
};

// An error is small if it is a small multiple of unit, times the roundoff of the arithmetic.
struct JudgedValues {
  std::vector<double> value, unit;

  void Resize(std::int64_t count) {
    value.assign(static_cast<std::size_t>(count), 0.0);
    unit.assign(static_cast<std::size_t>(count), 0.0);
  }
  void Add(std::int64_t index, long double term, double unit_of_term) {
    const auto at = static_cast<std::size_t>(index);
    value[at] = static_cast<double>(static_cast<long double>(value[at]) + term);
    unit[at] += unit_of_term;
  }
};

// Whether causal, window, mask, lengths and bias admit a pair.
inline bool TakesPart(const AttentionInput& input, const AttentionPair& at) {
  using Causal = AttentionOptions::Causal;
  const auto length = [&](const std::vector<std::int64_t>& lengths, std::int64_t all) {
    return lengths.empty() ? all : lengths[static_cast<std::size_t>(at.batch)];
  };
  const AttentionOptions& options = input.options;
  const std::int64_t queries = length(input.lengths_q, input.queries);
  const std::int64_t keys = length(input.lengths_k, input.keys);
  const std::int64_t shift = options.causal == Causal::bottom_right ? keys - queries : 0;
  const std::int64_t diagonal = at.query + shift;
  if (at.query >= queries || at.key >= keys) return false;
  if (options.causal != Causal::none && at.key > diagonal) return false;
  if (options.window_left >= 0 && at.key < diagonal - options.window_left) return false;
  if (options.window_right >= 0 && at.key > diagonal + options.window_right) return false;
  if (input.mask.IsThere() && input.mask.At(at) == 0) return false;
  return !input.bias.IsThere() || input.bias.At(at) != -std::numeric_limits<double>::infinity();
}

class AttentionReference {
 public:
  // Results, valid after construction.
  JudgedValues out, lse;
  // Gradients, valid after Differentiate; those of absent arrays are empty. grad_score is that of
  // score(s) + bias, (batch, head, query, key).
  JudgedValues grad_q, grad_k, grad_v, grad_bias, grad_sinks, grad_score;

  explicit AttentionReference(AttentionInput input) : in_(std::move(input)) {
    const std::int64_t rows = in_.batch * in_.heads * in_.queries;
    out.Resize(rows * in_.value_dim);
    lse.Resize(rows);
    p_.assign(static_cast<std::size_t>(rows * in_.keys), Probability{});
    sink_p_.assign(static_cast<std::size_t>(rows), 0);
    ForEachRow([&](std::int64_t b, std::int64_t h, std::int64_t i) { Forward(b, h, i); });
  }

  const AttentionInput& input() const { return in_; }

  // exp(s - lse) of a pair, and how far its score is known.
  struct Probability {
    long double p = 0;                 // 0 where the pair takes no part
    double slope = 0, slope_unit = 0;  // of score(s) by q . k
    double unit = 0;                   // of score(s) + bias, and of lse
    bool seen = false;                 // takes part, its score above -inf
  };
  const Probability& At(const AttentionPair& at) const { return p_[NumberOf(at)]; }
  long double SinkProbability(std::int64_t row) const {
    return sink_p_[static_cast<std::size_t>(row)];
  }
  double Scale() const {
    const double scale = in_.options.scale;
    return scale != 0 ? scale
                      : 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(in_.dim, 1)));
  }

  // Rows of q, and of k and v.
  std::int64_t Row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return (b * in_.heads + h) * in_.queries + i;
  }
  std::int64_t KeyRow(const AttentionPair& at) const {
    return (at.batch * in_.kv_heads + at.head / (in_.heads / in_.kv_heads)) * in_.keys + at.key;
  }

  // grad_lse may be empty: zeros.
  void Differentiate(const std::vector<double>& grad_out, const std::vector<double>& grad_lse) {
    grad_q.Resize(std::ssize(in_.q));
    grad_k.Resize(std::ssize(in_.k));
    grad_v.Resize(std::ssize(in_.v));
    grad_bias.Resize(std::ssize(in_.bias.values));
    grad_sinks.Resize(std::ssize(in_.sinks));
    grad_score.Resize(std::ssize(p_));
    ForEachRow([&](std::int64_t b, std::int64_t h, std::int64_t i) {
      const std::int64_t row = Row(b, h, i);
      const double incoming = grad_lse.empty() ? 0 : grad_lse[static_cast<std::size_t>(row)];
      Backward({b, h, i, 0}, grad_out.data() + row * in_.value_dim, incoming);
    });
  }

 private:
  using Wide = long double;
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  template <class Visit>
  void ForEachRow(const Visit& visit) {
    for (std::int64_t b = 0; b < in_.batch; ++b) {
      for (std::int64_t h = 0; h < in_.heads; ++h) {
        for (std::int64_t i = 0; i < in_.queries; ++i) visit(b, h, i);
      }
    }
  }
  Probability& At(const AttentionPair& at) { return p_[NumberOf(at)]; }
  std::size_t NumberOf(const AttentionPair& at) const {
    return static_cast<std::size_t>(Row(at.batch, at.head, at.query) * in_.keys + at.key);
  }

  // score(s) + bias of a pair that takes part; sets slope and unit.
  Wide Score(const AttentionPair& at, Probability& pair) const {
    const double* q = in_.q.data() + Row(at.batch, at.head, at.query) * in_.dim;
    const double* k = in_.k.data() + KeyRow(at) * in_.dim;
    Wide s = 0, size = 0;
    for (std::int64_t d = 0; d < in_.dim; ++d) {
      const Wide term = static_cast<Wide>(q[d]) * k[d] * Scale();
      s += term;
      size += std::fabs(term);
    }
    double slope = Scale(), slope_unit = std::fabs(slope);
    if (in_.options.softcap != 0) {
      const Wide cap = in_.options.softcap, bent = std::tanh(s / cap);
      s = cap * bent;
      slope *= static_cast<double>(1 - bent * bent);
    }
    if (in_.score) {
      const auto before = static_cast<double>(s);
      const double derivative = in_.score_derivative ? in_.score_derivative(before, at) : 1;
      slope *= derivative;
      slope_unit *= std::fabs(derivative);
      size *= std::fabs(derivative);
      s = in_.score(before, at);
      size += std::fabs(s);
    }
    if (in_.bias.IsThere() && s != -kInfinity) {
      s += in_.bias.At(at);
      size += std::fabs(in_.bias.At(at));
    }
    pair.slope = slope;
    pair.slope_unit = slope_unit;
    pair.unit = std::isfinite(size) ? static_cast<double>(1 + size) : 1;
    return s;
  }

  void Forward(std::int64_t b, std::int64_t h, std::int64_t i) {
    const std::int64_t row = Row(b, h, i);
    std::vector<Wide> scores(static_cast<std::size_t>(in_.keys), -kInfinity);
    const bool has_sink = !in_.sinks.empty();
    const Wide sink = has_sink ? in_.sinks[static_cast<std::size_t>(h)] : -kInfinity;
    Wide top = sink;
    for (std::int64_t j = 0; j < in_.keys; ++j) {
      const AttentionPair at = {b, h, i, j};
      if (!TakesPart(in_, at)) continue;
      const Wide s = Score(at, At(at));
      scores[static_cast<std::size_t>(j)] = s;
      At(at).seen = s != -kInfinity;
      if (!std::isnan(top) && !(s <= top)) top = s;  // NaN wins
    }
    // exp(s - top); of +inf the number of terms.
    const auto weight = [top](Wide s) -> Wide {
      if (s == -kInfinity) return 0;
      return top == kInfinity ? (s == kInfinity ? 1 : 0) : std::exp(s - top);
    };
    Wide sum = weight(sink);
    for (const Wide s : scores) sum += weight(s);
    const Wide total = top == -kInfinity ? top : top == kInfinity ? top : top + std::log(sum);
    double& lse_unit = lse.unit[static_cast<std::size_t>(row)];
    lse.value[static_cast<std::size_t>(row)] = static_cast<double>(total);
    const double lse_size = std::isfinite(total) ? static_cast<double>(std::fabs(total)) : 0;
    lse_unit = 1 + lse_size;
    if (top == -kInfinity) return;
    sink_p_[static_cast<std::size_t>(row)] = weight(sink) / sum;
    for (std::int64_t j = 0; j < in_.keys; ++j) {
      Probability& pair = At({b, h, i, j});
      pair.p = weight(scores[static_cast<std::size_t>(j)]) / sum;
      if (pair.seen) lse_unit += static_cast<double>(pair.p) * pair.unit;
    }
    for (std::int64_t c = 0; c < in_.value_dim; ++c) {
      Wide mean = 0;
      double unit = 0;
      for (std::int64_t j = 0; j < in_.keys; ++j) {
        const Probability& pair = At({b, h, i, j});
        if (!pair.seen) continue;
        const Wide value = in_.v[static_cast<std::size_t>(ValueAt({b, h, i, j}, c))];
        mean += pair.p * value;
        unit += static_cast<double>(pair.p * std::fabs(value)) * pair.unit;
      }
      // A sink's value is 0, but a NaN sink makes the row NaN.
      const auto at = static_cast<std::size_t>(row * in_.value_dim + c);
      out.value[at] = static_cast<double>(std::isnan(top) ? top : mean);
      out.unit[at] = unit + std::fabs(out.value[at]) * lse_unit;
    }
    for (std::int64_t j = 0; j < in_.keys; ++j) At({b, h, i, j}).unit += lse_size;
  }
  std::int64_t ValueAt(const AttentionPair& at, std::int64_t c) const {
    return KeyRow(at) * in_.value_dim + c;
  }

  // p (dP - delta), with delta = sum dO O - dlse.
  void Backward(const AttentionPair& first, const double* grad_out, double grad_lse) {
    const std::int64_t row = Row(first.batch, first.head, first.query);
    Wide delta = -static_cast<Wide>(grad_lse);
    double delta_size = std::fabs(grad_lse);
    for (std::int64_t c = 0; c < in_.value_dim; ++c) {
      const double mean = out.value[static_cast<std::size_t>(row * in_.value_dim + c)];
      delta += static_cast<Wide>(grad_out[c]) * mean;
      delta_size += std::fabs(grad_out[c] * mean);
    }
    if (const Wide p = sink_p_[static_cast<std::size_t>(row)]; !in_.sinks.empty() && p != 0) {
      const double unit = static_cast<double>(p) * delta_size;
      grad_sinks.Add(first.head, -p * delta, unit * lse.unit[static_cast<std::size_t>(row)]);
    }
    for (std::int64_t j = 0; j < in_.keys; ++j) {
      const AttentionPair at = {first.batch, first.head, first.query, j};
      const Probability& pair = At(at);
      if (!pair.seen) continue;
      Wide grad_p = 0;
      double size = delta_size;
      const double p_unit = static_cast<double>(pair.p) * pair.unit;
      for (std::int64_t c = 0; c < in_.value_dim; ++c) {
        const std::int64_t value = ValueAt(at, c);
        const Wide term = static_cast<Wide>(grad_out[c]) * in_.v[static_cast<std::size_t>(value)];
        grad_p += term;
        size += static_cast<double>(std::fabs(term));
        grad_v.Add(value, pair.p * grad_out[c], p_unit * std::fabs(grad_out[c]));
      }
      const Wide grad_s = pair.p == 0 ? 0 : pair.p * (grad_p - delta);
      Pull(at, pair, grad_s, p_unit * size);
    }
  }

  // From score(s) + bias on to what it is made of.
  void Pull(const AttentionPair& at, const Probability& pair, Wide grad_s, double unit) {
    const std::int64_t row = Row(at.batch, at.head, at.query);
    grad_score.Add(row * in_.keys + at.key, grad_s, unit);
    if (in_.bias.IsThere()) {
      grad_bias.Add(static_cast<std::int64_t>(in_.bias.IndexOf(at)), grad_s, unit);
    }
    if (grad_s == 0 && unit == 0) return;
    const double slope = pair.slope, slope_unit = pair.slope_unit;
    for (std::int64_t d = 0; d < in_.dim; ++d) {
      const std::int64_t query = row * in_.dim + d, key = KeyRow(at) * in_.dim + d;
      const double q = in_.q[static_cast<std::size_t>(query)];
      const double k = in_.k[static_cast<std::size_t>(key)];
      grad_q.Add(query, grad_s * slope * k, unit * slope_unit * std::fabs(k));
      grad_k.Add(key, grad_s * slope * q, unit * slope_unit * std::fabs(q));
    }
  }

  AttentionInput in_;
  std::vector<Probability> p_;
  std::vector<Wide> sink_p_;
};

}  // namespace logsum::testing
