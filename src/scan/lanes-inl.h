// What every sweep over a group knows of its lanes.
#if defined(LOGSUM_SCAN_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_LANES_INL_H_
#undef LOGSUM_SCAN_LANES_INL_H_
#else
#define LOGSUM_SCAN_LANES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "scan/frame-inl.h"
#include "scan/graph.hpp"
#include "scan/group.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Doubles of one row of states (`parts` arrays of them). Rows a whole number of pages apart would
// share the cache's sets.
template <class D>
constexpr std::int64_t RowSize(std::int64_t num_states, std::int64_t parts) {
  constexpr std::int64_t kPage = 4096 / sizeof(double);
  const std::int64_t size = std::max<std::int64_t>(num_states * kLanesOf<D> * parts, kTail);
  const std::int64_t lines = (size + kTail - 1) / kTail * kTail;
  return lines % kPage == 0 ? lines + kTail : lines;
}

// Doubles of an array of the states, and of a frame's elements or the states, whichever are more.
template <class D>
std::int64_t ArraySize(std::int64_t count) {
  return (count * kLanesOf<D> + kTail - 1) / kTail * kTail + kTail;
}
template <class D>
std::int64_t StatesSize(const Graph::Arcs& arcs) {
  return ArraySize<D>(arcs.num_states);
}
template <class D>
std::int64_t FrameSize(const Graph::Arcs& arcs) {
  return ArraySize<D>(std::max(arcs.num_states, arcs.num_slots));
}

template <class D>
class GroupLanes {
 public:
  using V = hn::Vec<D>;
  static constexpr int kLanes = kLanesOf<D>;

  explicit GroupLanes(const Group& group) : group_(group) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lengths_[lane] = static_cast<double>(group.length[lane]);
    }
  }

  // Lanes whose sequence is longer than t; at least t long; exactly t long.
  HWY_INLINE hn::Mask<D> LongerThan(std::int64_t t) const { return hn::Gt(Lengths(), At(t)); }
  HWY_INLINE hn::Mask<D> AtLeastLong(std::int64_t t) const { return hn::Ge(Lengths(), At(t)); }
  HWY_INLINE hn::Mask<D> AsLongAs(std::int64_t t) const { return hn::Eq(Lengths(), At(t)); }

  // The same as bits, of sequences that are seen.
  template <class Condition>
  unsigned Bits(const Condition& condition) const {
    unsigned bits = 0;
    for (int lane = 0; lane < group_.count; ++lane) {
      if (condition(group_.length[static_cast<std::size_t>(lane)])) bits |= 1u << lane;
    }
    return bits;
  }
  bool AnyEndsAt(std::int64_t t) const {
    return std::find(group_.length.begin(), group_.length.begin() + kLanes, t) !=
           group_.length.begin() + kLanes;
  }

  // The same value in all rows below num_rows from the sequences' length + `after` on.
  void FillPast(const Operand& operand, std::int64_t after, std::int64_t num_rows,
                std::int64_t count, double value) const {
    if (!operand.Exists()) return;
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      for (std::int64_t t = group_.length[lane] + after; t < num_rows; ++t) {
        FillElements(operand, operand.At(t, group_.sequence[lane]), count, value);
      }
    }
  }

 private:
  HWY_INLINE V Lengths() const { return hn::LoadU(D(), lengths_); }
  HWY_INLINE V At(std::int64_t t) const { return hn::Set(D(), static_cast<double>(t)); }

  const Group& group_;
  double lengths_[kLanes];
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
