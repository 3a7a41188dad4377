// The micro-kernels of src/gemm on full tiles, on every CPU target.
//
//   Multiply/f32/AVX2/1024 ...          panels of depth 1024: the left in L1 or L2, the right in L2
//   MultiplyExtended/f32/AVX2/256 ...   and the others
//
// `cycles` is cycles per term, one multiply-add of Multiply's. `of_peak` is the speed of
// independent multiply-adds in registers over this one, `multiplies` the time over Multiply's, both
// measured beside each run.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm_bench.cpp"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gemm/max_plus-inl.h"
#include "gemm/multiply-inl.h"
#include "gemm/multiply_extended-inl.h"
#include "measure.hpp"
#include "multiply_adds-inl.h"

#ifndef LOGSUM_GEMM_BENCH_ONCE_
#define LOGSUM_GEMM_BENCH_ONCE_
namespace logsum::bench {

// Seconds that `body` takes when nothing interrupts it, measured over several at a time.
template <class Body>
double Fastest(Body body) {
  constexpr int kRuns = 20, kBodies = 20;
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBodies; ++i) {
      body();
      benchmark::ClobberMemory();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count() / kBodies);
  }
  return best;
}

}  // namespace logsum::bench
#endif

HWY_BEFORE_NAMESPACE();
namespace logsum::gemm::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kDepths[] = {256, 1024};

template <class E>
class Filled {
 public:
  Filled(std::size_t size, E value) : memory_(hwy::AllocateAligned<E>(size)) {
    std::fill(memory_.get(), memory_.get() + size, value);
  }
  E* get() const { return memory_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<E[]> memory_;
};

// A full tile and its panels, of ones.
template <class T>
struct Operands {
  using I = Integer<T>;
  static constexpr int kWidth = kTileStride<T>;
  static constexpr std::size_t kTile = std::size_t{kRows<T>} * kWidth;

  explicit Operands(std::int64_t k)
      : depth(k),
        left(LeftSize(kRows<T>, k), T{1}),
        right(RightSize(kWidth, k), T{1}),
        left_exponent(LeftSize(kRows<T>, k), I{1}),
        right_exponent(RightSize(kWidth, k), I{1}) {}

  void RunMultiply() const {
    Multiply(left.get(), kRows<T>, right.get(), kVectors, depth, high.get(), low.get(), true);
  }
  void RunExtended() const {
    MultiplyExtended(left.get(), left_exponent.get(), kRows<T>, right.get(), right_exponent.get(),
                     kVectors, depth, high.get(), low.get(), integer.get(), true);
  }
  void RunExtendedAt() const {
    MultiplyExtendedAt(left.get(), left_exponent.get(), kRows<T>, right.get(), right_exponent.get(),
                       kVectors, depth, integer.get(), high.get(), low.get(), true);
  }
  void RunMax() const {
    MaxPlus(left.get(), kRows<T>, right.get(), kVectors, depth, high.get(), true);
  }
  void RunArgmax() const {
    MaxPlus(left.get(), kRows<T>, right.get(), kVectors, depth, high.get(), integer.get(), I{0},
            true);
  }

  std::int64_t depth;
  Filled<T> left, right;
  Filled<I> left_exponent, right_exponent;
  Filled<T> high{kTile, T{0}}, low{kTile, T{0}};
  Filled<I> integer{kTile, I{0}};
};

template <class T>
void Register(const char* kernel, const char* type, void (Operands<T>::*run)() const) {
  for (const std::int64_t depth : kDepths) {
    const std::string name = std::string(kernel) + "/" + type + "/" + hwy::TargetName(HWY_TARGET) +
                             "/" + std::to_string(depth);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      const Operands<T> operands(depth);
      const std::size_t terms = operands.kTile * static_cast<std::size_t>(depth);
      const std::size_t panels = (kRows<T> + operands.kWidth) * static_cast<std::size_t>(depth);
      bench::Measure(state, terms, panels * sizeof(T), [&] { (operands.*run)(); });

      // The references do as much work as the kernel did: same clock, same interruptions.
      const FloatModeGuard flush;
      using logsum::HWY_NAMESPACE::kChains;
      const std::size_t rounds = terms / (kChains * hn::Lanes(hn::ScalableTag<T>()));
      const double peak = bench::Fastest([&] {
        benchmark::DoNotOptimize(logsum::HWY_NAMESPACE::MultiplyAdds<T>(rounds, T{0.5}));
      });
      const double multiply = bench::Fastest([&] { operands.RunMultiply(); });
      const double own = bench::Fastest([&] { (operands.*run)(); });
      state.counters["of_peak"] = peak / own;
      state.counters["multiplies"] = own / multiply;
    });
  }
}

template <class T>
void RegisterType(const char* type) {
  Register<T>("Multiply", type, &Operands<T>::RunMultiply);
  Register<T>("MultiplyExtended", type, &Operands<T>::RunExtended);
  Register<T>("MultiplyExtendedAt", type, &Operands<T>::RunExtendedAt);
  Register<T>("MaxPlus", type, &Operands<T>::RunMax);
  Register<T>("MaxPlusArgmax", type, &Operands<T>::RunArgmax);
}

void RegisterTarget() {
  RegisterType<float>("f32");
  RegisterType<double>("f64");
}

}  // namespace
}  // namespace logsum::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace logsum::gemm {
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
}  // namespace logsum::gemm
#endif
