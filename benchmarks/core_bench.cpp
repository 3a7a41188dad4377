// The primitives of src/core in cache, on every CPU target, beside what the machine can do.
//
//   Exp/f32/AVX2 ...          one element in, one out, 2048 elements
//   ScaledSum/f32/AVX2 ...    sum of e^x 2^-N, the inner loop of logsumexp
//   FmaPeak/f32/AVX2 ...      independent multiply-adds, an element each
//   ReadBandwidth/AVX2 ...    sum over 256 MiB
//
// `cycles` is cycles per element, from the clock measured around each run by a chain of dependent
// additions, one of which takes one cycle on every CPU of interest.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core_bench.cpp"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/exp-inl.h"
#include "core/extended-inl.h"
#include "core/log-inl.h"
#include "measure.hpp"
#include "multiply_adds-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kElements = 2048;

std::string Name(const char* primitive, const char* type = nullptr) {
  const std::string target = hwy::TargetName(HWY_TARGET);
  return std::string(primitive) + "/" + (type == nullptr ? "" : type + std::string("/")) + target;
}

struct ExpOf {
  template <class D, class V>
  static V Apply(D d, V x) {
    return Exp(d, x);
  }
};
struct ExpNonPositiveOf {
  template <class D, class V>
  static V Apply(D d, V x) {
    return ExpNonPositive(d, x);
  }
};
struct LogOf {
  template <class D, class V>
  static V Apply(D d, V x) {
    return Log(d, x);
  }
};
struct Log1pOf {
  template <class D, class V>
  static V Apply(D d, V x) {
    return Log1p(d, x);
  }
};
struct SplitExpOf {  // both parts are needed; the sum keeps them alive
  template <class D, class V>
  static V Apply(D d, V x) {
    const auto split = SplitExp(d, x);
    return hn::Add(split.fraction, hn::BitCast(d, split.exponent));
  }
};

template <class T, class F>
HWY_NOINLINE void Map(const T* HWY_RESTRICT in, T* HWY_RESTRICT out, std::size_t count) {
  const hn::ScalableTag<T> d;
  for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
    hn::Store(F::Apply(d, hn::Load(d, in + i)), d, out + i);
  }
}

template <class T>
HWY_NOINLINE T ScaledSum(const T* in, std::size_t count) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const std::size_t lanes = hn::Lanes(d);
  const ExpScaled<decltype(d)> exp(d, hn::Set(d, T{1}));
  V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (std::size_t i = 0; i < count; i += 4 * lanes) {
    for (std::size_t k = 0; k < 4; ++k) {
      V power;
      const V fraction = exp.Fraction(hn::Load(d, in + i + k * lanes), power);
      sums[k] = hn::MulAdd(fraction, power, sums[k]);
    }
  }
  return hn::GetLane(
      hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

HWY_NOINLINE float Sum(const float* in, std::size_t count) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const std::size_t lanes = hn::Lanes(d);
  V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (std::size_t i = 0; i < count; i += 4 * lanes) {
    for (std::size_t k = 0; k < 4; ++k) {
      sums[k] = hn::Add(sums[k], hn::Load(d, in + i + k * lanes));
    }
  }
  return hn::GetLane(
      hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

// Input and output half a page apart: at the same offset loads would wait for unrelated stores.
template <class T>
struct Buffers {
  static constexpr std::size_t kGap = 2048 / sizeof(T);
  hwy::AlignedFreeUniquePtr<T[]> memory = hwy::AllocateAligned<T>(2 * kElements + kGap);
  T* in = memory.get();
  T* out = in + kElements + kGap;

  Buffers(double low, double high) {
    for (std::size_t i = 0; i < kElements; ++i) {
      const double position = static_cast<double>(i * 7919 % kElements) / kElements;
      in[i] = static_cast<T>(low + (high - low) * position);
    }
  }
};

template <class T, class F>
void RegisterMap(const char* name, const char* type, double low, double high) {
  benchmark::RegisterBenchmark(Name(name, type).c_str(), [=](benchmark::State& state) {
    const Buffers<T> buffers(low, high);
    bench::Measure(state, kElements, kElements * sizeof(T),
                   [&] { Map<T, F>(buffers.in, buffers.out, kElements); });
  });
}

template <class T>
void RegisterType(const char* type) {
  RegisterMap<T, ExpOf>("Exp", type, -80, 80);
  RegisterMap<T, ExpNonPositiveOf>("ExpNonPositive", type, -80, 0);
  RegisterMap<T, SplitExpOf>("SplitExp", type, -1e5, 1e5);
  RegisterMap<T, LogOf>("Log", type, 0.01, 100);
  RegisterMap<T, Log1pOf>("Log1p", type, -0.9, 100);
  benchmark::RegisterBenchmark(Name("ScaledSum", type).c_str(), [](benchmark::State& state) {
    const Buffers<T> buffers(-80, 1);
    bench::Measure(state, kElements, kElements * sizeof(T),
                   [&] { benchmark::DoNotOptimize(ScaledSum<T>(buffers.in, kElements)); });
  });
  benchmark::RegisterBenchmark(Name("FmaPeak", type).c_str(), [](benchmark::State& state) {
    constexpr std::size_t kRounds = 1000;
    bench::Measure(state, kRounds * kChains * hn::Lanes(hn::ScalableTag<T>()), 0,
                   [] { benchmark::DoNotOptimize(MultiplyAdds<T>(kRounds, T{0.5})); });
  });
}

void Register() {
  RegisterType<float>("f32");
  RegisterType<double>("f64");
  benchmark::RegisterBenchmark(Name("ReadBandwidth").c_str(), [](benchmark::State& state) {
    constexpr std::size_t kCount = std::size_t{64} << 20;
    const auto memory = hwy::AllocateAligned<float>(kCount);
    for (std::size_t i = 0; i < kCount; ++i) memory[i] = 1;
    bench::Measure(state, kCount, kCount * sizeof(float),
                   [&] { benchmark::DoNotOptimize(Sum(memory.get(), kCount)); });
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace logsum {
namespace {

HWY_EXPORT(Register);

// Before main, which is Google Benchmark's.
[[maybe_unused]] const bool registered = [] {
  const std::int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t left = supported; left != 0; left &= left - 1) {
    hwy::GetChosenTarget().Update(left & -left);
    HWY_DYNAMIC_DISPATCH(Register)();
  }
  hwy::GetChosenTarget().Update(supported);
  return true;
}();

}  // namespace
}  // namespace logsum
#endif
