// The gradient of a product in the Max semiring: every gradient goes to the lowest k that attains
// the maximum, found again by the forward kernel. Sums are in double, in an order that shapes fix.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/dtype.hpp"
#include "core/parallel.hpp"
#include "matmul/max.hpp"
#include "matmul/run.hpp"
#include "matmul/write.hpp"

namespace logsum::matmul {
namespace {

// A contiguous tensor of its own memory.
template <class T>
class Owned {
 public:
  Owned(std::vector<std::int64_t> shape, DType dtype) : shape_(std::move(shape)) {
    strides_.resize(shape_.size());
    std::int64_t count = 1;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      strides_[i] = count;
      count *= shape_[i];
    }
    memory_.resize(static_cast<std::size_t>(count));
    tensor_ = {.data = memory_.data(), .dtype = dtype, .shape = shape_, .strides = strides_};
  }
  Tensor& tensor() { return tensor_; }
  std::vector<T>& memory() { return memory_; }

 private:
  std::vector<std::int64_t> shape_, strides_;
  std::vector<T> memory_;
  Tensor tensor_;
};

// Which k every output comes from, -1 where no term is above -inf. Sums are rounded to Real, as in
// the forward product, so that its ties are ties here too.
template <class Real>
void FindSources(const ProductShape& shape, const Tensor& A, const Tensor& B, Tensor& argmax,
                 std::vector<std::int64_t>& sources, int threads) {
  const std::vector<std::int64_t> c_shape(argmax.shape.begin(), argmax.shape.end());
  Owned<Real> largest(c_shape, sizeof(Real) == sizeof(double) ? DType::f64 : DType::f32);
  const Plan plan = MakePlan(shape.Batch(), {.value = &A}, {.value = &B, .transposed = true}, {},
                             {.out = &largest.tensor(), .argmax = &argmax});
  if (!plan.HasOutput()) return;
  RunMax(plan, threads);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (largest.memory()[i] == -std::numeric_limits<Real>::infinity()) sources[i] = -1;
  }
}

double ReadWeight(const Source& source, std::int64_t at) {
  return VisitFloating(source.dtype, [&](auto storage) {
    return static_cast<double>(ToFloat(static_cast<const decltype(storage)*>(source.data)[at]));
  });
}

// Adds the gradients of outer index o of `from` (argmax and gradient) by source, over its inner.
void Gather(const Operand& from, std::int64_t b, std::int64_t o, std::int64_t depth,
            std::vector<double>& sums) {
  const auto* const sources = static_cast<const std::int64_t*>(from.value.data);
  std::fill(sums.begin(), sums.end(), 0.0);
  for (std::int64_t y = 0; y < depth; ++y) {
    const std::int64_t k = sources[from.value.At(b, o, y)];
    if (k >= 0)
      sums[static_cast<std::size_t>(k)] += ReadWeight(from.weight, from.weight.At(b, o, y));
  }
}

}  // namespace

void RunMaxBackward(const ProductShape& shape, const Tensor& grad, const Tensor& A, const Tensor& B,
                    Tensor* grad_A, Tensor* grad_B, int threads) {
  Owned<std::int64_t> argmax({grad.shape.begin(), grad.shape.end()}, DType::i64);
  const auto find_sources = A.dtype == DType::f64 ? FindSources<double> : FindSources<float>;
  find_sources(shape, A, B, argmax.tensor(), argmax.memory(), threads);
  const OperandTensors routes{.value = &argmax.tensor(), .weight = &grad};
  if (grad_A != nullptr) {
    const Plan plan =
        MakePlan(shape.Batch(), routes, {.value = &B}, {.value = &A}, {.out = grad_A});
    ParallelFor(plan.batch * plan.rows, threads, [&](std::int64_t task) {
      const std::int64_t b = task / plan.rows, i = task % plan.rows;
      std::vector<double> sums(static_cast<std::size_t>(plan.columns));
      Gather(plan.left, b, i, plan.depth, sums);
      for (std::int64_t k = 0; k < plan.columns; ++k) {
        Store(plan.out, {b, i, k}, sums[static_cast<std::size_t>(k)]);
      }
    });
  }
  if (grad_B != nullptr) {
    OperandTensors transposed = routes;
    transposed.transposed = true;
    const Plan plan = MakePlan(shape.Batch(), {.value = &A, .transposed = true}, transposed,
                               {.value = &B}, {.out = grad_B});
    ParallelFor(plan.batch * plan.columns, threads, [&](std::int64_t task) {
      const std::int64_t b = task / plan.columns, j = task % plan.columns;
      std::vector<double> sums(static_cast<std::size_t>(plan.rows));
      Gather(plan.right, b, j, plan.depth, sums);
      for (std::int64_t k = 0; k < plan.rows; ++k) {
        Store(plan.out, {b, k, j}, sums[static_cast<std::size_t>(k)]);
      }
    });
  }
}

}  // namespace logsum::matmul
