// The derivatives of attention's results, and of its gradients, along a direction by their
// definition: dense and in long double, with units as in attention_reference.hpp. With dots for
// tangents, of s = score(cap(u)) + bias, u = scale q . k, its gradient dS and delta = dO . out -
// dlse (neither dO nor dlse moves):
//
//   lse. = sum_j p s.              out. = sum_j p ((s. - lse.) v + v.)
//   dS. = p (s. - lse.) (dO . v - delta) + p (dO . v. - dO . out.)
//   dv. = p (s. - lse.) dO         dq. and dk. by the product rule.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "attention_reference.hpp"

namespace logsum::testing {

// What each array moves by; empty: it stays. The score's arrays are AttentionInput's matter.
struct AttentionDirection {
  std::vector<double> q, k, v, bias, sinks;
};

class AttentionTangentReference {
 public:
  // Tangents of results, valid after construction.
  JudgedValues out, lse;
  // Tangents of gradients, valid after Differentiate.
  JudgedValues grad_q, grad_k, grad_v, grad_bias, grad_sinks, grad_score;

  // `reference` has to live as long. out_unit: of the stored `out` that the library is given, where
  // the type it is stored in rounds more than the arithmetic; or empty.
  AttentionTangentReference(const AttentionReference& reference, AttentionDirection direction,
                            const std::vector<double>& out_unit = {})
      : of_(reference), in_(reference.input()), direction_(std::move(direction)) {
    const std::int64_t rows = in_.batch * in_.heads * in_.queries;
    out.Resize(rows * in_.value_dim);
    lse.Resize(rows);
    motions_.resize(static_cast<std::size_t>(rows * in_.keys));
    ForEachRow([&](const AttentionPair& first) { Forward(first, out_unit); });
  }

  // Of the gradients at `reference`'s `out` and at `out` and `lse` here, which the caller may have
  // replaced by those that the library is given. grad_lse may be empty: zeros.
  void Differentiate(const std::vector<double>& grad_out, const std::vector<double>& grad_lse) {
    grad_q.Resize(std::ssize(in_.q));
    grad_k.Resize(std::ssize(in_.k));
    grad_v.Resize(std::ssize(in_.v));
    grad_bias.Resize(std::ssize(in_.bias.values));
    grad_sinks.Resize(std::ssize(in_.sinks));
    grad_score.Resize(std::ssize(motions_));
    ForEachRow([&](const AttentionPair& first) {
      const std::int64_t row = RowOf(first);
      const double incoming = grad_lse.empty() ? 0 : grad_lse[static_cast<std::size_t>(row)];
      Backward(first, grad_out.data() + row * in_.value_dim, incoming);
    });
  }

 private:
  using Wide = long double;

  // A sum and that of its terms' sizes.
  struct Sum {
    Wide value = 0;
    double size = 0;

    void Add(Wide term) {
      value += term;
      size += static_cast<double>(std::fabs(term));
    }
  };

  // How a pair's score moves, and its slope by u.
  struct Motion {
    Wide s = 0, slope = 0, slope_tangent = 0;
    double s_unit = 0, slope_unit = 0, slope_tangent_unit = 0;
  };

  static Wide Element(const std::vector<double>& values, std::int64_t at) {
    return values.empty() ? 0 : values[static_cast<std::size_t>(at)];
  }

  template <class Visit>
  void ForEachRow(const Visit& visit) const {
    for (std::int64_t b = 0; b < in_.batch; ++b) {
      for (std::int64_t h = 0; h < in_.heads; ++h) {
        for (std::int64_t i = 0; i < in_.queries; ++i) visit(AttentionPair{b, h, i, 0});
      }
    }
  }
  // Visits the pairs of a row that have a part in its sums.
  template <class Visit>
  void ForEachPair(const AttentionPair& first, const Visit& visit) {
    for (AttentionPair at = first; at.key < in_.keys; ++at.key) {
      const AttentionReference::Probability& pair = of_.At(at);
      if (!pair.seen || pair.p == 0) continue;
      const std::int64_t number = RowOf(first) * in_.keys + at.key;
      visit(at, pair, motions_[static_cast<std::size_t>(number)]);
    }
  }
  std::int64_t RowOf(const AttentionPair& at) const { return of_.Row(at.batch, at.head, at.query); }

