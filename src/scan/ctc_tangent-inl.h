// The derivative of one CTC sequence's loss and gradient along a direction, in dual ranged numbers:
// the covariance of labels in the posterior over alignments.
//
// With H the direction of the log probabilities and f(path) the sum of H along it, the loss moves
// by -E[f] and the posterior of a label by gamma (E[f | label] - E[f]). From logits, log_softmax
// stands between: H becomes H - <p, H>, and the softmax p itself moves by p (H - <p, H>).
#if defined(LOGSUM_SCAN_CTC_TANGENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CTC_TANGENT_INL_H_
#undef LOGSUM_SCAN_CTC_TANGENT_INL_H_
#else
#define LOGSUM_SCAN_CTC_TANGENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/dtype.hpp"
#include "scan/ctc_emissions-inl.h"
#include "scan/ctc_kernels.hpp"
#include "scan/ctc_sweep-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using CtcDual = RangedDual<CtcD>;

// The slopes of all frames' classes, and with from_logits the softmax's own tangent, written for
// every label. Where p is zero its direction takes no part.
template <class Real, class Storage>
void PrepareSlopes(const CtcJob& job, const CtcFrames& direction, const CtcStates& states,
                   CtcWork& work, CtcSide& side) {
  const std::int64_t labels = job.frames.labels, T = states.num_frames;
  auto* const terms = reinterpret_cast<Real*>(side.terms);
  auto* const memory = reinterpret_cast<Real*>(side.frames);
  for (std::int64_t t = 0; t < T; ++t) {
    double mean = 0;
    const auto* const from =
        static_cast<const Storage*>(direction.data) + t * direction.frame_stride;
    const auto slope = [&](std::int64_t c) {
      return static_cast<double>(ToFloat(from[c * direction.label_stride]));
    };
    if (job.from_logits) {
      const FrameRows<Real, Storage> rows(job.frames, t, t + 1, reinterpret_cast<double*>(memory));
      const Denominator softmax =
          SoftmaxOf(rows.Row(0), labels, TopOfRow(rows.Row(0), labels), terms);
      const double inverse = softmax.sum == 0 ? 0 : 1 / softmax.sum;
      for (std::int64_t c = 0; c < labels; ++c) {
        if (terms[c] != 0) mean += terms[c] * inverse * slope(c);
      }
      if (job.gradient.data != nullptr) {
        auto* const to = static_cast<Storage*>(job.gradient.data) + t * job.gradient.frame_stride;
        for (std::int64_t c = 0; c < labels; ++c) {
          const double tangent =
              terms[c] == 0 ? 0 : job.weight * terms[c] * inverse * (slope(c) - mean);
          to[c * job.gradient.label_stride] = FromDouble<Storage>(tangent);
        }
      }
    }
    double* const slopes = work.Slopes(t);
    std::fill(slopes, slopes + states.emission_width, 0.0);
    for (std::size_t k = 0; k < states.classes.size(); ++k) {
      slopes[k] = slope(states.classes[k]) - mean;
    }
  }
}

// The mass of a frame's classes and its slope, of one term at a time.
struct DualShares {
  double* fractions;
  double* slopes;
};

// Adds the paths through one vector of states of a class each, in units of 2^unit.
HWY_INLINE void AddShares(const CtcDual::Number& mass, double unit, const std::int64_t* classes,
                          DualShares shares) {
  const CtcD d;
  HWY_ALIGN double fractions[hn::MaxLanes(d)];
  HWY_ALIGN double slopes[hn::MaxLanes(d)];
  const auto units = hn::Set(d, unit);
  hn::Store(Ranged<CtcD>::InUnits(d, {mass.fraction, mass.exponent}, units), d, fractions);
  hn::Store(Ranged<CtcD>::InUnits(d, {mass.slope, mass.exponent}, units), d, slopes);
  for (std::size_t j = 0; j < hn::Lanes(d); ++j) {
    if (fractions[j] == 0) continue;
    shares.fractions[classes[j]] += fractions[j];
    shares.slopes[classes[j]] += slopes[j];
  }
}

// The tangent of one frame's gradient from its shares; returns E[f].
template <class Storage>
double WriteTangent(const CtcJob& job, const CtcStates& states, const CtcWork& work,
                    std::int64_t frame, DualShares shares) {
  double total = 0, slope = 0;
  for (std::size_t k = 0; k < states.classes.size(); ++k) {
    total += shares.fractions[k];
    slope += shares.slopes[k];
  }
  const double mean = slope / total;
  if (job.gradient.data == nullptr) return mean;
  auto* const to = static_cast<Storage*>(job.gradient.data) + frame * job.gradient.frame_stride;
  if (!job.from_logits) {
    for (std::int64_t c = 0; c < job.gradient.labels; ++c) {
      to[c * job.gradient.label_stride] = Storage{};
    }
  }
  for (std::size_t k = 0; k < states.classes.size(); ++k) {
    const double share = shares.fractions[k];
    double tangent = share == 0 ? 0 : -(shares.slopes[k] - mean * share) / total;
    if (job.from_logits) {
      const double x = work.Emissions(frame)[k] + work.softmax_shift[frame];
      const double p = std::exp(x) * work.softmax_scale[frame];
      if (p != 0) tangent += p * work.Slopes(frame)[k];
    }
    to[states.classes[k] * job.gradient.label_stride] = FromDouble<Storage>(job.weight * tangent);
  }
  return mean;
}

