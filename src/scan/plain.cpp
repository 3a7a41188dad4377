// Scans one sequence at a time, in logarithms.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.hpp"
#include "core/parallel.hpp"
#include "logsum/scan.hpp"
#include "scan/arguments.hpp"

namespace logsum {
namespace {

using scan::Operand;
using scan::ScanShape;
using Vector = std::vector<double>;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double Get(const Operand& operand, std::int64_t t, std::int64_t n, std::int64_t i) {
  if (!operand.Exists()) return 0;
  return VisitFloating(operand.dtype, [&](auto storage) -> double {
    return ToFloat(
        static_cast<const decltype(storage)*>(operand.data)[operand.At(t, n) + operand.Offset(i)]);
  });
}
void Put(const Operand& operand, std::int64_t t, std::int64_t n, std::int64_t i, double x) {
  if (!operand.Exists()) return;
  VisitFloating(operand.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    static_cast<Storage*>(operand.data)[operand.At(t, n) + operand.Offset(i)] =
        FromDouble<Storage>(x);
  });
}
double Weight(const Operand& operand, std::int64_t t, std::int64_t n, std::int64_t i) {
  const double x = Get(operand, t, n, i);
  return x <= -1e30 ? -kInf : x;
}
double Times(double a, double b) { return a == -kInf || b == -kInf ? -kInf : a + b; }

struct Sum {
  bool is_max;
  double top = -kInf, sum = 0;
  void Add(double x) {
    if (x == -kInf) return;
    if (std::isnan(x) || std::isnan(top)) {
      top = kNaN;
    } else if (is_max) {
      top = std::max(top, x);
    } else if (x > top) {
      sum = sum * std::exp(top - x) + 1;
      top = x;
    } else {
      sum += x == top ? 1 : std::exp(x - top);
    }
  }
  double Value() const { return is_max || top == -kInf ? top : top + std::log(sum); }
};

struct Scores {
  std::int64_t C;
  Vector values;
  double* At(std::int64_t t) { return values.data() + t * C; }
};

Scores Forward(const ScanShape& shape, const Operand& v0, std::int64_t n, bool is_max) {
  const std::int64_t C = shape.C(), L = shape.Lengths()[static_cast<std::size_t>(n)];
  Scores alpha{C, Vector(static_cast<std::size_t>((L + 1) * C))};
  for (std::int64_t c = 0; c < C; ++c) alpha.At(0)[c] = Weight(v0, 0, n, c);
  const auto& into = shape.Arcs().into;
  for (std::int64_t t = 0; t < L; ++t) {
    for (std::int64_t c = 0; c < C; ++c) {
      Sum sum{is_max};
      for (auto i = into.begin[(size_t)c]; i < into.begin[(size_t)c + 1]; ++i) {
        const auto arc = into.arcs[(size_t)i];
        sum.Add(Times(alpha.At(t)[arc.state], Weight(shape.Ms(), t, n, arc.slot)));
      }
      alpha.At(t + 1)[c] = sum.Value();
    }
  }
  return alpha;
}

Scores Backward(const ScanShape& shape, const Operand& vT, std::int64_t n, bool is_max) {
  const std::int64_t C = shape.C(), L = shape.Lengths()[static_cast<std::size_t>(n)];
  Scores beta{C, Vector(static_cast<std::size_t>((L + 1) * C))};
  for (std::int64_t c = 0; c < C; ++c) beta.At(L)[c] = Weight(vT, 0, n, c);
  const auto& out = shape.Arcs().out_of;
  for (std::int64_t t = L; t-- > 0;) {
    for (std::int64_t c = 0; c < C; ++c) {
      Sum sum{is_max};
      for (auto i = out.begin[(size_t)c]; i < out.begin[(size_t)c + 1]; ++i) {
        const auto arc = out.arcs[(size_t)i];
        sum.Add(Times(beta.At(t + 1)[arc.state], Weight(shape.Ms(), t, n, arc.slot)));
      }
      beta.At(t)[c] = sum.Value();
    }
  }
  return beta;
}

struct Path {
  double score = -kInf;
  std::vector<std::int64_t> states, arcs;
};

Path BestPath(const ScanShape& shape, const Operand& v0, const Operand& vT, std::int64_t n) {
  const std::int64_t L = shape.Lengths()[static_cast<std::size_t>(n)];
  Scores alpha = Forward(shape, v0, n, true);
  Path path;
  path.states.assign((size_t)L + 1, -1);
  path.arcs.assign((size_t)L, -1);
  Sum best{true};
  std::int64_t state = -1;
  for (std::int64_t c = 0; c < shape.C(); ++c) {
    const double x = Times(alpha.At(L)[c], Weight(vT, 0, n, c));
    if (state < 0 ? x > -kInf : x > best.top) state = c;
    best.Add(x);
  }
  path.score = best.Value();
  if (std::isnan(path.score) || state < 0) return path;
  path.states[(size_t)L] = state;
  const auto& into = shape.Arcs().into;
  for (std::int64_t t = L; t-- > 0;) {
    for (auto i = into.begin[(size_t)state]; i < into.begin[(size_t)state + 1]; ++i) {
      const auto arc = into.arcs[(size_t)i];
      if (Times(alpha.At(t)[arc.state], Weight(shape.Ms(), t, n, arc.slot)) ==
          alpha.At(t + 1)[state]) {
        path.arcs[(size_t)t] = arc.slot;
        state = arc.state;
        break;
      }
    }
    path.states[(size_t)t] = state;
  }
  return path;
}

double Probability(double x, double logZ) {
  if (x == -kInf || logZ == -kInf) return 0;
  return std::exp(x - logZ);
}

void Log(const ScanShape& shape, const Operand& v0, const Operand& vT, std::int64_t n,
         const Operand& out, const Operand& grad_Ms, const Operand& grad_v0,
         const Operand& grad_vT) {
  const std::int64_t C = shape.C(), L = shape.Lengths()[static_cast<std::size_t>(n)];
  Scores alpha = Forward(shape, v0, n, false), beta = Backward(shape, vT, n, false);
  Sum sum{false};
  for (std::int64_t c = 0; c < C; ++c) sum.Add(Times(alpha.At(L)[c], beta.At(L)[c]));
  const double logZ = sum.Value();
  Put(out, 0, n, 0, logZ);
  for (std::int64_t c = 0; c < C; ++c) {
    Put(grad_v0, 0, n, c, Probability(Times(alpha.At(0)[c], beta.At(0)[c]), logZ));
    Put(grad_vT, 0, n, c, Probability(Times(alpha.At(L)[c], beta.At(L)[c]), logZ));
  }
  for (std::int64_t t = 0; t < shape.T(); ++t) {
    for (std::int64_t e = 0; e < shape.E(); ++e) Put(grad_Ms, t, n, e, 0);
  }
  const auto& into = shape.Arcs().into;
  for (std::int64_t t = 0; t < L && grad_Ms.Exists(); ++t) {
    for (std::int64_t c = 0; c < C; ++c) {
      for (auto i = into.begin[(size_t)c]; i < into.begin[(size_t)c + 1]; ++i) {
        const auto arc = into.arcs[(size_t)i];
        const double x = Times(Times(alpha.At(t)[arc.state], Weight(shape.Ms(), t, n, arc.slot)),
                               beta.At(t + 1)[c]);
        Put(grad_Ms, t, n, arc.slot, Probability(x, logZ));
      }
    }
  }
}

void Max(const ScanShape& shape, const Operand& v0, const Operand& vT, std::int64_t n,
         const Operand& out, const Operand& grad_Ms, const Operand& grad_v0,
         const Operand& grad_vT) {
  const Path path = BestPath(shape, v0, vT, n);
  Put(out, 0, n, 0, path.score);
  const double other = std::isnan(path.score) ? kNaN : 0;
  for (std::int64_t c = 0; c < shape.C(); ++c) {
    Put(grad_v0, 0, n, c, c == path.states.front() ? 1 : other);
    Put(grad_vT, 0, n, c, c == path.states.back() ? 1 : other);
  }
  for (std::int64_t t = 0; t < shape.T(); ++t) {
    const bool inside = t < static_cast<std::int64_t>(path.arcs.size());
    for (std::int64_t e = 0; e < shape.E(); ++e) {
      Put(grad_Ms, t, n, e, !inside ? 0 : e == path.arcs[(size_t)t] ? 1 : other);
    }
  }
}

void PutScores(const ScanShape& shape, Scores& scores, std::int64_t n, const Operand& out) {
  const std::int64_t L = shape.Lengths()[static_cast<std::size_t>(n)];
  for (std::int64_t t = 0; t <= shape.T(); ++t) {
    for (std::int64_t c = 0; c < shape.C(); ++c) {
      Put(out, t, n, c, t <= L ? scores.At(t)[c] : -kInf);
    }
  }
}

// E[f | prefix ends in each state], by the same walk as Forward (Backward).
void Covariance(const ScanShape& shape, const Operand& v0, const Operand& vT, const Operand& dMs,
                const Operand& dv0, const Operand& dvT, std::int64_t n, const Operand& mean,
                const Operand& cov_Ms, const Operand& cov_v0, const Operand& cov_vT) {
  const std::int64_t C = shape.C(), L = shape.Lengths()[static_cast<std::size_t>(n)];
  Scores alpha = Forward(shape, v0, n, false), beta = Backward(shape, vT, n, false);
  Scores mu{C, Vector(alpha.values.size())}, nu{C, Vector(alpha.values.size())};
  Sum sum{false};
  for (std::int64_t c = 0; c < C; ++c) {
    sum.Add(Times(alpha.At(L)[c], beta.At(L)[c]));
    if (alpha.At(0)[c] > -kInf) mu.At(0)[c] = Get(dv0, 0, n, c);
    if (beta.At(L)[c] > -kInf) nu.At(L)[c] = Get(dvT, 0, n, c);
  }
  const double logZ = sum.Value();
  const auto& into = shape.Arcs().into;
  for (std::int64_t t = 0; t < L; ++t) {
    for (std::int64_t c = 0; c < C; ++c) {
      for (auto i = into.begin[(size_t)c]; i < into.begin[(size_t)c + 1]; ++i) {
        const auto arc = into.arcs[(size_t)i];
        const double p = Probability(
            Times(alpha.At(t)[arc.state], Weight(shape.Ms(), t, n, arc.slot)), alpha.At(t + 1)[c]);
        if (p != 0) mu.At(t + 1)[c] += p * (mu.At(t)[arc.state] + Get(dMs, t, n, arc.slot));
      }
    }
  }
  for (std::int64_t t = L; t-- > 0;) {
    for (std::int64_t c = 0; c < C; ++c) {
      for (auto i = into.begin[(size_t)c]; i < into.begin[(size_t)c + 1]; ++i) {
        const auto arc = into.arcs[(size_t)i];
        const double p = Probability(Times(beta.At(t + 1)[c], Weight(shape.Ms(), t, n, arc.slot)),
                                     beta.At(t)[arc.state]);
        if (p != 0) nu.At(t)[arc.state] += p * (nu.At(t + 1)[c] + Get(dMs, t, n, arc.slot));
      }
    }
  }
  double m = 0;
  const auto of_state = [&](std::int64_t t, std::int64_t c) {
    return Probability(Times(alpha.At(t)[c], beta.At(t)[c]), logZ);
  };
  for (std::int64_t c = 0; c < C; ++c) {
    if (of_state(L, c) != 0) m += of_state(L, c) * (mu.At(L)[c] + nu.At(L)[c]);
  }
  Put(mean, 0, n, 0, m);
  for (const auto& [t, out] : {std::pair{std::int64_t{0}, &cov_v0}, std::pair{L, &cov_vT}}) {
    for (std::int64_t c = 0; c < C; ++c) {
      const double p = of_state(t, c);
      Put(*out, 0, n, c, p == 0 ? 0 : p * (mu.At(t)[c] + nu.At(t)[c] - m));
    }
  }
  for (std::int64_t t = 0; t < shape.T() && cov_Ms.Exists(); ++t) {
    for (std::int64_t e = 0; e < shape.E(); ++e) Put(cov_Ms, t, n, e, 0);
    for (std::int64_t c = 0; c < C && t < L; ++c) {
      for (auto i = into.begin[(size_t)c]; i < into.begin[(size_t)c + 1]; ++i) {
        const auto arc = into.arcs[(size_t)i];
        const double p =
            Probability(Times(Times(alpha.At(t)[arc.state], Weight(shape.Ms(), t, n, arc.slot)),
                              beta.At(t + 1)[c]),
                        logZ);
        if (p == 0) continue;
        Put(cov_Ms, t, n, arc.slot,
            p * (mu.At(t)[arc.state] + Get(dMs, t, n, arc.slot) + nu.At(t + 1)[c] - m));
      }
    }
  }
}

}  // namespace

