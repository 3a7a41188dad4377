// The arcs of one state after another.
#if defined(LOGSUM_SCAN_ARC_WALK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_ARC_WALK_INL_H_
#undef LOGSUM_SCAN_ARC_WALK_INL_H_
#else
#define LOGSUM_SCAN_ARC_WALK_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "scan/graph.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

// By pointers of its own: what a loop stores might else be the graph's, which would be read again.
class ArcWalk {
 public:
  explicit ArcWalk(const Graph::Arcs::Sorted& sorted)
      : arc_(sorted.arcs.data()), begin_(sorted.begin.data()) {}

  // Calls use(state, slot) for each arc of the next state.
  template <class Use>
  HWY_INLINE void NextState(const Use& use) {
    const std::int64_t count = begin_[1] - begin_[0];
    ++begin_;
    for (std::int64_t i = 0; i < count; ++i) {
      use(std::int64_t{arc_[i].state}, std::int64_t{arc_[i].slot});
    }
    arc_ += count;
  }

 private:
  const Graph::Arcs::Arc* HWY_RESTRICT arc_;
  const std::int64_t* HWY_RESTRICT begin_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
