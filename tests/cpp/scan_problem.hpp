// Scans for tests: random graphs and weights, and long double references in logarithms.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/scan.hpp"

namespace logsum::testing {

using Indices = std::vector<std::int64_t>;

// An int64 array, seen by the library as a Tensor.
class IndexArray {
 public:
  explicit IndexArray(std::vector<std::int64_t> shape, Indices values = {})
      : values(std::move(values)), shape_(std::move(shape)), strides_(shape_.size()) {
    std::int64_t count = 1;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      strides_[i] = count;
      count *= shape_[i];
    }
    this->values.resize(static_cast<std::size_t>(count), -7);
  }
  operator Tensor() { return {values.data(), DType::i64, Device::cpu, 0, shape_, strides_}; }

  Indices values;

 private:
  std::vector<std::int64_t> shape_, strides_;
};

struct ArcList {
  std::int64_t num_states = 0;
  Indices source, target;

  std::int64_t Size() const { return static_cast<std::int64_t>(source.size()); }
  Graph Make() const {
    IndexArray from({Size()}, source), to({Size()}, target);
    return Graph::from_arcs(from, to, num_states);
  }
};

inline ArcList RandomArcs(std::int64_t num_states, std::int64_t num_arcs, std::mt19937& random) {
  ArcList arcs{.num_states = num_states, .source = {}, .target = {}};
  for (std::int64_t e = 0; e < num_arcs; ++e) {
    arcs.source.push_back(static_cast<std::int64_t>(random() % static_cast<unsigned>(num_states)));
    arcs.target.push_back(static_cast<std::int64_t>(random() % static_cast<unsigned>(num_states)));
  }
  return arcs;
}

// A sum of logarithms, or their maximum.
class LogSum {
 public:
  explicit LogSum(bool is_max = false) : is_max_(is_max) {}
  void Add(long double x) {
    if (x == -kInf || std::isnan(top_)) return;
    if (std::isnan(x)) {
      top_ = x;
    } else if (is_max_) {
      top_ = std::max(top_, x);
    } else if (x > top_) {
      sum_ = sum_ * std::exp(top_ - x) + 1;
      top_ = x;
    } else {
      sum_ += x == top_ ? 1 : std::exp(x - top_);
    }
  }
  long double Value() const { return is_max_ || std::isinf(top_) ? top_ : top_ + std::log(sum_); }

 private:
  bool is_max_;
  long double top_ = -kInf, sum_ = 0;
};

inline long double Joined(long double a, long double b) {
  return a == -kInf || b == -kInf ? -kInf : a + b;
}

// One sequence: its weights as the library sees them, and everything about its paths.
struct Sequence {
  const ArcList& arcs;
  std::int64_t length;
  std::vector<double> weights, v0, vT;  // weights[t * E + e]

  using Row = std::vector<long double>;
  using Rows = std::vector<Row>;

  long double Weight(std::int64_t t, std::int64_t e) const {
    return weights[static_cast<std::size_t>(t * arcs.Size() + e)];
  }

  Rows Forward(bool is_max = false) const {
    Rows rows(1, Row(v0.begin(), v0.end()));
    for (std::int64_t t = 0; t < length; ++t) {
      rows.push_back(Step(rows.back(), t, arcs.target, arcs.source, is_max));
    }
    return rows;
  }
  Rows Backward(bool is_max = false) const {
    Rows rows(1, Row(vT.begin(), vT.end()));
    for (std::int64_t t = length; t-- > 0;) {
      rows.push_back(Step(rows.back(), t, arcs.source, arcs.target, is_max));
    }
    std::reverse(rows.begin(), rows.end());
    return rows;
  }

 private:
  Row Step(const Row& from, std::int64_t t, const Indices& into, const Indices& out_of,
           bool is_max) const {
    std::vector<LogSum> sums(from.size(), LogSum(is_max));
    for (std::int64_t e = 0; e < arcs.Size(); ++e) {
      const auto i = static_cast<std::size_t>(e);
      sums[static_cast<std::size_t>(into[i])].Add(
          Joined(from[static_cast<std::size_t>(out_of[i])], Weight(t, e)));
    }
    Row row;
    for (const LogSum& sum : sums) row.push_back(sum.Value());
    return row;
  }
};

inline long double ShareOf(long double x, long double total) {
  return x == -kInf || total == -kInf ? 0 : std::exp(x - total);
}