ScanReport logZ(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                const Tensor* lengths, Tensor& logZ, Tensor* grad_Ms, Tensor* grad_v0,
                Tensor* grad_vT, ScanOptions options, Context context) {
  const ScanShape shape("logZ", Ms, graph, lengths);
  const Operand first = shape.States("v0", &v0), last = shape.States("vT", &vT);
  shape.CheckSame("v0", &v0);
  shape.CheckSame("vT", &vT);
  const Operand out = shape.Sequences("logZ", &logZ);
  shape.CheckScore("logZ", &logZ);
  const Operand g = shape.LikeMs("grad_Ms", grad_Ms), g0 = shape.States("grad_v0", grad_v0),
                gT = shape.States("grad_vT", grad_vT);
  shape.CheckSame("grad_Ms", grad_Ms);
  shape.CheckSame("grad_v0", grad_v0);
  shape.CheckSame("grad_vT", grad_vT);
  ParallelFor(shape.N(), context.threads, [&](std::int64_t n) {
    (options.semiring == Semiring::max ? Max : Log)(shape, first, last, n, out, g, g0, gT);
  });
  return {};
}

void forward_scores(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor* lengths,
                    Tensor& alpha, ScanOptions options, Context context) {
  const ScanShape shape("forward_scores", Ms, graph, lengths);
  const Operand first = shape.States("v0", &v0), out = shape.Scores("alpha", &alpha);
  shape.CheckSame("v0", &v0);
  shape.CheckScore("alpha", &alpha);
  ParallelFor(shape.N(), context.threads, [&](std::int64_t n) {
    Scores scores = Forward(shape, first, n, options.semiring == Semiring::max);
    PutScores(shape, scores, n, out);
  });
}

