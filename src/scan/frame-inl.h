// Frames of a group: one element of every sequence side by side, [element][lane].
#if defined(LOGSUM_SCAN_FRAME_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_FRAME_INL_H_
#undef LOGSUM_SCAN_FRAME_INL_H_
#else
#define LOGSUM_SCAN_FRAME_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "scan/arguments.hpp"
#include "scan/group.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::NarrowRun;
using logsum::HWY_NAMESPACE::Transpose;
using logsum::HWY_NAMESPACE::Widen;
using logsum::HWY_NAMESPACE::WidenRun;

inline constexpr int kFullLanes = static_cast<int>(hn::MaxLanes(hn::ScalableTag<double>()));

template <class D>
inline constexpr int kLanesOf = static_cast<int>(hn::MaxLanes(D()));

// What frames are staged in: float for all types that it holds.
template <class Storage>
using RawOf = std::conditional_t<std::is_same_v<Storage, double>, double, float>;

// Where the elements of a frame begin, for each lane.
template <int kLanes>
using Places = std::array<std::int64_t, kLanes>;

template <int kLanes>
Places<kLanes> FrameOf(const Operand& operand, const Group& group, std::int64_t t) {
  Places<kLanes> places;
  for (int lane = 0; lane < kLanes; ++lane) {
    places[static_cast<std::size_t>(lane)] = operand.At(t, group.ReadAt(lane, t));
  }
  return places;
}

// Where rows of the sequences' own begin, whether these have ended or not.
template <int kLanes>
Places<kLanes> RowsOf(const Operand& operand, const Group& group, std::int64_t t) {
  Places<kLanes> places;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    places[lane] = operand.At(t, group.sequence[lane]);
  }
  return places;
}

template <int kLanes>
Places<kLanes> StatesOf(const Operand& operand, const Group& group) {
  return RowsOf<kLanes>(operand, group, 0);
}

// Runs to be brought near while something else is computed: a frame is a few KB of many streams,
// too short for hardware to foresee the next.
template <int kLanes>
class Prefetcher {
 public:
  Prefetcher() = default;
  // `count` elements at each of the places, if they are runs.
  Prefetcher(const Operand& operand, const Places<kLanes>& places, std::int64_t count) {
    if (!operand.Exists() || !operand.IsRun()) return;
    const auto size = static_cast<std::int64_t>(SizeOf(operand.dtype));
    size_ = count * size;
    lines_ = kLanes * ((size_ + kLine - 1) / kLine);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      runs_[lane] = static_cast<const char*>(operand.data) + places[lane] * size;
    }
  }
  // The next line.
  HWY_INLINE void Next() {
    if (at_ >= end_) {
      if (run_ == kLanes || size_ == 0) return;
      at_ = runs_[run_++];
      end_ = at_ + size_;
    }
    hwy::Prefetch(at_);
    at_ += kLine;
  }
  std::int64_t Lines() const { return lines_; }

 private:
  static constexpr std::int64_t kLine = 64;
  std::array<const char*, kLanes> runs_{};
  const char *at_ = nullptr, *end_ = nullptr;
  std::size_t run_ = 0;
  std::int64_t size_ = 0, lines_ = 0;
};

// The common distance of the places, or 0.
template <int kLanes>
std::int64_t StepOf(const Places<kLanes>& places) {
  if constexpr (kLanes == 1) return 1;
  const std::int64_t step = places[1] - places[0];
  for (std::size_t lane = 2; lane < kLanes; ++lane) {
    if (places[lane] - places[lane - 1] != step) return 0;
  }
  return step;
}

inline constexpr std::int64_t kChunk = 64;

// Offsets of `count` neighbouring elements, without a division for each.
inline void ChunkOffsets(const Operand& operand, std::int64_t begin, std::int64_t count,
                         std::int64_t* offsets) {
  std::int64_t outer = begin / operand.width, inner = begin % operand.width;
  for (std::int64_t i = 0; i < count; ++i) {
    offsets[i] = outer * operand.outer + inner * operand.inner;
    if (++inner == operand.width) {
      inner = 0;
      ++outer;
    }
  }
}

template <int kLanes, class Storage, class Raw = RawOf<Storage>>
void ReadElements(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                  Raw* HWY_RESTRICT raw) {
  const auto* const data = static_cast<const Storage*>(operand.data);
  const bool is_run = operand.IsRun();
  if constexpr (std::is_same_v<Storage, Raw>) {
    const std::int64_t step = StepOf<kLanes>(places);
    if (is_run && step != 0) {
      if constexpr (kLanes == 1) {
        std::copy_n(data + places[0], count, raw);
      } else {
        Transpose(data + places[0], step, kLanes, count, raw, kLanes);
      }
      return;
    }
  }
  HWY_ALIGN Raw chunk[kLanes * kChunk];
  std::int64_t offsets[kChunk];
  for (std::int64_t begin = 0; begin < count; begin += kChunk) {
    const std::int64_t size = std::min(kChunk, count - begin);
    if (!is_run) ChunkOffsets(operand, begin, size, offsets);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const Storage* const from = data + places[lane];
      Raw* const to = chunk + lane * kChunk;
      if (is_run) {
        WidenRun(from + begin, to, size);
      } else {
        for (std::int64_t i = 0; i < size; ++i) to[i] = Widen<Raw>(from[offsets[i]]);
      }
    }
    Transpose(chunk, kChunk, kLanes, size, raw + begin * kLanes, kLanes);
  }
}

