// How the benchmarks of the core time a loop: in cycles of the clock that the CPU has then.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/float_mode.hpp"

namespace logsum::bench {

// Cycles a second, now: the best of a few short runs, as another process may interrupt one.
inline double Clock() {
  constexpr int kRuns = 10, kAdditions = 80'000;
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    std::int64_t x = 0;
    for (int i = 0; i < kAdditions / 8; ++i) {
      for (int k = 0; k < 8; ++k) {
        x += 3;
        benchmark::DoNotOptimize(x);  // in a register: the next addition waits for this one
      }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, kAdditions / seconds.count());
  }
  return best;
}

// Runs `body` as the benchmark's loop, over `elements` elements of `bytes` bytes read.
template <class Body>
void Measure(benchmark::State& state, std::size_t elements, std::size_t bytes, Body body) {
  const FloatModeGuard flush;
  const double before = Clock();
  for ([[maybe_unused]] auto step : state) {
    body();
    benchmark::ClobberMemory();
  }
  const double clock = (before + Clock()) / 2;
  const auto items = static_cast<double>(state.iterations()) * static_cast<double>(elements);
  using benchmark::Counter;
  state.counters["cycles"] = Counter(items / clock, Counter::kIsRate | Counter::kInvert);
  state.counters["GHz"] = clock / 1e9;
  state.SetItemsProcessed(static_cast<std::int64_t>(items));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

}  // namespace logsum::bench
