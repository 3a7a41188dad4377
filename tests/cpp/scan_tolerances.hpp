// How far results of scans may be from exact ones.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <sstream>

#include "array.hpp"
#include "scan_problem.hpp"

namespace logsum::testing {

// Half the spacing of a type's numbers, relative; results below its smallest normal are flushed.
template <class T>
constexpr double kHalfSpacing = 0x1p-53;
template <>
inline constexpr double kHalfSpacing<float> = 0x1p-24;
template <>
inline constexpr double kHalfSpacing<BFloat16> = 0x1p-8;
template <>
inline constexpr double kHalfSpacing<Half> = 0x1p-11;

// A step multiplies by an exponential (1.1 ulp, and x - largest is rounded once, where it is large)
// and adds in-degree terms, each with half an ulp: 8 ulp a step are generous. What |x| contributes
// is passed as `size`.
inline double ScanError(std::int64_t steps, double size) {
  return static_cast<double>(steps + 2) * 8 * 0x1p-53 * (1 + size);
}

template <class T>
void CheckSums(ScanProblem<T>& problem, ScanOptions options = {}) {
  using Wide = typename ScanProblem<T>::Wide;
  Array<Wide> alone({problem.sequences});
  problem.grad_Ms.Fill([] { return 77; });
  problem.RunAlone(alone, options);
  problem.Run(options);
  double size = 0;
  for (std::int64_t i = 0; i < problem.Ms.Size(); ++i) {
    const double x = std::abs(problem.Ms.Get(i));
    if (x < 1e30) size = std::max(size, x);
  }
  const std::int64_t states = problem.arcs.num_states, slots = problem.arcs.Size();
  for (std::int64_t n = 0; n < problem.sequences; ++n) {
    const Sequence sequence = problem.Of(n);
    const Posterior exact(sequence);
    const double want = static_cast<double>(exact.logZ);
    const double error = ScanError(sequence.length, size);
    std::ostringstream where;
    where << "sequence " << n << " of " << problem.sequences << ", length " << sequence.length
          << ", " << states << " states, " << slots << " slots";
    if (std::isfinite(want)) {
      const double within = error + std::abs(want) * 1.001 * kHalfSpacing<Wide>;
      ASSERT_NEAR(problem.logZ.Get(n), want, within) << where.str();
      ASSERT_NEAR(alone.Get(n), want, within) << where.str();
    } else {
      ASSERT_EQ(problem.logZ.Get(n), want) << where.str();
      ASSERT_EQ(alone.Get(n), want) << where.str();
    }
    const auto close = [&](double got, long double p) {
      const double limit =
          static_cast<double>(p) * (2 * error + kHalfSpacing<T> * 1.01) + 0x1p-24 * 0x1p-24;
      const double tiny = sizeof(T) == 2 ? 0x1p-24 : 0;
      ASSERT_NEAR(got, static_cast<double>(p), limit + tiny) << where.str();
    };
    for (std::int64_t c = 0; c < states; ++c) {
      const auto i = static_cast<std::size_t>(c);
      close(problem.grad_v0.Get(n * states + c), exact.states.front()[i]);
      close(problem.grad_vT.Get(n * states + c), exact.states.back()[i]);
    }
    for (std::int64_t t = 0; t < problem.steps; ++t) {
      for (std::int64_t e = 0; e < slots; ++e) {
        const double got = problem.grad_Ms.Get((t * problem.sequences + n) * slots + e);
        const bool inside = t < sequence.length;
        close(got,
              inside ? exact.arcs[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)] : 0.0L);
        if (::testing::Test::HasFatalFailure()) {
          FAIL() << "step " << t << ", slot " << e;
        }
      }
    }
  }
}

template <class T>
void CheckSums(ScanProblem<T>&& problem) {
  CheckSums(problem);
}

}  // namespace logsum::testing