// raw[element][lane], rounded to storage, for the lanes in `live` (bits).
template <int kLanes, class Storage, class Raw = RawOf<Storage>>
void WriteElements(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                   unsigned live, const Raw* HWY_RESTRICT raw) {
  auto* const data = static_cast<Storage*>(operand.data);
  const bool is_run = operand.IsRun();
  if constexpr (std::is_same_v<Storage, Raw> && kLanes > 1) {
    const std::int64_t step = StepOf<kLanes>(places);
    if (is_run && step != 0 && live == (1u << kLanes) - 1) {
      Transpose(raw, kLanes, count, kLanes, data + places[0], step);
      return;
    }
  }
  HWY_ALIGN Raw chunk[kLanes * kChunk];
  std::int64_t offsets[kChunk];
  for (std::int64_t begin = 0; begin < count; begin += kChunk) {
    const std::int64_t size = std::min(kChunk, count - begin);
    if (!is_run) ChunkOffsets(operand, begin, size, offsets);
    Transpose(raw + begin * kLanes, kLanes, size, kLanes, chunk, kChunk);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if ((live >> lane & 1u) == 0) continue;
      const Raw* const from = chunk + lane * kChunk;
      Storage* const to = data + places[lane];
      if (is_run) {
        NarrowRun(from, to + begin, size);
      } else {
        for (std::int64_t i = 0; i < size; ++i) {
          to[offsets[i]] = logsum::HWY_NAMESPACE::Narrow<Storage>(from[i]);
        }
      }
    }
  }
}

// The largest and the lowest element of every lane, as far as `raw` holds numbers; NaN may be
// passed over. What follows the elements, up to a whole vector, repeats some of them.
template <int kLanes, class Raw>
void ExtremesOf(const Raw* HWY_RESTRICT raw, std::int64_t count, double* HWY_RESTRICT largest,
                double* HWY_RESTRICT lowest) {
  const hn::ScalableTag<Raw> d;
  constexpr auto kWidth = static_cast<std::int64_t>(hn::MaxLanes(d));
  auto top0 = hn::Set(d, -std::numeric_limits<Raw>::infinity()), top1 = top0;
  auto low0 = hn::Neg(top0), low1 = low0;
  std::int64_t i = 0;
  for (; i + kWidth < count * kLanes; i += 2 * kWidth) {
    const auto even = hn::LoadU(d, raw + i), odd = hn::LoadU(d, raw + i + kWidth);
    top0 = hn::Max(top0, even);
    low0 = hn::Min(low0, even);
    top1 = hn::Max(top1, odd);
    low1 = hn::Min(low1, odd);
  }
  if (i < count * kLanes) {
    top0 = hn::Max(top0, hn::LoadU(d, raw + i));
    low0 = hn::Min(low0, hn::LoadU(d, raw + i));
  }
  HWY_ALIGN Raw tops[kWidth];
  HWY_ALIGN Raw lows[kWidth];
  hn::StoreU(hn::Max(top0, top1), d, tops);
  hn::StoreU(hn::Min(low0, low1), d, lows);
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    Raw top = tops[lane], low = lows[lane];
    for (std::int64_t k = lane + kLanes; k < kWidth; k += kLanes) {
      top = tops[k] > top ? tops[k] : top;
      low = lows[k] < low ? lows[k] : low;
    }
    largest[lane] = top;
    lowest[lane] = low;
  }
}

// A value for each lane, repeated over a full vector.
template <int kLanes>
HWY_INLINE hn::Vec<hn::ScalableTag<double>> Repeated(const double* values) {
  HWY_ALIGN double all[kFullLanes];
  for (int i = 0; i < kFullLanes; ++i) all[i] = values[i % kLanes];
  return hn::Load(hn::ScalableTag<double>(), all);
}

// Elements widened, and narrowed.
template <class D>
HWY_INLINE hn::Vec<D> LoadRaw(D d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D>(), from));
}
template <class D>
HWY_INLINE hn::Vec<D> LoadRaw(D d, const double* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE void StoreRaw(D /*d*/, hn::Vec<D> x, float* to) {
  const hn::Rebind<float, D> df;
  hn::StoreU(hn::DemoteTo(df, x), df, to);
}
template <class D>
HWY_INLINE void StoreRaw(D d, hn::Vec<D> x, double* to) {
  hn::StoreU(x, d, to);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