  Motion Move(const AttentionPair& at) const {
    Wide u = 0;
    Sum moved;
    for (std::int64_t d = 0; d < in_.dim; ++d) {
      const std::int64_t query = RowOf(at) * in_.dim + d, key = of_.KeyRow(at) * in_.dim + d;
      const Wide q = Element(in_.q, query), k = Element(in_.k, key);
      u += of_.Scale() * q * k;
      if (!direction_.q.empty()) moved.Add(of_.Scale() * Element(direction_.q, query) * k);
      if (!direction_.k.empty()) moved.Add(of_.Scale() * q * Element(direction_.k, key));
    }
    Motion motion{.s = moved.value, .slope = 1, .s_unit = moved.size, .slope_unit = 1};
    Wide capped = u;
    if (const Wide cap = in_.options.softcap; cap != 0) {
      const Wide bent = std::tanh(u / cap);
      capped = cap * bent;
      motion.slope = 1 - bent * bent;
      motion.slope_tangent = -2 * bent / cap * motion.slope * moved.value;
      motion.slope_tangent_unit = static_cast<double>(2 / cap) * moved.size;
      motion.s = motion.slope * moved.value;
    }
    if (in_.score) Bend(at, static_cast<double>(capped), motion);
    if (!direction_.bias.empty()) {
      const double bias = direction_.bias[in_.bias.IndexOf(at)];
      motion.s += bias;
      motion.s_unit += std::fabs(bias);
    }
    return motion;
  }

  // From the capped score on to score(s).
  void Bend(const AttentionPair& at, double capped, Motion& motion) const {
    const Wide by_s = in_.score_derivative ? in_.score_derivative(capped, at) : 1;
    const auto moved = static_cast<double>(motion.s);
    const Wide by_s_tangent =
        in_.score_derivative_tangent ? in_.score_derivative_tangent(capped, moved, at) : 0;
    const auto size = static_cast<double>(std::fabs(by_s));
    motion.slope_tangent = by_s_tangent * motion.slope + by_s * motion.slope_tangent;
    motion.slope_tangent_unit =
        static_cast<double>(std::fabs(by_s_tangent)) + size * motion.slope_tangent_unit;
    motion.slope *= by_s;
    motion.slope_unit *= size;
    motion.s = in_.score_tangent ? in_.score_tangent(capped, moved, at) : by_s * motion.s;
    motion.s_unit = size * motion.s_unit + static_cast<double>(std::fabs(motion.s));
  }

  void Forward(const AttentionPair& first, const std::vector<double>& out_unit) {
    const std::int64_t row = RowOf(first);
    ForEachPair(first, [&](const AttentionPair& at, const auto& pair, Motion& motion) {
      motion = Move(at);
      lse.Add(row, pair.p * motion.s, static_cast<double>(pair.p) * pair.unit * motion.s_unit);
    });
    if (const Wide p = of_.SinkProbability(row); p != 0 && !direction_.sinks.empty()) {
      const Wide term = p * Element(direction_.sinks, first.head);
      const double unit = of_.lse.unit[static_cast<std::size_t>(row)];
      lse.Add(row, term, static_cast<double>(std::fabs(term)) * unit);
    }
    const auto at_row = static_cast<std::size_t>(row);
    ForEachPair(first, [&](const AttentionPair& at, const auto& pair, const Motion& motion) {
      const Wide relative = motion.s - lse.value[at_row];
      const double size = motion.s_unit + lse.unit[at_row];
      const double p_unit = static_cast<double>(pair.p) * pair.unit;
      for (std::int64_t c = 0; c < in_.value_dim; ++c) {
        const std::int64_t index = of_.KeyRow(at) * in_.value_dim + c;
        const Wide v = Element(in_.v, index), moved = Element(direction_.v, index);
        out.Add(row * in_.value_dim + c, pair.p * (relative * v + moved),
                p_unit * static_cast<double>(size * std::fabs(v) + std::fabs(moved)));
      }
    });
    if (out_unit.empty()) return;
    for (std::int64_t c = row * in_.value_dim; c < (row + 1) * in_.value_dim; ++c) {
      const auto at = static_cast<std::size_t>(c);
      out.unit[at] += std::fabs(lse.value[at_row]) * out_unit[at];
    }
  }