// Posterior of a sequence by forward and backward rows.
struct Posterior {
  explicit Posterior(const Sequence& sequence) {
    const auto alpha = sequence.Forward(), beta = sequence.Backward();
    LogSum sum;
    for (std::size_t c = 0; c < beta.back().size(); ++c) {
      sum.Add(Joined(alpha.back()[c], beta.back()[c]));
    }
    logZ = sum.Value();
    for (std::size_t t = 0; t < alpha.size(); ++t) {
      states.emplace_back();
      for (std::size_t c = 0; c < alpha[t].size(); ++c) {
        states.back().push_back(ShareOf(Joined(alpha[t][c], beta[t][c]), logZ));
      }
    }
    for (std::int64_t t = 0; t < sequence.length; ++t) {
      arcs.emplace_back();
      const auto step = static_cast<std::size_t>(t);
      for (std::int64_t e = 0; e < sequence.arcs.Size(); ++e) {
        const auto i = static_cast<std::size_t>(e);
        const auto from = static_cast<std::size_t>(sequence.arcs.source[i]);
        const auto to = static_cast<std::size_t>(sequence.arcs.target[i]);
        arcs.back().push_back(ShareOf(
            Joined(Joined(alpha[step][from], sequence.Weight(t, e)), beta[step + 1][to]), logZ));
      }
    }
  }

  long double logZ;
  Sequence::Rows states, arcs;  // states[t][c], arcs[t][e]
};

// What a test sums over: T steps of N sequences, and results of the library.
template <class T>
struct ScanProblem {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

  ScanProblem(ArcList graph_arcs, std::int64_t num_steps, std::int64_t num_sequences)
      : arcs(std::move(graph_arcs)),
        graph(arcs.Make()),
        steps(num_steps),
        sequences(num_sequences),
        Ms({num_steps, num_sequences, arcs.Size()}),
        v0({num_sequences, arcs.num_states}),
        vT({num_sequences, arcs.num_states}),
        logZ({num_sequences}),
        grad_Ms({num_steps, num_sequences, arcs.Size()}),
        grad_v0({num_sequences, arcs.num_states}),
        grad_vT({num_sequences, arcs.num_states}) {}

  template <class Draw>
  ScanProblem& Fill(const Draw& draw) {
    Ms.Fill(draw);
    v0.Fill(draw);
    vT.Fill(draw);
    return *this;
  }
  ScanProblem& SetLengths(Indices values) {
    lengths.emplace(std::vector<std::int64_t>{sequences}, std::move(values));
    return *this;
  }
  std::int64_t LengthOf(std::int64_t n) const {
    return lengths ? lengths->values[static_cast<std::size_t>(n)] : steps;
  }

  // Calls the library; the logZ alone and with gradients in `logZ` both.
  ScanReport Run(ScanOptions options = {}, Context context = {}) {
    Tensor sums = logZ, of_Ms = grad_Ms, of_v0 = grad_v0, of_vT = grad_vT;
    return logsum::logZ(Ms, graph, v0, vT, Lengths(), sums, &of_Ms, &of_v0, &of_vT, options,
                        context);
  }
  ScanReport RunAlone(Array<Wide>& sums, ScanOptions options = {}, Context context = {}) {
    Tensor to = sums;
    return logsum::logZ(Ms, graph, v0, vT, Lengths(), to, nullptr, nullptr, nullptr, options,
                        context);
  }

  // The tensor of lengths or null; valid until the next call.
  const Tensor* Lengths() {
    if (!lengths) return nullptr;
    lengths_tensor = *lengths;
    return &lengths_tensor;
  }

  Sequence Of(std::int64_t n) {
    Sequence sequence{arcs, LengthOf(n), {}, {}, {}};
    const auto weight = [](double x) { return x <= -1e30 ? -kInf : x; };
    for (std::int64_t t = 0; t < sequence.length; ++t) {
      for (std::int64_t e = 0; e < arcs.Size(); ++e) {
        sequence.weights.push_back(weight(Ms.Get((t * sequences + n) * arcs.Size() + e)));
      }
    }
    for (std::int64_t c = 0; c < arcs.num_states; ++c) {
      sequence.v0.push_back(weight(v0.Get(n * arcs.num_states + c)));
      sequence.vT.push_back(weight(vT.Get(n * arcs.num_states + c)));
    }
    return sequence;
  }

  ArcList arcs;
  Graph graph;
  std::int64_t steps, sequences;
  Array<T> Ms, v0, vT;
  Array<Wide> logZ;
  Array<T> grad_Ms, grad_v0, grad_vT;
  std::optional<IndexArray> lengths;
  Tensor lengths_tensor;
};

}  // namespace logsum::testing
