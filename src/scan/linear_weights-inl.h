// The weights of a frame in the linear domain, relative to its largest in every lane.
//
// w = e^(x - largest) lies in [0, 1], not below e^kLowestLog but for true zeros, so that no path is
// lost by underflow of a weight. A lane with NaN, +inf or zeros only becomes NaN or all zeros.
#if defined(LOGSUM_SCAN_LINEAR_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_LINEAR_WEIGHTS_INL_H_
#undef LOGSUM_SCAN_LINEAR_WEIGHTS_INL_H_
#else
#define LOGSUM_SCAN_LINEAR_WEIGHTS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/dtype.hpp"
#include "core/exp-inl.h"
#include "hwy/highway.h"
#include "scan/exp_weights-inl.h"
#include "scan/frame-inl.h"
#include "scan/graph.hpp"
#include "scan/numbers.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::AtLeast;

using FullD = hn::ScalableTag<double>;

inline constexpr double kLowestLog = -708;
inline constexpr double kAboveLowestWeight = 0x1p-1021;

// What is prefetched while a frame is worked on: the one that is read next, and the one that will
// be written.
template <int kLanes>
struct Ahead {
  Prefetcher<kLanes> read, write;

  HWY_INLINE void Next() {
    read.Next();
    write.Next();
  }
  std::int64_t Lines() const { return std::max(read.Lines(), write.Lines()); }
};

// Weights where no x is a zero or too far below the largest; and in general, with the lowest
// x - largest so far.
template <class Raw>
struct PlainWeight {
  hn::Vec<FullD> top;

  HWY_INLINE hn::Vec<FullD> operator()(hn::Vec<FullD> x) const {
    return WeightExp<Raw>(hn::Sub(x, top));
  }
};
template <class Raw>
struct CarefulWeight {
  hn::Vec<FullD> top, low;

  HWY_INLINE hn::Vec<FullD> operator()(hn::Vec<FullD> x) {
    const FullD d;
    const auto is_zero = hn::Le(x, hn::Set(d, kZeroWeight));
    const auto relative = hn::IfThenZeroElse(is_zero, hn::Sub(x, top));
    low = hn::Min(low, relative);
    const auto weight = WeightExp<Raw>(AtLeast(d, hn::Set(d, kLowestLog), relative));
    return hn::IfThenZeroElse(is_zero, weight);
  }
};

// Reads elements into `space` and calls use(raw, weight_of), weight_of one of the two above.
// `lowest` is lowered to the lowest x - largest of each lane.
template <int kLanes, class Use>
void WithWeights(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                 const std::vector<std::int32_t>* padding, double* space, double* largest,
                 double* lowest, const Use& use) {
  WithElements<kLanes>(operand, places, count, padding, space, [&](auto* raw) HWY_ATTR {
    using Raw = std::remove_cvref_t<decltype(*raw)>;
    double least[kLanes];
    ExtremesOf<kLanes>(raw, count, largest, least);
    bool is_plain = true;
    for (int lane = 0; lane < kLanes; ++lane) {
      is_plain = is_plain && least[lane] > kZeroWeight && least[lane] - largest[lane] >= kLowestLog;
    }
    const auto top = Repeated<kLanes>(largest);
    if (HWY_LIKELY(is_plain)) {
      PlainWeight<Raw> weight_of{top};
      use(raw, weight_of);
      return;
    }
    CarefulWeight<Raw> weight_of{top, Repeated<kLanes>(lowest)};
    use(raw, weight_of);
    HWY_ALIGN double lows[kFullLanes];
    hn::Store(weight_of.low, FullD(), lows);
    for (int i = 0; i < kFullLanes; ++i) {
      double& lane = lowest[i % kLanes];
      lane = lows[i] < lane ? lows[i] : lane;
    }
  });
}

// The weights in an array, weights[element][lane].
template <int kLanes>
void LinearWeights(const Operand& operand, const Places<kLanes>& places, std::int64_t count,
                   const std::vector<std::int32_t>* padding, double* space, double* weights,
                   double* largest, double* lowest, Ahead<kLanes> ahead = {}) {
  WithWeights<kLanes>(operand, places, count, padding, space, largest, lowest,
                      [&](const auto* HWY_RESTRICT raw, auto& weight_of) HWY_ATTR {
                        const FullD d;
                        constexpr std::int64_t kLine = 64 / sizeof(*raw);
                        for (std::int64_t begin = 0; begin < count * kLanes; begin += kLine) {
                          ahead.Next();
                          const std::int64_t end = std::min(begin + kLine, count * kLanes);
                          for (std::int64_t i = begin; i < end; i += kFullLanes) {
                            hn::StoreU(weight_of(LoadRaw(d, raw + i)), d, weights + i);
                          }
                        }
                      });
}

