#include "every_float.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/float_mode.hpp"
#include "primitives.hpp"
#include "ulp.hpp"

namespace logsum::every_float {
namespace {

using primitives::Target;
using primitives::Targets;

constexpr std::size_t kChunk = 1 << 12;
constexpr float kSmallest = std::numeric_limits<float>::min();

// What one target made of the inputs so far, in either mode.
struct Results {
  ulp::Record plain, flushed;
  Results(const std::string& name, const std::string& target)
      : plain(name + " f32", target), flushed(name + " f32 ftz", target) {}
};

class Worker {
 public:
  explicit Worker(const Sweep& sweep)
      : sweep_(sweep), x_(kChunk), wide_(kChunk), exact_(kChunk), plain_(kChunk), flushed_(kChunk) {}

  // The inputs whose bits are first, first + stride, ...
  void Chunk(std::uint64_t first, unsigned stride, std::vector<Results>& results,
             std::mutex& mutex) {
    for (std::size_t i = 0; i < kChunk; ++i) {
      // Past the end the last pattern, a NaN, is repeated.
      const std::uint64_t bits = std::min<std::uint64_t>(first + i * stride, 0xFFFFFFFF);
      x_[i] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      wide_[i] = x_[i];
    }
    Targets().front().Map(sweep_.oracle, wide_.data(), exact_.data(), kChunk);
    for (std::size_t t = 0; t < Targets().size(); ++t) {
      const Target& target = Targets()[t];
      target.Map(sweep_.primitive, x_.data(), plain_.data(), kChunk);
      {
        const FloatModeGuard flush;
        target.Map(sweep_.primitive, x_.data(), flushed_.data(), kChunk);
      }
      const bool same = std::memcmp(plain_.data(), flushed_.data(), kChunk * sizeof(float)) == 0;
      const auto plain = Compare(plain_, sweep_.always_flushes);
      const auto flushed = same && !HasSubnormal() ? plain : CompareFlushed();
      const std::lock_guard lock(mutex);
      results[t].plain.Add(plain.ulp, x_[plain.index]);
      results[t].flushed.Add(flushed.ulp, x_[flushed.index]);
    }
  }

 private:
  // Inputs come in the order of their size.
  bool HasSubnormal() const { return std::fabs(x_.front()) < kSmallest; }

  // With zeros accepted for results that are too small, if they flush.
  primitives::Worst Compare(const std::vector<float>& got, bool flushes) {
    expected_ = exact_;
    if (flushes) {
      for (std::size_t i = 0; i < kChunk; ++i) {
        if (std::fabs(expected_[i]) < kSmallest && got[i] == 0) expected_[i] = 0;
      }
    }
    return Targets().front().worst_ulp(got.data(), expected_.data(), kChunk);
  }

  // In a mode that also reads subnormal inputs as zero, and leaves no subnormal result.
  primitives::Worst CompareFlushed() {
    const std::vector<double> kept = exact_;
    for (std::size_t i = 0; i < kChunk; ++i) {
      if (std::fabs(x_[i]) < kSmallest) wide_[i] = std::copysign(0.0, wide_[i]);
    }
    Targets().front().Map(sweep_.oracle, wide_.data(), exact_.data(), kChunk);
    primitives::Worst worst = Compare(flushed_, true);
    for (std::size_t i = 0; i < kChunk; ++i) {
      if (std::fpclassify(flushed_[i]) == FP_SUBNORMAL) {
        worst = {std::numeric_limits<double>::infinity(), i};
      }
    }
    exact_ = kept;
    return worst;
  }

  const Sweep& sweep_;
  std::vector<float> x_;
  std::vector<double> wide_, exact_, expected_;
  std::vector<float> plain_, flushed_;
};

}  // namespace

void Run(const Sweep& sweep) {
  std::vector<Results> results;
  for (const Target& target : Targets()) results.emplace_back(sweep.name, target.name);

  const std::uint64_t stride = ulp::Stride();
  const std::uint64_t begin = sweep.only_non_positive ? 0x80000000u : 0;
  std::atomic<std::uint64_t> next = begin;
  std::mutex mutex;
  const auto work = [&] {
    Worker worker(sweep);
    for (;;) {
      const std::uint64_t first = next.fetch_add(kChunk * stride);
      if (first > 0xFFFFFFFF) return;
      worker.Chunk(first, static_cast<unsigned>(stride), results, mutex);
    }
  };
  std::thread other(work);
  work();
  other.join();

  for (const Results& result : results) {
    result.plain.Expect(sweep.bound);
    result.flushed.Expect(sweep.bound);
  }
}

}  // namespace logsum::every_float
