// What the values of a block of rows have in common. In forward mode it cancels; it is taken off
// the values first, and so are the digits that it would cost.
#if defined(LOGSUM_ATTENTION_TANGENT_COMMON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_TANGENT_COMMON_INL_H_
#undef LOGSUM_ATTENTION_TANGENT_COMMON_INL_H_
#else
#define LOGSUM_ATTENTION_TANGENT_COMMON_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/element.hpp"
#include "attention/panel.hpp"
#include "attention/problem.hpp"
#include "attention/stage-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A vector m, in each component what is nearest to zero between the lowest and the highest of the
// rows' results. So for no row it is large against its values, of which its result is a mean, and
// what takes no part says nothing.
template <class Real>
class CommonValue {
 public:
  // For two rows of values, the first of which becomes m.
  CommonValue(std::int64_t dim, Real* low, Real* high) : dim_(dim), low_(low), high_(high) {
    std::fill_n(low_, dim_, kInfinity);
    std::fill_n(high_, dim_, -kInfinity);
  }

  // Takes note of a panel. `row` has room for a row of values.
  void Add(const Problem& problem, const PanelPlace& place, Real* row) {
    for (int i = 0; i < place.queries; ++i) {
      const std::int64_t query = place.query + i;
      const double lse = ElementOf(problem.lse, {place.batch, place.head, query});
      if (lse == -std::numeric_limits<double>::infinity()) continue;  // no key
      ReadRow(problem.out, place.batch, place.head, query, 0, dim_, row);
      for (std::int64_t x = 0; x < dim_; ++x) {
        if (!std::isfinite(row[x])) continue;
        low_[x] = std::min(low_[x], row[x]);
        high_[x] = std::max(high_[x], row[x]);
      }
    }
  }

  // Gives m. True if the results are so large against their differences that the digits which
  // rounding took from them matter.
  bool Finish() {
    constexpr Real kLarge = 64;
    Real largest = 0, spread = 0;
    for (std::int64_t x = 0; x < dim_; ++x) {
      const bool is_known = low_[x] <= high_[x];
      if (is_known) spread = std::max(spread, high_[x] - low_[x]);
      low_[x] = is_known ? std::clamp(Real{0}, low_[x], high_[x]) : 0;
      largest = std::max(largest, std::fabs(low_[x]));
    }
    return largest > kLarge * spread;
  }

 private:
  static constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

  const std::int64_t dim_;
  Real *const low_, *const high_;
};

// Rows of values become those less m. So does one that is not finite and was staged as zeros: what
// is added for it is the rest.
template <class Real>
HWY_NOINLINE void TakeOff(const Real* HWY_RESTRICT m, int count, std::int64_t stride,
                          Real* HWY_RESTRICT rows) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (int r = 0; r < count; ++r, rows += stride) {
    for (std::int64_t x = 0; x < stride; x += lanes) {
      hn::Store(hn::Sub(hn::Load(d, rows + x), hn::Load(d, m + x)), d, rows + x);
    }
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
