// The linear domain of CTC scores, and when what it computed is certain.
//
// Linear rows are rescaled once in a block so that their largest number is in [2^450, 2^451). An
// emission is at most 1 and at most three numbers are added, so in the 8 frames till then no number
// passes M = 2^451 3^8 < 2^464, and no product of two scores overflows.
//
// Underflow is rounded up (Floor), so forward and backward scores are upper bounds, and each bound
// is the exact score of paths plus that of phantoms: masses that a Floor put into a state of a
// frame, at most tiny = 2^-1022 each, in units of that frame's row. A Floor acts at most twice on a
// state and frame, by an emission and by rescaling, in both sweeps: with W = 2 width states, all
// phantoms of frame t together weigh at most 4 W tiny M in units of Z_t, the mass of all paths as
// the rows of frame t state it (a phantom's continuation is at most the largest score of the other
// sweep). Z_t times its unit is the same number for each t, hence
//
//   phantoms / Z <= sum_t 4 W tiny M / Z_t <= 4 T W tiny M / min_t Z_t,
//
// and where that is at most 2^-53 the result is as good as exact. An emission below tiny is itself
// rounded up, and acts on a sum of scores: its phantoms weigh at most tiny (3 M) M a state.
//
// Only Z_t with its phantoms is known, but with r the bound above computed from it, the true ratio
// is at most r / (1 - r).
#pragma once
#include <cstdint>

namespace logsum::scan {

inline constexpr int kScaleExponent = 450;

// The least mass of a frame that certifies a sequence. `clamped` says that an emission was.
inline double LeastCertainTotal(std::int64_t frames, std::int64_t states, bool clamped) {
  constexpr double kTiny = 0x1p-1022, kLargest = 0x1p464, kSmallPart = 0x1p-53;
  const double count = static_cast<double>(frames) * static_cast<double>(states);
  const double floors = 4 * kTiny * kLargest;
  const double emissions = clamped ? 6 * kTiny * kLargest * kLargest : 0;
  return count * (floors + emissions) / kSmallPart;
}

}  // namespace logsum::scan
