// The log-space matrix product from C++, without allocation of results, on one thread: what its
// parts cost. Compared with peers by benchmarks/matmul.py.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

#include "logsum/matmul.hpp"

namespace {

using logsum::DType;
using logsum::Tensor;

template <class T>
class Matrix {
 public:
  Matrix(std::int64_t rows, std::int64_t columns, double sigma)
      : shape_{rows, columns}, strides_{columns, 1} {
    std::mt19937 generator(7);
    std::normal_distribution<double> normal(0.0, sigma);
    values_.resize(static_cast<std::size_t>(rows * columns));
    for (T& value : values_) value = static_cast<T>(normal(generator));
    tensor_ = {.data = values_.data(),
               .dtype = sizeof(T) == sizeof(double) ? DType::f64 : DType::f32,
               .shape = shape_,
               .strides = strides_};
  }
  Tensor& tensor() { return tensor_; }

 private:
  std::vector<std::int64_t> shape_, strides_;
  std::vector<T> values_;
  Tensor tensor_;
};

void CountMultiplyAdds(benchmark::State& state, std::int64_t count) {
  state.counters["multiply-adds"] =
      benchmark::Counter(static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void Forward(benchmark::State& state) {
  const std::int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const auto sigma = static_cast<double>(state.range(3));
  Matrix<T> a(m, k, sigma), b(k, n, sigma), c(m, n, 0);
  for (auto _ : state) {
    logsum::logmatmulexp(a.tensor(), b.tensor(), c.tensor(), nullptr, nullptr, {}, {.threads = 1});
  }
  CountMultiplyAdds(state, m * n * k);
}
void Shapes(benchmark::internal::Benchmark* b) {
  b->Args({1024, 1024, 1024, 3})->Args({256, 256, 256, 3})->Args({64, 64, 10000, 3});
  b->Args({1000000, 32, 32, 3})->Args({64, 64, 64, 3})->Args({1024, 1024, 1024, 300});
  b->Unit(benchmark::kMicrosecond);
}
BENCHMARK(Forward<float>)->Apply(Shapes);
BENCHMARK(Forward<double>)->Apply(Shapes);

template <class T>
void Backward(benchmark::State& state) {
  const std::int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const auto sigma = static_cast<double>(state.range(3));
  Matrix<T> a(m, k, sigma), b(k, n, sigma), c(m, n, 0), residual(m, n, 0), grad(m, n, 1);
  Matrix<T> grad_a(m, k, 0), grad_b(k, n, 0);
  const logsum::Context context{.threads = 1};
  logsum::logmatmulexp(a.tensor(), b.tensor(), c.tensor(), nullptr, nullptr, &residual.tensor(), {},
                       context);
  for (auto _ : state) {
    logsum::logmatmulexp_backward(grad.tensor(), a.tensor(), b.tensor(), c.tensor(),
                                  &residual.tensor(), &grad_a.tensor(), &grad_b.tensor(), {},
                                  context);
  }
  CountMultiplyAdds(state, 2 * m * n * k);
}
BENCHMARK(Backward<float>)->Apply(Shapes);

}  // namespace
