// Frames and states read and written, and their weights in extended range and in the Max semiring.
#if defined(LOGSUM_SCAN_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_WEIGHTS_INL_H_
#undef LOGSUM_SCAN_WEIGHTS_INL_H_
#else
#define LOGSUM_SCAN_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/dtype.hpp"
#include "core/exp-inl.h"
#include "hwy/highway.h"
#include "scan/frame-inl.h"
#include "scan/numbers-inl.h"
#include "scan/numbers.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What is kept beside frames so that whole vectors can be read and written.
inline constexpr std::int64_t kTail = 16;

// Reads elements into `space` and calls use(raw). Slots without an arc hold -inf; what follows the
// elements repeats the last ones.
template <int kLanes, class Use>
void WithElements(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                  const std::vector<std::int32_t>* padding, double* space, const Use& use) {
  VisitFloating(operand.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    using Raw = RawOf<Storage>;
    constexpr Raw kNothing = -std::numeric_limits<Raw>::infinity();
    auto* const raw = reinterpret_cast<Raw*>(space);
    ReadElements<kLanes, Storage>(operand, places, count, raw);
    if (padding != nullptr) {
      for (const std::int32_t slot : *padding) {
        std::fill_n(raw + std::int64_t{slot} * kLanes, kLanes, kNothing);
      }
    }
    Raw* const end = raw + count * kLanes;
    if (count == 0) std::fill_n(end, kTail, kNothing);
    for (std::int64_t i = 0; count > 0 && i < kTail; ++i) end[i] = end[i - kLanes];
    use(raw);
  });
}

// values[element][lane], rounded once, for the lanes in `live` (bits).
template <int kLanes>
void WriteFrame(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                unsigned live, const double* values, double* space) {
  if (!operand.Exists() || live == 0) return;
  VisitFloating(operand.dtype, [&](auto storage) HWY_ATTR {
    using Storage = decltype(storage);
    const RawOf<Storage>* raw = nullptr;
    if constexpr (std::is_same_v<Storage, double>) {
      raw = values;
    } else {
      const hn::ScalableTag<double> d;
      auto* const narrow = reinterpret_cast<float*>(space);
      for (std::int64_t i = 0; i < count * kLanes; i += kFullLanes) {
        StoreRaw(d, hn::LoadU(d, values + i), narrow + i);
      }
      raw = narrow;
    }
    WriteElements<kLanes, Storage>(operand, places, count, live, raw);
  });
}

// The same value everywhere in one sequence's elements.
inline void FillElements(const Operand& operand, std::int64_t place, std::int64_t count,
                         double value) {
  VisitFloating(operand.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    auto* const data = static_cast<Storage*>(operand.data) + place;
    const Storage x = FromDouble<Storage>(value);
    if (operand.IsRun()) {
      std::fill_n(data, count, x);
      return;
    }
    std::int64_t offsets[kChunk];
    for (std::int64_t begin = 0; begin < count; begin += kChunk) {
      const std::int64_t size = std::min(kChunk, count - begin);
      ChunkOffsets(operand, begin, size, offsets);
      for (std::int64_t i = 0; i < size; ++i) data[offsets[i]] = x;
    }
  });
}

inline void StoreAt(const Operand& operand, std::int64_t place, double value) {
  if (operand.Exists()) FillElements(operand, place, 1, value);
}

// Weights as numbers of any range relative to the largest, infinite ones included. `largest` is 0
// where a lane's is so large that what is subtracted could be lost, or no number.
template <int kLanes>
void RangedWeights(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                   const std::vector<std::int32_t>* padding, double* space, Row weights,
                   double* largest) {
  WithElements<kLanes>(
      operand, places, count, padding, space, [&](const auto* HWY_RESTRICT raw) HWY_ATTR {
        const hn::ScalableTag<double> d;
        using Numbers = Ranged<hn::ScalableTag<double>>;
        double unused[kLanes];
        ExtremesOf<kLanes>(raw, count, largest, unused);
        for (int lane = 0; lane < kLanes; ++lane) {
          const bool is_moderate = std::abs(largest[lane]) < 0x1p52;
          if (!is_moderate) largest[lane] = 0;
        }
        const auto top = Repeated<kLanes>(largest);
        const auto infinity = hn::Set(d, std::numeric_limits<double>::infinity());
        for (std::int64_t i = 0; i < count * kLanes; i += kFullLanes) {
          const auto x = LoadRaw(d, raw + i);
          const auto is_zero = hn::Le(x, hn::Set(d, kZeroWeight));
          auto weight = Numbers::Exp(d, hn::IfThenElse(is_zero, x, hn::Sub(x, top)));
          // A whole power of two, so that sums of infinite exponents are exact.
          const auto is_infinite = hn::Eq(x, infinity);
          weight.fraction = hn::IfThenElse(is_infinite, hn::Set(d, 1.0), weight.fraction);
          weight.exponent = hn::IfThenElse(is_infinite, hn::Set(d, 0x1p500), weight.exponent);
          Numbers::Store(d, weight, weights, i);
        }
      });
}

// Elements widened; `kWeights`: what counts as zero becomes -inf, else everything stays as it is.
template <int kLanes, bool kWeights>
void WidenedElements(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                     const std::vector<std::int32_t>* padding, double* space, double* values) {
  WithElements<kLanes>(operand, places, count, padding, space,
                       [&](const auto* HWY_RESTRICT raw) HWY_ATTR {
                         const hn::ScalableTag<double> d;
                         const auto zero = hn::Set(d, -std::numeric_limits<double>::infinity());
                         for (std::int64_t i = 0; i < count * kLanes; i += kFullLanes) {
                           auto x = LoadRaw(d, raw + i);
                           if (kWeights)
                             x = hn::IfThenElse(hn::Le(x, hn::Set(d, kZeroWeight)), zero, x);
                           hn::StoreU(x, d, values + i);
                         }
                       });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
