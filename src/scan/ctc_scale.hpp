// The linear domain of CTC scores, and when what it computed is certain.
//
// Linear rows are rescaled once in a block so that their largest number is in [2^450, 2^451). An
// emission is at most 1 and at most three numbers are added, so in the 9 frames till then at most
// no number passes M = 2^451 3^9 < 2^466, and no product of two scores overflows.
//
// Underflow is rounded up (Floor), so forward and backward scores are upper bounds: each is the
// exact score of paths plus that of phantoms, masses that a Floor put into a state of a frame, at
// most tiny = 2^-1022 each, in the units that its row then has.
//
// Between frames t and t + 1 lies a boundary, at which the forward row of t meets the backward row
// of t + 1. Let Z_t be the mass of all paths in the units of these two rows, as they are stored,
// that is rescaled if they were. Each Floor acts in the units of a boundary beside it:
//
//   forward emission at t    in the units of row t - 1: boundary t - 1 | t where row t is rescaled
//                            after it (the backward row of t is not: they are rescaled at the two
//                            ends of a block), else t | t + 1
//   forward rescaling at t   in those of row t as stored: t | t + 1
//   backward emission at t   in the units of row t + 1: t | t + 1
//   backward rescaling at t  in those of row t as stored: t - 1 | t
//
// and all these boundaries are looked at by the gradient, but T - 1 | T, which a backward emission
// at T - 1 needs only if its row is rescaled at once: that rescaling is left out. So at a boundary
// the phantoms of at most 4 Floors for each of the W = 2 width states of a frame are counted, each
// with a continuation of at most 3 M (the sum of three scores of the other sweep). Z_t times its
// units is the same number for each t, hence
//
//   phantoms / Z <= sum_t 12 W tiny M / Z_t <= 12 T W tiny M / min_t Z_t,
//
// and where that is at most 2^-53 the result is as good as exact. An emission below tiny is itself
// rounded up, and acts on a sum of scores: its phantoms weigh at most tiny (3 M) (3 M) a state.
//
// Only Z_t with its phantoms is known, but with r the bound above computed from it, the true ratio
// is at most r / (1 - r).
//
// Without a gradient, scores are rounded down, and exact unless something was flushed. Then only
// the products where the sweeps meet can underflow, and lose at most W tiny.
#pragma once
#include <cstdint>

namespace logsum::scan {

inline constexpr int kCtcScaleExponent = 450;

// The least mass of a frame that certifies a sequence. `clamped` says that an emission was.
inline double LeastCertainTotal(std::int64_t frames, std::int64_t states, bool clamped) {
  constexpr double kTiny = 0x1p-1022, kLargest = 0x1p466, kSmallPart = 0x1p-53;
  const double count = static_cast<double>(frames) * static_cast<double>(states);
  const double floors = 12 * kTiny * kLargest;
  const double emissions = clamped ? 18 * kTiny * kLargest * kLargest : 0;
  return count * (floors + emissions) / kSmallPart;
}

// The least mass of the meeting at which products that underflowed there do not matter.
inline double LeastExactTotal(std::int64_t states) {
  return static_cast<double>(states) * 0x1p-1022 / 0x1p-53;
}

}  // namespace logsum::scan
