// Sinks: what of a row goes to no key.
#pragma once
#include <cmath>
#include <limits>

namespace logsum::attend {

// exp(sink - lse) times `share`, what p is multiplied by; where the lse is +inf the share of each
// infinite score.
inline double SinkProbability(double sink, double lse, double share) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (sink == -kInfinity || lse == -kInfinity) return 0;
  if (lse == kInfinity) return sink == kInfinity ? share : 0;
  return share * (sink > lse ? 1 : std::exp(sink - lse));
}

}  // namespace logsum::attend