// The backward sweep through all frames, past the forward scores of each. Returns E[f], or nothing
// when no path has mass.
template <class Storage, template <class> class Table>
std::optional<double> BackwardTangent(const CtcJob& job, const CtcStates& states, CtcWork& work,
                                      CtcSide& side) {
  const CtcD d;
  const std::int64_t width = states.width, T = states.num_frames;
  const DualShares shares = {side.shares, side.shares + states.emission_width};
  BeginBackward<CtcDual>(states, CtcRow(side.ring.At(T), width));
  std::vector<std::int64_t> blanks(static_cast<std::size_t>(states.lanes), states.blank_class);
  bool flushed = false;
  double mean = 0, unit = 0;
  for (std::int64_t t = T - 1; t >= 0; --t) {
    const CtcStep step = {CtcRow(side.ring.At(t + 1), width), SpanAfter(states, t),
                          CtcRow(side.ring.At(t), width),
                          states.spans[static_cast<std::size_t>(t)]};
    const Emissions<CtcDual, Table> emissions(EmissionRow<CtcDual>(states, work, side, t));
    const CtcRow stored(work.kept.At(t), width);
    std::fill_n(side.shares, 2 * states.emission_width, 0.0);
    // The unit of the total: the largest exponent of a path through the last frame.
    if (t == T - 1) {
      auto top = hn::Set(d, kZeroExponent);
      BackwardStep<CtcDual>(
          states, step, emissions,
          [&](std::int64_t i, const CtcSums<CtcDual>& sums, const CtcDual::Number&,
              const CtcDual::Number&) HWY_ATTR {
            const auto label = CtcDual::Mul(d, sums.label, CtcDual::Load(d, stored.labels, i));
            const auto blank = CtcDual::Mul(d, sums.blank, CtcDual::Load(d, stored.blanks, i));
            top = hn::Max(top, hn::Max(CtcDual::Normalize(d, label).exponent,
                                       CtcDual::Normalize(d, blank).exponent));
          });
      unit = hn::GetLane(hn::MaxOfLanes(d, top));
      if (unit < kZeroExponent / 2) return std::nullopt;
    }
    BackwardStep<CtcDual>(
        states, step, emissions,
        [&](std::int64_t i, const CtcSums<CtcDual>& sums, const CtcDual::Number& label,
            const CtcDual::Number& blank) HWY_ATTR {
          AddShares(CtcDual::Mul(d, sums.label, CtcDual::Load(d, stored.labels, i)), unit,
                    states.label_class.data() + i, shares);
          AddShares(CtcDual::Mul(d, sums.blank, CtcDual::Load(d, stored.blanks, i)), unit,
                    blanks.data(), shares);
          CtcDual::Store(d, CtcDual::Mul(d, sums.label, label), step.to.labels, i);
          CtcDual::Store(d, CtcDual::Mul(d, sums.blank, blank), step.to.blanks, i);
        });
    if (t % kCtcBlock == 0) Settle<CtcDual>(step.to, step.span, flushed);
    mean = WriteTangent<Storage>(job, states, work, t, shares);
  }
  return mean;
}

inline void CtcSlopes(const CtcJob& job, const CtcFrames& direction, const CtcStates& states,
                      CtcWork& work) {
  CtcSide& side = work.sides[0];
  switch (job.frames.dtype) {
    case DType::f16:
      return PrepareSlopes<float, Half>(job, direction, states, work, side);
    case DType::bf16:
      return PrepareSlopes<float, BFloat16>(job, direction, states, work, side);
    case DType::f64:
      return PrepareSlopes<double, double>(job, direction, states, work, side);
    default:
      return PrepareSlopes<float, float>(job, direction, states, work, side);
  }
}

inline std::optional<double> CtcTangent(const CtcJob& job, const CtcStates& states, CtcWork& work) {
  CtcSide& side = work.sides[0];
  const bool registers = static_cast<std::int64_t>(states.classes.size()) <= kRegisterTableSize;
  if (registers) {
    ForwardRows<CtcDual, RegisterTable>(states, work, side, states.num_frames);
  } else {
    ForwardRows<CtcDual, MemoryTable>(states, work, side, states.num_frames);
  }
  return VisitFloating(job.frames.dtype, [&](auto storage) -> std::optional<double> {
    using Storage = decltype(storage);
    if (registers) return BackwardTangent<Storage, RegisterTable>(job, states, work, side);
    return BackwardTangent<Storage, MemoryTable>(job, states, work, side);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
