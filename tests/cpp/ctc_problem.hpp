// A batch for the functions of ctc.hpp, and its results held against long double.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "array.hpp"
#include "ctc_reference.hpp"
#include "logsum/config.hpp"
#include "logsum/ctc.hpp"
#include "scan_tolerances.hpp"

namespace logsum::testing {

// A contiguous array of int32 or int64, seen by the library as a Tensor.
template <class I = std::int64_t>
class Integers {
 public:
  Integers(std::vector<std::int64_t> shape, const Labels& values)
      : shape_(std::move(shape)), strides_(shape_.size()), values_(values.begin(), values.end()) {
    std::int64_t step = 1;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      strides_[i] = step;
      step *= shape_[i];
    }
    values_.resize(static_cast<std::size_t>(step), I{-7});
  }
  explicit Integers(const Labels& values)
      : Integers({static_cast<std::int64_t>(values.size())}, values) {}
  operator Tensor() {  // NOLINT(google-explicit-constructor)
    constexpr DType kDType = sizeof(I) == 4 ? DType::i32 : DType::i64;
    return {values_.data(), kDType, Device::cpu, 0, shape_, strides_};
  }
  std::vector<I>& values() { return values_; }
  bool operator==(const Integers& other) const { return values_ == other.values_; }

 private:
  std::vector<std::int64_t> shape_, strides_;
  std::vector<I> values_;
};

inline Labels LengthsOf(const std::vector<Labels>& targets) {
  Labels lengths;
  for (const Labels& target : targets) {
    lengths.push_back(static_cast<std::int64_t>(target.size()));
  }
  return lengths;
}
inline Labels Concatenated(const std::vector<Labels>& targets) {
  Labels all;
  for (const Labels& target : targets) all.insert(all.end(), target.begin(), target.end());
  return all;
}

// `length` labels other than the blank, some of them like their neighbour before.
inline Labels RandomTarget(std::int64_t length, std::int64_t num_labels, std::int64_t blank,
                           std::mt19937& random) {
  Labels target;
  while (static_cast<std::int64_t>(target.size()) < length) {
    const auto label = static_cast<std::int64_t>(random() % static_cast<unsigned>(num_labels));
    if (!target.empty() && random() % 4 == 0) {
      target.push_back(target.back());
    } else if (label != blank) {
      target.push_back(label);
    }
  }
  return target;
}

template <class T>
struct CtcProblem {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

  CtcProblem(std::int64_t frames, std::int64_t num_labels, std::vector<Labels> of_targets,
             std::vector<int> order = {})
      : T_(frames),
        N(static_cast<std::int64_t>(of_targets.size())),
        C(num_labels),
        targets(std::move(of_targets)),
        input_lengths(static_cast<std::size_t>(N), frames),
        log_probs({frames, N, num_labels}, order),
        grad({frames, N, num_labels}, order),
        losses({N}),
        alone({N}) {}

  template <class Draw>
  CtcProblem& Fill(const Draw& draw) {
    log_probs.Fill(draw);
    return *this;
  }
  std::int64_t At(std::int64_t t, std::int64_t n, std::int64_t c) const {
    return (t * N + n) * C + c;
  }

  // The loss with its gradient; and without, into `alone`.
  ScanReport Run(Context context = {}) {
    grad.Fill([] { return 77; });
    Tensor to = losses, of = grad;
    return Call(to, &of, context);
  }
  ScanReport RunAlone(Context context = {}) {
    Tensor to = alone;
    return Call(to, nullptr, context);
  }
  ScanReport Call(Tensor& to, Tensor* of, Context context) {
    Integers<> labels(Concatenated(targets)), lengths(input_lengths), sizes(LengthsOf(targets));
    return ctc_loss(log_probs, labels, lengths, sizes, to, of, options, context);
  }

  // As the library sees it; with from_logits after a log_softmax.
  CtcSequenceOf Of(std::int64_t n) {
    CtcSequenceOf sequence{{}, targets[static_cast<std::size_t>(n)], options.blank};
    for (std::int64_t t = 0; t < input_lengths[static_cast<std::size_t>(n)]; ++t) {
      LongRow row;
      for (std::int64_t c = 0; c < C; ++c) row.push_back(log_probs.Get(At(t, n, c)));
      sequence.frames.push_back(options.from_logits ? LogSoftmax(row) : row);
    }
    return sequence;
  }

  // What rounding may do to a loss, and relatively to a posterior: in each frame the emissions are
  // rounded relative to the largest (`spread` away at most), exponentials have 1.1 ulp, sums of
  // three half an ulp an addition, and a softmax's denominator C additions.
  double RoundingOf(const CtcSequenceOf& sequence) const {
    double rounding = 0;
    for (const LongRow& row : sequence.frames) {
      const long double top = *std::max_element(row.begin(), row.end());
      double spread = 0;
      for (const long double x : row) {
        if (x > -1e30L) spread = std::max(spread, static_cast<double>(top - x));
      }
      const double softmax = options.from_logits ? static_cast<double>(C) : 0;
      rounding += 8 + spread + softmax;
    }
    return (rounding + 16) * 0x1p-53;
  }

