// The tile kernels of src/reduce, and a hand-fused loop for the tutorial's formula, on every CPU
// target.
//
//   HandFusedTutorial/f32/AVX2           the log-sum-exp over j of (p - a_j)^2 e^(x_i + y_j), of
//   HandFusedTutorial/f32/AVX2/threads2  3000 x 5000 pairs, as one would write it for this formula
//   Fold/logsumexp/rows/f32/AVX2         pushing a tile of 16 x 256 values that are in L1
//   SqDist/64/f32/AVX2                   squared distances of a tile, by dimension; Dot
//   WeightedSum/64/rows/f32/AVX2         sums of w V; of w (U - V); means under e^F
//
// `cycles` is cycles per pair; of SqDist and below per pair and component.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "reduce_bench.cpp"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/exp-inl.h"
#include "measure.hpp"
#include "reduce/fold-inl.h"
#include "reduce/vectors-inl.h"
#include "reduce/weighted-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {
namespace {

template <class Real>
class Uniform {
 public:
  explicit Uniform(std::int64_t size, double low = 0, double high = 1)
      : memory_(hwy::AllocateAligned<Real>(static_cast<std::size_t>(size))) {
    std::mt19937 generator(5);
    std::uniform_real_distribution<double> uniform(low, high);
    for (std::int64_t k = 0; k < size; ++k)
      memory_[static_cast<std::size_t>(k)] = Real(uniform(generator));
  }
  Real* get() const { return memory_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<Real[]> memory_;
};

// ---- the tutorial by hand -----------------------------------------------------------------------

constexpr std::int64_t kRows = 3000, kColumns = 5000, kBlock = 1024;

template <class Real>
struct Tutorial {
  Uniform<Real> x{kRows}, y{kColumns + 64}, a{kColumns}, out{kRows}, square{kColumns + 64};
  Real p = Real(0.4);
};

// One row over a block of columns: the formula and its maximum, then the sum.
template <class Real>
HWY_INLINE void HandFusedBlock(Real x, const Real* y, const Real* square, std::int64_t count,
                               Real* HWY_RESTRICT values, double& max, double& sum) {
  const Words<Real> d;
  using V = Word<Real>;
  constexpr std::int64_t lanes = kLanes<Real>;
  const V row = hn::Set(d, x);
  V top[2] = {hn::Set(d, -kInfinity<Real>), hn::Set(d, -kInfinity<Real>)};
  const std::int64_t whole = count / (2 * lanes) * (2 * lanes);
  const auto formula = [&](std::int64_t j) HWY_ATTR {
    const V e = logsum::HWY_NAMESPACE::Exp(d, hn::Add(row, hn::LoadU(d, y + j)));
    return hn::Mul(hn::LoadU(d, square + j), e);
  };
  for (std::int64_t j = 0; j < whole; j += 2 * lanes) {
    for (int k = 0; k < 2; ++k) {
      const V f = formula(j + k * lanes);
      hn::Store(f, d, values + j + k * lanes);
      top[k] = hn::Max(top[k], f);
    }
  }
  // The block's end: beyond it there is nothing.
  for (std::int64_t j = whole; j < count; j += lanes) {
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - j));
    const V f = hn::IfThenElse(valid, formula(j), hn::Set(d, -kInfinity<Real>));
    hn::Store(f, d, values + j);
    top[0] = hn::Max(top[0], f);
  }
  const double larger =
      std::max<double>(max, hn::GetLane(hn::MaxOfLanes(d, hn::Max(top[0], top[1]))));
  const V m = hn::Set(d, static_cast<Real>(larger));
  V part[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  std::int64_t j = 0;
  for (; j + 4 * lanes <= count; j += 4 * lanes) {
    for (int k = 0; k < 4; ++k) {
      const V f = hn::Load(d, values + j + k * lanes);
      part[k] = hn::Add(part[k], ExpNonPositive(d, hn::Sub(f, m)));
    }
  }
  for (; j < count; j += lanes) {
    part[0] = hn::Add(part[0], ExpNonPositive(d, hn::Sub(hn::Load(d, values + j), m)));
  }
  const V all = hn::Add(hn::Add(part[0], part[1]), hn::Add(part[2], part[3]));
  sum = sum * std::exp(max - larger) + hn::GetLane(hn::SumOfLanes(d, all));
  max = larger;
}

template <class Real>
void HandFused(const Tutorial<Real>& t, std::int64_t begin, std::int64_t end) {
  const FloatModeGuard flush;
  HWY_ALIGN Real values[kBlock];
  for (std::int64_t i = begin; i < end; ++i) {
    double max = -kInfinity<double>, sum = 0;
    for (std::int64_t j = 0; j < kColumns; j += kBlock) {
      HandFusedBlock(t.x.get()[i], t.y.get() + j, t.square.get() + j,
                     std::min(kBlock, kColumns - j), values, max, sum);
    }
    t.out.get()[i] = static_cast<Real>(max + std::log(sum));
  }
}

template <class Real>
void RunHandFused(const Tutorial<Real>& t, int threads) {
  for (std::int64_t j = 0; j < kColumns; ++j) {
    const Real difference = t.p - t.a.get()[j];
    t.square.get()[j] = difference * difference;
  }
  std::vector<std::thread> others;
  for (int k = 1; k < threads; ++k) {
    others.emplace_back([&, k] { HandFused(t, kRows * k / threads, kRows * (k + 1) / threads); });
  }
  HandFused(t, 0, kRows / threads);
  for (std::thread& other : others) other.join();
}

template <class Real>
void RegisterHandFused(const std::string& where) {
  for (const int threads : {1, 2}) {
    const std::string name =
        "HandFusedTutorial/" + where + (threads == 1 ? "" : "/threads" + std::to_string(threads));
    auto* const registered =
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          const Tutorial<Real> tutorial;
          bench::Measure(state, kRows * kColumns, (kRows + 2 * kColumns) * sizeof(Real),
                         [&] { RunHandFused(tutorial, threads); });
        });
    registered->Unit(benchmark::kMillisecond);
    if (threads > 1) registered->UseRealTime();
  }
}