// A frame as a sweep sees it, each weight taken once: in an array, where a slot's result may
// replace its weight.
template <class D>
class ReadyFrame {
 public:
  explicit ReadyFrame(double* weights) : weights_(weights) {}
  HWY_INLINE hn::Vec<D> Weight(std::int64_t slot) {
    return hn::LoadU(D(), weights_ + slot * kLanesOf<D>);
  }
  HWY_INLINE void Replace(std::int64_t slot, hn::Vec<D> result) {
    hn::StoreU(result, D(), weights_ + slot * kLanesOf<D>);
  }
  HWY_INLINE void NextState() {}

 private:
  double* HWY_RESTRICT weights_;
};

// The same with every exponential taken when it is needed, from the elements as they were read: a
// frame and its results then stay in L1.
template <class D, class Raw, class WeightOf>
class FreshFrame {
 public:
  FreshFrame(Raw* raw, WeightOf& weight_of, const Ahead<kLanesOf<D>>& ahead,
             std::int64_t num_states)
      : raw_(raw),
        weight_of_(weight_of),
        ahead_(ahead),
        lines_(num_states == 0 ? 0 : (ahead_.Lines() + num_states - 1) / num_states) {}
  HWY_INLINE hn::Vec<D> Weight(std::int64_t slot) {
    return weight_of_(LoadRaw(D(), raw_ + slot * kLanesOf<D>));
  }
  HWY_INLINE void Replace(std::int64_t slot, hn::Vec<D> result) {
    StoreRaw(D(), result, raw_ + slot * kLanesOf<D>);
  }
  // Prefetches evenly over the states.
  HWY_INLINE void NextState() {
    for (std::int64_t i = 0; i < lines_; ++i) ahead_.Next();
  }

 private:
  Raw* HWY_RESTRICT raw_;
  WeightOf& weight_of_;
  Ahead<kLanesOf<D>> ahead_;
  std::int64_t lines_;  // a state
};

// Calls sweep(frame). A sweep as wide as the vectors takes exponentials as it goes; a narrower one
// would waste most of a vector, and finds them ready in `weights`.
template <class D>
inline constexpr bool kFresh = kLanesOf<D> == kFullLanes;

template <class D, class Sweep>
void SweepFrame(const Operand& operand, const Places<kLanesOf<D>>& places, const Graph::Arcs& arcs,
                double* space, double* weights, double* largest, double* lowest,
                const Ahead<kLanesOf<D>>& ahead, const Sweep& sweep) {
  if constexpr (kFresh<D>) {
    WithWeights<kLanesOf<D>>(operand, places, arcs.num_slots, &arcs.padding, space, largest, lowest,
                             [&](auto* raw, auto& weight_of) HWY_ATTR {
                               using Raw = std::remove_cvref_t<decltype(*raw)>;
                               using WeightOf = std::remove_cvref_t<decltype(weight_of)>;
                               FreshFrame<D, Raw, WeightOf> frame(raw, weight_of, ahead,
                                                                  arcs.num_states);
                               sweep(frame);
                             });
  } else {
    LinearWeights<kLanesOf<D>>(operand, places, arcs.num_slots, &arcs.padding, space, weights,
                               largest, lowest, ahead);
    ReadyFrame<D> frame(weights);
    sweep(frame);
  }
}

// Writes the results that a sweep has put in place of a frame's weights.
template <class D>
void WriteResults(const Operand& operand, const Places<kLanesOf<D>>& places,
                  const Graph::Arcs& arcs, unsigned live, const double* weights, double* space) {
  if constexpr (kFresh<D>) {
    if (!operand.Exists() || live == 0) return;
    VisitFloating(operand.dtype, [&](auto storage) HWY_ATTR {
      using Storage = decltype(storage);
      auto* const raw = reinterpret_cast<RawOf<Storage>*>(space);
      for (const std::int32_t slot : arcs.padding) {
        std::fill_n(raw + std::int64_t{slot} * kLanesOf<D>, kLanesOf<D>, RawOf<Storage>{0});
      }
      WriteElements<kLanesOf<D>, Storage>(operand, places, arcs.num_slots, live, raw);
    });
  } else {
    WriteFrame<kLanesOf<D>>(operand, places, arcs.num_slots, live, weights, space);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
