// What the machine can do: independent multiply-adds in registers.
#if defined(LOGSUM_BENCHMARKS_MULTIPLY_ADDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_BENCHMARKS_MULTIPLY_ADDS_INL_H_
#undef LOGSUM_BENCHMARKS_MULTIPLY_ADDS_INL_H_
#else
#define LOGSUM_BENCHMARKS_MULTIPLY_ADDS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Chains that hide the latency of any multiply-add unit.
inline constexpr std::size_t kChains = 12;

// kChains * rounds vectors of multiply-adds.
template <class T>
HWY_NOINLINE T MultiplyAdds(std::size_t rounds, T factor) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const V f = hn::Set(d, factor);
  V a[kChains];
  for (V& v : a) v = hn::Set(d, factor);
  for (std::size_t i = 0; i < rounds; ++i) {
    for (V& v : a) v = hn::MulAdd(v, f, f);
  }
  V sum = hn::Zero(d);
  for (const V& v : a) sum = hn::Add(sum, v);
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