// ---- kernels ------------------------------------------------------------------------------------

constexpr std::int64_t kTileRows = 16, kTileColumns = 256;
// A tile's components a little more than a power of two apart, so that they share the cache.
constexpr std::int64_t kStep = kTileColumns + 16;

template <class Real>
struct State {
  explicit State(const FoldShape& shape)
      : memory(hwy::AllocateAligned<std::byte>(StateBytes<Real>(shape, kTileColumns))),
        state{shape, kTileColumns, memory.get()} {
    InitState(state);
  }
  hwy::AlignedFreeUniquePtr<std::byte[]> memory;
  FoldState<Real> state;
};

template <class Real>
void RegisterFold(const std::string& fold_name, Fold fold, bool rows, const std::string& where) {
  const std::string name = "Fold/" + fold_name + (rows ? "/rows/" : "/columns/") + where;
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    constexpr std::int64_t kPairs = kTileRows * kTileColumns;
    const Uniform<Real> formula(kPairs, -5, 0), weight(kPairs);
    const State<Real> to({.fold = fold,
                          .kept = rows ? FormulaIndex::i : FormulaIndex::j,
                          .count = fold == Fold::kmin ? 5 : 0});
    const TileValue<Real> f{formula.get(), 0, kTileColumns, true};
    const TileValue<Real> w{weight.get(), 0, kTileColumns, true};
    TileSpan span{0, 0, kTileRows, kTileColumns};
    bench::Measure(state, kPairs, 2 * kPairs * sizeof(Real), [&] {
      PushTile<Real>(to.state, 0, f, w, span);
      (rows ? span.column : span.row) += kTileColumns;
    });
  });
}