void backward_scores(const Tensor& Ms, const Graph& graph, const Tensor& vT, const Tensor* lengths,
                     Tensor& beta, ScanOptions options, Context context) {
  const ScanShape shape("backward_scores", Ms, graph, lengths);
  const Operand last = shape.States("vT", &vT), out = shape.Scores("beta", &beta);
  shape.CheckSame("vT", &vT);
  shape.CheckScore("beta", &beta);
  ParallelFor(shape.N(), context.threads, [&](std::int64_t n) {
    Scores scores = Backward(shape, last, n, options.semiring == Semiring::max);
    PutScores(shape, scores, n, out);
  });
}

void viterbi(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
             const Tensor* lengths, Tensor& score, Tensor& states, Tensor& arcs, Context context) {
  const ScanShape shape("viterbi", Ms, graph, lengths);
  const Operand first = shape.States("v0", &v0), last = shape.States("vT", &vT);
  shape.CheckSame("v0", &v0);
  shape.CheckSame("vT", &vT);
  const Operand out = shape.Sequences("score", &score);
  shape.CheckScore("score", &score);
  const Operand state_path = shape.Steps("states", &states, shape.T() + 1),
                arc_path = shape.Steps("arcs", &arcs, shape.T());
  shape.CheckIndex("states", &states);
  shape.CheckIndex("arcs", &arcs);
  ParallelFor(shape.N(), context.threads, [&](std::int64_t n) {
    const Path path = BestPath(shape, first, last, n);
    Put(out, 0, n, 0, path.score);
    const auto write = [&](const Operand& to, const std::vector<std::int64_t>& values,
                           std::int64_t steps) {
      for (std::int64_t t = 0; t < steps; ++t) {
        static_cast<std::int64_t*>(to.data)[to.At(t, n)] =
            t < static_cast<std::int64_t>(values.size()) ? values[(size_t)t] : -1;
      }
    };
    write(state_path, path.states, shape.T() + 1);
    write(arc_path, path.arcs, shape.T());
  });
}

