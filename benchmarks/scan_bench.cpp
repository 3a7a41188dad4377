// Scans over a graph such as CTC makes of 100 labels (201 states, three arcs into each), and the
// memory traffic that they cannot avoid: Ms twice and its gradient once.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "core/parallel.hpp"
#include "logsum/scan.hpp"

namespace logsum {
namespace {

constexpr std::int64_t kStates = 201, kWidth = 3, kSlots = kStates * kWidth;

enum class Work { sum, gradient, max_gradient, scores, covariance, repair };

template <class T>
Tensor View(std::vector<T>& data, std::vector<std::int64_t>& shape,
            std::vector<std::int64_t>& strides) {
  strides.assign(shape.size(), 1);
  for (std::size_t i = shape.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * shape[i + 1];
  constexpr DType kType = sizeof(T) == 4 ? DType::f32 : DType::f64;
  return {data.data(), kType, Device::cpu, 0, shape, strides};
}

template <class T>
struct Array {
  Array(std::vector<std::int64_t> sizes, double sigma = 0) : shape(std::move(sizes)) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    data.resize(count);
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, static_cast<float>(sigma));
    for (T& x : data) x = sigma > 0 ? static_cast<T>(normal(random)) : T{0};
    tensor = View(data, shape, strides);
  }
  std::vector<T> data;
  std::vector<std::int64_t> shape, strides;
  Tensor tensor;
};

Graph CtcGraph() {
  std::vector<std::int32_t> idx(static_cast<std::size_t>(kSlots));
  for (std::int64_t c = 0; c < kStates; ++c) {
    for (std::int64_t j = 0; j < kWidth; ++j) {
      idx[static_cast<std::size_t>(c * kWidth + j)] =
          static_cast<std::int32_t>((c - j + kStates) % kStates);
    }
  }
  const std::int64_t shape[] = {kStates, kWidth}, strides[] = {kWidth, 1};
  return Graph::from_index({idx.data(), DType::i32, Device::cpu, 0, shape, strides});
}

template <class T, Work work>
void Scan(benchmark::State& state) {
  const std::int64_t T_ = 500, N = state.range(0);
  const int threads = static_cast<int>(state.range(1));
  const Graph graph = CtcGraph();
  // Weights so spread that no sequence keeps to the linear domain.
  Array<T> Ms({T_, N, kSlots}, work == Work::repair ? 400 : 1), v0({N, kStates}, 1),
      vT({N, kStates}, 1), logZ({N}), grad({T_, N, kSlots});
  Array<T> alpha({work == Work::scores ? T_ + 1 : 1, N, kStates});
  ScanReport report;
  for ([[maybe_unused]] auto step : state) {
    const Context context{.threads = threads};
    const Semiring semiring = work == Work::max_gradient ? Semiring::max : Semiring::log;
    if (work == Work::scores) {
      forward_scores(Ms.tensor, graph, v0.tensor, nullptr, alpha.tensor, {}, context);
    } else if (work == Work::covariance) {
      logZ_covariance(Ms.tensor, graph, v0.tensor, vT.tensor, nullptr, {.Ms = &Ms.tensor}, nullptr,
                      &grad.tensor, nullptr, nullptr, context);
    } else {
      Tensor* const to = work == Work::sum ? nullptr : &grad.tensor;
      report = logsum::logZ(Ms.tensor, graph, v0.tensor, vT.tensor, nullptr, logZ.tensor, to,
                            nullptr, nullptr, {.semiring = semiring}, context);
    }
  }
  state.counters["repaired"] = static_cast<double>(report.repaired);
  state.SetItemsProcessed(state.iterations() * T_ * N * kSlots);
}

// Ms read twice, the gradient written once, by plain loops in blocks.
void Stream(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(500 * state.range(0) * kSlots);
  const int threads = static_cast<int>(state.range(1));
  std::vector<float> Ms(size, 1.0f), grad(size);
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  const auto blocks = static_cast<std::int64_t>((size + kBlock - 1) / kBlock);
  std::vector<float> sums(static_cast<std::size_t>(blocks));
  for ([[maybe_unused]] auto step : state) {
    for (const bool writes : {false, true}) {
      ParallelFor(blocks, threads, [&](std::int64_t index) {
        const std::size_t begin = static_cast<std::size_t>(index) * kBlock;
        const std::size_t end = std::min(begin + kBlock, size);
        if (writes) {
          std::memcpy(grad.data() + begin, Ms.data() + begin, (end - begin) * sizeof(float));
          return;
        }
        float lanes[16] = {};
        for (std::size_t i = begin; i + 16 <= end; i += 16) {
          for (std::size_t k = 0; k < 16; ++k) lanes[k] += Ms[i + k];
        }
        sums[static_cast<std::size_t>(index)] = lanes[0] + lanes[7];
      });
    }
    benchmark::DoNotOptimize(sums.data());
    benchmark::DoNotOptimize(grad.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size) * 12);
}

void Sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"N", "threads"})->Args({128, 1})->Args({128, 2})->Args({1, 1});
  bench->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_TEMPLATE(Scan, float, Work::sum)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, float, Work::gradient)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, double, Work::gradient)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, float, Work::max_gradient)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, float, Work::scores)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, float, Work::covariance)->Apply(Sizes);
BENCHMARK_TEMPLATE(Scan, float, Work::repair)->Apply(Sizes);
BENCHMARK(Stream)->Apply(Sizes);

}  // namespace
}  // namespace logsum
