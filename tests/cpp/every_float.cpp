#include "every_float.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
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

constexpr std::size_t kChunk = 1 << 10;  // all buffers together fit the L1 cache
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
      : sweep_(sweep),
        x_(kChunk),
        wide_(kChunk),
        exact_(kChunk),
        expected_(kChunk),
        plain_(kChunk),
        flushed_(kChunk) {
    for (const Target& target : Targets()) results_.emplace_back(sweep.name, target.name);
  }

  // The inputs whose bits are first, first + stride, ...
  void Chunk(std::uint64_t first, std::uint64_t stride) {
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
      // Targets often agree to the bit, the modes nearly always: compare what is new.
      if (t == 0 || !SameBits(plain_, measured_)) {
        worst_ = Compare(plain_, sweep_.always_flushes);
        measured_ = plain_;
      }
      const bool same = SameBits(plain_, flushed_) && !HasSubnormal();
      const primitives::Worst flushed = same ? worst_ : CompareFlushed();
      results_[t].plain.Add(worst_.ulp, x_[worst_.index]);
      results_[t].flushed.Add(flushed.ulp, x_[flushed.index]);
    }
  }

  const std::vector<Results>& results() const { return results_; }

 private:
  // Inputs come in the order of their size.
  bool HasSubnormal() const { return std::fabs(x_.front()) < kSmallest; }

  static bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), kChunk * sizeof(float)) == 0;
  }

  // With zeros accepted for results that are too small, if they flush.
  primitives::Worst Compare(const std::vector<float>& got, bool flushes) {
    const auto worst_ulp = Targets().front().worst_ulp;
    if (!flushes) return worst_ulp(got.data(), exact_.data(), kChunk);
    for (std::size_t i = 0; i < kChunk; ++i) {
      const bool flushed = std::fabs(exact_[i]) < kSmallest && got[i] == 0;
      expected_[i] = flushed ? 0 : exact_[i];
    }
    return worst_ulp(got.data(), expected_.data(), kChunk);
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
  std::vector<float> measured_;  // the results that worst_ belongs to
  primitives::Worst worst_;
  std::vector<Results> results_;
};

}  // namespace

void Run(const Sweep& sweep) {
  const std::uint64_t stride = ulp::Stride();
  std::atomic<std::uint64_t> next = sweep.only_non_positive ? 0x80000000u : 0;
  const auto work = [&](Worker& worker) {
    for (;;) {
      const std::uint64_t first = next.fetch_add(kChunk * stride);
      if (first > 0xFFFFFFFF) return;
      worker.Chunk(first, stride);
    }
  };
  Worker here(sweep), there(sweep);
  std::thread other(work, std::ref(there));
  work(here);
  other.join();

  for (std::size_t t = 0; t < Targets().size(); ++t) {
    Results total = here.results()[t];
    total.plain.Add(there.results()[t].plain);
    total.flushed.Add(there.results()[t].flushed);
    total.plain.Expect(sweep.bound);
    total.flushed.Expect(sweep.bound);
  }
}

}  // namespace logsum::every_float
