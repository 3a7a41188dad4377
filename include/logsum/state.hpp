// The mergeable state of a log-sum-exp reduction, on host and device.
//
// State (m, s) stands for the sum s * e^m of the terms seen so far, m their maximum. States form a
// commutative monoid (up to rounding): empty() is the unit, merge() the product, push(x) merges
// one term. Parts of a reduction (tiles, threads, blocks, machines) fold in any grouping:
//
//   State<float> state;                     // empty
//   for (float x : first_half) state.push(x);
//   state = merge(state, other_half);       // both halves, as if pushed in one go
//   float lse = state.value();              // m + log s
//
// An accumulator of values weighted by e^x goes along with it: whoever owns it multiplies it by the
// factors of merge_scales() and adds.
//
// -inf is a true zero and changes nothing. +inf dominates: s then counts the infinite terms, so
// that they share a weighted mean equally. NaN, once pushed, stays.
#pragma once

#if defined(__CUDACC__)
#define LOGSUM_HOST_DEVICE __host__ __device__
#else
#define LOGSUM_HOST_DEVICE
#endif

#if !defined(__CUDACC_RTC__)  // NVRTC has exp and log built in and no standard headers
#include <cmath>
#endif

namespace logsum {

namespace state_detail {
#if defined(__CUDACC_RTC__)
using ::exp;
using ::log;
#else
using std::exp;
using std::log;
#endif
}  // namespace state_detail

template <class Real>
struct State {
  Real m = -infinity();
  Real s = 0;

  LOGSUM_HOST_DEVICE static constexpr Real infinity() {
    return static_cast<Real>(__builtin_huge_val());
  }
  LOGSUM_HOST_DEVICE static constexpr State empty() { return {}; }
  // The state of one term: the sum e^x.
  LOGSUM_HOST_DEVICE static constexpr State of(Real x) {
    return x == -infinity() ? State{} : State{x, Real(1)};
  }

  LOGSUM_HOST_DEVICE void push(Real x) { *this = merge(*this, of(x)); }

  // log of the sum: -inf for the empty state.
  LOGSUM_HOST_DEVICE Real value() const {
    return s == Real(0) ? -infinity() : m + (m == infinity() ? Real(0) : state_detail::log(s));
  }
};

// e^(a.m - m) and e^(b.m - m) for m the larger maximum: the factors that bring each side's
// sum, and any accumulator beside it, to the common scale.
template <class Real>
struct MergeScales {
  Real a, b;
};

template <class Real>
LOGSUM_HOST_DEVICE MergeScales<Real> merge_scales(const State<Real>& a, const State<Real>& b) {
  // Equal maxima (both -inf and both +inf among them) need no exponential, which would be NaN.
  if (a.m == b.m) return {Real(1), Real(1)};
  return a.m > b.m ? MergeScales<Real>{Real(1), state_detail::exp(b.m - a.m)}
                   : MergeScales<Real>{state_detail::exp(a.m - b.m), Real(1)};
}

template <class Real>
LOGSUM_HOST_DEVICE State<Real> merge(const State<Real>& a, const State<Real>& b) {
  const MergeScales<Real> scale = merge_scales(a, b);
  // Written so that a NaN on either side is the maximum.
  const Real m = b.m != b.m || a.m < b.m ? b.m : a.m;
  return {m, a.s * scale.a + b.s * scale.b};
}

}  // namespace logsum