template <class Real>
void RegisterVectors(bool squares, std::int64_t dim, const std::string& where) {
  const std::string name = (squares ? "SqDist/" : "Dot/") + std::to_string(dim) + "/" + where;
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    const Uniform<Real> x(dim * kTileRows), y(dim * kStep), out(kTileRows * kTileColumns);
    const TileValue<Real> row{x.get(), kTileRows, 1, false}, column{y.get(), kStep, 0, true};
    const TileValue<Real> to{out.get(), 0, kTileColumns, true};
    const TileSpan span{0, 0, kTileRows, kTileColumns};
    const auto terms = static_cast<std::size_t>(kTileRows * kTileColumns * dim);
    bench::Measure(state, terms, terms * sizeof(Real), [&] {
      (squares ? SqDistTile<Real> : DotTile<Real>)(row, column, dim, span, to);
    });
  });
}

enum class Weighted { sum, difference, mean };

template <class Real>
void RegisterWeighted(const std::string& kind_name, Weighted kind, std::int64_t dim, bool rows,
                      const std::string& where) {
  const std::string name =
      kind_name + "/" + std::to_string(dim) + (rows ? "/rows/" : "/columns/") + where;
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    const std::int64_t stride = PackedStride<Real>(dim);
    const Uniform<Real> weight(kTileRows * kTileColumns), vectors(kTileColumns * stride);
    const Uniform<Real> own(kTileColumns * stride);
    const State<Real> to({.fold = kind == Weighted::mean ? Fold::softmax_weight : Fold::sum,
                          .kept = rows ? FormulaIndex::i : FormulaIndex::j,
                          .dim = dim,
                          .weighted = true});
    const WeightedTile<Real> tile{.weight = {weight.get(), 0, kTileColumns, true},
                                  .vectors = vectors.get(),
                                  .kept = kind == Weighted::difference ? own.get() : nullptr,
                                  .stride = stride};
    const auto terms = static_cast<std::size_t>(kTileRows * kTileColumns * dim);
    bench::Measure(state, terms, terms * sizeof(Real),
                   [&] { PushWeighted<Real>(to.state, 0, tile, {0, 0, kTileRows, kTileColumns}); });
  });
}

template <class Real>
void RegisterType(const std::string& type) {
  const std::string where = type + "/" + hwy::TargetName(HWY_TARGET);
  RegisterHandFused<Real>(where);
  for (const bool rows : {true, false}) {
    RegisterFold<Real>("sum", Fold::sum, rows, where);
    RegisterFold<Real>("logsumexp", Fold::logsumexp, rows, where);
    RegisterFold<Real>("logsumexp_weight", Fold::logsumexp_weight, rows, where);
    RegisterFold<Real>("softmax_weight", Fold::softmax_weight, rows, where);
    RegisterFold<Real>("min", Fold::min, rows, where);
    RegisterFold<Real>("kmin", Fold::kmin, rows, where);
    for (const std::int64_t dim : {3, 16, 64}) {
      RegisterWeighted<Real>("WeightedSum", Weighted::sum, dim, rows, where);
      RegisterWeighted<Real>("WeightedDifference", Weighted::difference, dim, rows, where);
      RegisterWeighted<Real>("WeightedMean", Weighted::mean, dim, rows, where);
    }
  }
  for (const std::int64_t dim : {1, 3, 16, 64}) {
    RegisterVectors<Real>(false, dim, where);
    RegisterVectors<Real>(true, dim, where);
  }
}

void RegisterTarget() {
  RegisterType<float>("f32");
  RegisterType<double>("f64");
}

}  // namespace
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace logsum::reduce {
namespace {

HWY_EXPORT(RegisterTarget);

// Before main, which is Google Benchmark's.
[[maybe_unused]] const bool registered = [] {
  const std::int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t left = supported; left != 0; left &= left - 1) {
    hwy::GetChosenTarget().Update(left & -left);
    HWY_DYNAMIC_DISPATCH(RegisterTarget)();
  }
  hwy::GetChosenTarget().Update(supported);
  return true;
}();

}  // namespace
}  // namespace logsum::reduce
#endif