  void Backward(const AttentionPair& first, const double* grad_out, double grad_lse) {
    const std::int64_t row = RowOf(first);
    const auto at_row = static_cast<std::size_t>(row);
    Sum delta, delta_tangent;
    delta.Add(-grad_lse);
    for (std::int64_t c = 0; c < in_.value_dim; ++c) {
      const auto at = static_cast<std::size_t>(row * in_.value_dim + c);
      delta.Add(static_cast<Wide>(grad_out[c]) * of_.out.value[at]);
      delta_tangent.value += static_cast<Wide>(grad_out[c]) * out.value[at];
      delta_tangent.size += std::fabs(grad_out[c]) * out.unit[at];
    }
    if (const Wide p = of_.SinkProbability(row); !in_.sinks.empty() && p != 0) {
      const Wide moved = Element(direction_.sinks, first.head);
      const double size = static_cast<double>(std::fabs(moved)) + lse.unit[at_row];
      const double p_unit = static_cast<double>(p) * of_.lse.unit[at_row];
      grad_sinks.Add(first.head,
                     -p * ((moved - lse.value[at_row]) * delta.value + delta_tangent.value),
                     p_unit * (size * delta.size + delta_tangent.size));
    }
    ForEachPair(first, [&](const AttentionPair& at, const auto& pair, const Motion& motion) {
      const double p_unit = static_cast<double>(pair.p) * pair.unit;
      const Wide relative = motion.s - lse.value[at_row];
      const double size = motion.s_unit + lse.unit[at_row];
      Sum grad_p, grad_p_tangent;
      for (std::int64_t c = 0; c < in_.value_dim; ++c) {
        const std::int64_t index = of_.KeyRow(at) * in_.value_dim + c;
        grad_p.Add(grad_out[c] * Element(in_.v, index));
        if (!direction_.v.empty()) grad_p_tangent.Add(grad_out[c] * Element(direction_.v, index));
        grad_v.Add(index, pair.p * relative * grad_out[c], p_unit * size * std::fabs(grad_out[c]));
      }
      const Wide grad_s = pair.p * (grad_p.value - delta.value);
      const Wide grad_s_tangent =
          grad_s * relative + pair.p * (grad_p_tangent.value - delta_tangent.value);
      const double unit = p_unit * (grad_p.size + delta.size);
      const double tangent_unit = unit * size + p_unit * (grad_p_tangent.size + delta_tangent.size);
      grad_score.Add(row * in_.keys + at.key, grad_s_tangent, tangent_unit);
      if (in_.bias.IsThere()) {
        grad_bias.Add(static_cast<std::int64_t>(in_.bias.IndexOf(at)), grad_s_tangent,
                      tangent_unit);
      }
      Pull(at, {.value = grad_s * motion.slope, .size = unit * motion.slope_unit},
           {.value = grad_s_tangent * motion.slope + grad_s * motion.slope_tangent,
            .size = tangent_unit * motion.slope_unit + unit * motion.slope_tangent_unit});
    });
  }

  // From u's gradient and its tangent, each with its unit, on to q and k.
  void Pull(const AttentionPair& at, const Sum& grad, const Sum& tangent) {
    const double scale = of_.Scale();
    const auto add = [&](JudgedValues& to, std::int64_t index, Wide other, Wide other_tangent) {
      to.Add(index, scale * (tangent.value * other + grad.value * other_tangent),
             std::fabs(scale) * static_cast<double>(tangent.size * std::fabs(other) +
                                                    grad.size * std::fabs(other_tangent)));
    };
    for (std::int64_t d = 0; d < in_.dim; ++d) {
      const std::int64_t query = RowOf(at) * in_.dim + d, key = of_.KeyRow(at) * in_.dim + d;
      add(grad_q, query, Element(in_.k, key), Element(direction_.k, key));
      add(grad_k, key, Element(in_.q, query), Element(direction_.q, query));
    }
  }

  const AttentionReference& of_;
  const AttentionInput& in_;
  AttentionDirection direction_;
  std::vector<Motion> motions_;
};

}  // namespace logsum::testing