void logZ_covariance(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                     const Tensor* lengths, ScanDirection direction, Tensor* mean, Tensor* cov_Ms,
                     Tensor* cov_v0, Tensor* cov_vT, Context context) {
  const ScanShape shape("logZ_covariance", Ms, graph, lengths);
  const Operand first = shape.States("v0", &v0), last = shape.States("vT", &vT);
  shape.CheckSame("v0", &v0);
  shape.CheckSame("vT", &vT);
  const Operand d = shape.LikeMs("direction.Ms", direction.Ms),
                d0 = shape.States("direction.v0", direction.v0),
                dT = shape.States("direction.vT", direction.vT);
  shape.CheckWide("direction.Ms", direction.Ms);
  shape.CheckWide("direction.v0", direction.v0);
  shape.CheckWide("direction.vT", direction.vT);
  const Operand m = shape.Sequences("mean", mean), c = shape.LikeMs("cov_Ms", cov_Ms),
                c0 = shape.States("cov_v0", cov_v0), cT = shape.States("cov_vT", cov_vT);
  shape.CheckWide("mean", mean);
  shape.CheckWide("cov_Ms", cov_Ms);
  shape.CheckWide("cov_v0", cov_v0);
  shape.CheckWide("cov_vT", cov_vT);
  ParallelFor(shape.N(), context.threads,
              [&](std::int64_t n) { Covariance(shape, first, last, d, d0, dT, n, m, c, c0, cT); });
}

}  // namespace logsum
