// Why a sum of paths computed in the linear domain is right, or that it may not be.
//
// Rows of forward and backward scores are doubles, each lane scaled by its own power of two, its
// largest number at most kMost = 2^450. Underflow is rounded up: every sum of a row begins at
// floor = D 2^-1022, D the largest degree, so that it is a normal number, never flushed, and at
// least what exact arithmetic gives but for rounding (the D products that a target without fused
// multiply-adds flushes on the way lose less than floor). Forward and backward rows thus bound the
// exact ones from above, and what they are too large by, the phantom mass, is known:
//
// * A floor adds at most floor to a state, and once more when the row is rescaled by a factor f, in
//   all 2 floor max(1, f) in the units of the stored row. What leaves the state from there weighs
//   at most kMost. C states, two sweeps: 4 C floor kMost max(1, f, h) at step t, h the factor of
//   the backward row.
// * A weight below e^-708 is rounded up to that, below 1.5 2^-1022: at most E 2^-1021 kMost^2
//   max(1, f, h) a step, and as much for C initial and C final weights.
//
// Let Z_t be the sum over the states of forward times backward row t, in the units of the stored
// rows; in exact arithmetic all Z_t are Z, in units that differ. If at every t the phantom mass is
// at most 2^-54 / (T + 1) of Z_t, then Z_t as computed exceeds Z by less than a relative 2^-53, and
// so does every partial sum that a gradient is made of relative to Z. That is
//
//   Z_t / max(1, f, h) >= (T + 1) 2^54 (4 C floor kMost + [a weight was rounded up]
//                                       (E + 2 C) 2^-1021 kMost^2),
//
// which a Z_t of 2^840, one state carrying everything, passes by 2^1300 (2^900 with such weights).
// NaN passes nothing, and neither do zeros: a group's lane that fails is repaired.
//
// Without a gradient there is no backward row. A second forward row is then rounded down: it begins
// at 0, flushes, and takes weights below 2^-1021 for 0. Z lies between the two sums, which must
// agree to 2^-50.
#if defined(LOGSUM_SCAN_CERTIFICATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CERTIFICATE_INL_H_
#undef LOGSUM_SCAN_CERTIFICATE_INL_H_
#else
#define LOGSUM_SCAN_CERTIFICATE_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "scan/graph.hpp"
#include "scan/linear_weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Rows are rescaled to kScale when their largest number leaves [kLeast, kMost].
inline constexpr int kScaleExponent = 420;
inline constexpr double kScale = 0x1p420, kMost = 0x1p450, kLeast = 0x1p380;
inline constexpr double kAgreement = 0x1p-50;

inline double FloorOf(const Graph::Arcs& arcs) {
  return 0x1p-1022 * static_cast<double>(std::max<std::int64_t>(arcs.MaxDegree(), 1));
}

template <class D>
class Certificate {
 public:
  using V = hn::Vec<D>;

  Certificate(const Graph::Arcs& arcs, std::int64_t num_steps) {
    const double steps = static_cast<double>(num_steps + 1) * 0x1p54;
    const auto states = static_cast<double>(arcs.num_states);
    const auto slots = static_cast<double>(arcs.num_slots);
    floors_ = steps * 4 * states * FloorOf(arcs) * kMost;
    weights_ = steps * (slots + 2 * states) * (0x1p-1021 * kMost) * kMost;
    least_ = hn::Set(D(), kMost * kMost);
    bad_ = hn::Zero(D());
  }

  // Z_t of the lanes in `counts`, and the factors of the two rows, powers of two.
  HWY_INLINE void Add(hn::Mask<D> counts, V sum, V factor, V other_factor) {
    const D d;
    const V one = hn::Set(d, 1.0);
    const V z = hn::Div(sum, hn::Max(one, hn::Max(factor, other_factor)));
    least_ = hn::IfThenElse(counts, hn::Min(least_, z), least_);
    bad_ = hn::IfThenElse(hn::And(counts, hn::Not(hn::Eq(z, z))), one, bad_);
  }

  // `lowest` as LinearWeights leaves it.
  HWY_INLINE hn::Mask<D> Holds(V lowest) const {
    const D d;
    const auto rounded = hn::Lt(lowest, hn::Set(d, kLowestLog));
    const V bound = hn::Add(hn::Set(d, floors_), hn::IfThenElseZero(rounded, hn::Set(d, weights_)));
    return hn::And(hn::Ge(least_, bound), hn::Eq(bad_, hn::Zero(d)));
  }

 private:
  double floors_, weights_;
  V least_, bad_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