  // What one CPU target gives.
  struct Result {
    std::string target;
    std::int64_t repaired;
    Array<T> grad;
    Array<Wide> losses, alone;
  };

  std::vector<Result> RunOnEveryTarget() {
    std::vector<Result> results;
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      const ScanReport report = Run({.threads = 1});
      RunAlone({.threads = 1});
      results.push_back({target, report.repaired, grad, losses, alone});
    }
    set_cpu_target("");
    return results;
  }

  std::vector<Result> Check() {
    std::vector<Result> results = RunOnEveryTarget();
    for (std::int64_t n = 0; n < N; ++n) {
      const CtcSequenceOf sequence = Of(n);
      const CtcExact exact(sequence, options.semiring == Semiring::max);
      for (Result& result : results) {
        SCOPED_TRACE(Where(n) + ", " + result.target);
        CheckSequence(n, sequence, exact, result);
        if (::testing::Test::HasFailure()) return results;
      }
    }
    return results;
  }

  std::string Where(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return "sequence " + std::to_string(n) + " of " + std::to_string(N) + ", " +
           std::to_string(input_lengths[i]) + " of " + std::to_string(T_) + " frames, " +
           std::to_string(targets[i].size()) + " of " + std::to_string(C) + " labels, blank " +
           std::to_string(options.blank) + (options.from_logits ? ", logits" : "") +
           (options.semiring == Semiring::max ? ", max" : "");
  }

  void CheckSequence(std::int64_t n, const CtcSequenceOf& sequence, const CtcExact& exact,
                     Result& result) {
    const bool is_max = options.semiring == Semiring::max;
    const double want = static_cast<double>(0 - exact.score);
    const double rounding = RoundingOf(sequence);
    if (std::isfinite(want)) {
      double size = std::abs(want);
      if (is_max) size *= static_cast<double>(sequence.frames.size() + 2);
      for (const LongRow& row : sequence.frames) {
        size += std::abs(static_cast<double>(*std::max_element(row.begin(), row.end())));
      }
      const double within = rounding + size * 0x1p-51 + std::abs(want) * 1.001 * kHalfSpacing<Wide>;
      EXPECT_NEAR(result.losses.Get(n), want, within);
      EXPECT_NEAR(result.alone.Get(n), want, within);
    } else {
      const double stored = options.zero_infinity ? 0 : want;
      EXPECT_EQ(result.losses.Get(n), stored);
      EXPECT_EQ(result.alone.Get(n), stored);
    }
    if (!is_max) CheckGradient(n, sequence, exact, rounding, result);
  }

  void CheckGradient(std::int64_t n, const CtcSequenceOf& sequence, const CtcExact& exact,
                     double rounding, Result& result) {
    const double weight = options.weights == nullptr ? 1 : WeightOf(n);
    // Numbers below the smallest normal one may be flushed, those of f16 are rounded there.
    const double tiny = std::is_same_v<T, Half> ? 0x1p-24 : 0x1p-126;
    for (std::int64_t t = 0; t < T_; ++t) {
      for (std::int64_t c = 0; c < C; ++c) {
        const auto frame = static_cast<std::size_t>(t), label = static_cast<std::size_t>(c);
        const bool has = frame < sequence.frames.size() && exact.score != -kLongInf;
        const auto gamma = has ? static_cast<double>(exact.posteriors[frame][label]) : 0.0;
        const double p = has && options.from_logits
                             ? static_cast<double>(std::exp(sequence.frames[frame][label]))
                             : 0.0;
        const double want = weight * (p - gamma);
        // Phantoms and the frame's normalisation: 2^-53 each. The softmax of labels that the
        // target lacks is computed in the type of the frames.
        const double within =
            std::abs(weight) * (2 * rounding * (gamma + p) + 4 * p * kHalfSpacing<Wide> + 0x1p-52) +
            std::abs(want) * 1.01 * kHalfSpacing<T> + tiny;
        ASSERT_NEAR(result.grad.Get(At(t, n, c)), want, within) << "frame " << t << ", label " << c;
      }
    }
  }

  double WeightOf(std::int64_t n) const {
    const auto* const data = static_cast<const float*>(options.weights->data);
    return data[n * options.weights->strides[0]];
  }

  std::int64_t T_, N, C;
  std::vector<Labels> targets;
  Labels input_lengths;
  CtcOptions options;
  Array<T> log_probs, grad;
  Array<Wide> losses, alone;
};

}  // namespace logsum::testing
