// Posteriors of CTC labels, frame by frame, where a sweep passes the other's rows.
#if defined(LOGSUM_SCAN_CTC_GRADIENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CTC_GRADIENT_INL_H_
#undef LOGSUM_SCAN_CTC_GRADIENT_INL_H_
#else
#define LOGSUM_SCAN_CTC_GRADIENT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/dtype.hpp"
#include "core/exp-inl.h"
#include "core/transpose-inl.h"
#include "scan/ctc_kernels.hpp"
#include "scan/ctc_sweep-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::ExpNonPositive;
using logsum::HWY_NAMESPACE::Transpose;

// The mass of paths through some states, in units of 2^unit (Ranged) or of the two rows (Linear).
template <class N>
HWY_INLINE hn::Vec<CtcD> MassOf(const typename N::Number& into, const typename N::Number& out_of,
                                hn::Vec<CtcD> unit) {
  const CtcD d;
  const auto product = N::Mul(d, into, out_of);
  if constexpr (N::kRanged) return N::InUnits(d, product, unit);
  return product.fraction;
}

// Sums the positions of each class: shares[k][frame] for the frames of a block.
inline void SumClasses(const CtcStates& states, CtcSide& side) {
  const hn::CappedTag<double, kCtcBlock> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  Transpose(side.gamma, states.width, kCtcBlock, states.width, side.gamma_by_position, kCtcBlock);
  const auto num_classes = states.classes.size();
  for (std::size_t k = 1; k < num_classes; ++k) {
    for (std::int64_t j = 0; j < kCtcBlock; j += lanes) {
      auto sum = hn::Zero(d);
      for (std::int64_t p = states.class_starts[k]; p < states.class_starts[k + 1]; ++p) {
        const std::int64_t i = states.class_positions[static_cast<std::size_t>(p)];
        sum = hn::Add(sum, hn::Load(d, side.gamma_by_position + i * kCtcBlock + j));
      }
      hn::Store(sum, d, side.shares + static_cast<std::int64_t>(k) * kCtcBlock + j);
    }
  }
}

// Turns the shares of a block into probabilities times the gradient's weight: each frame's mass is
// the sum of its classes', so that its posteriors add up to one to rounding whatever the units.
inline void NormalizeShares(const CtcJob& job, const CtcStates& states, CtcSide& side,
                            std::int64_t count) {
  const auto num_classes = static_cast<std::int64_t>(states.classes.size());
  for (std::int64_t j = 0; j < count; ++j) {
    double total = 0;
    for (std::int64_t k = 0; k < num_classes; ++k) total += side.shares[k * kCtcBlock + j];
    side.least_total = std::min(side.least_total, total);
    const double factor = total > 0 ? job.weight / total : 0;
    for (std::int64_t k = 0; k < num_classes; ++k) side.shares[k * kCtcBlock + j] *= factor;
  }
}

// Writes the gradient of frames [begin, begin + count): minus the posteriors, and with from_logits
// the softmax, whose other labels' part is there already.
template <class Storage>
HWY_INLINE void WriteFrames(const CtcJob& job, const CtcStates& states, bool linear,
                            const CtcWork& work, CtcSide& side, std::int64_t begin,
                            std::int64_t count) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto num_classes = static_cast<std::int64_t>(states.classes.size());
  const std::int64_t step = job.gradient.label_stride;
  const double least = linear ? 0 : kZeroWeight;
  for (std::int64_t j = 0; j < count; ++j) {
    const double* const emissions = work.Emissions(begin + j);
    auto* const to =
        static_cast<Storage*>(job.gradient.data) + (begin + j) * job.gradient.frame_stride;
    const double* softmax = emissions;
    double scale = 0;
    if (job.from_logits) {
      scale = job.weight * work.softmax_scale[begin + j];
      if (!linear) {
        for (std::int64_t k = 0; k < states.emission_width; k += lanes) {
          const auto e = ExpNonPositive(d, hn::LoadU(d, emissions + k));
          hn::StoreU(e, d, side.numbers + k);
        }
        softmax = side.numbers;
      }
    } else if (num_classes < job.gradient.labels) {
      for (std::int64_t c = 0; c < job.gradient.labels; ++c) to[c * step] = Storage{};
    }
    for (std::int64_t k = 0; k < num_classes; ++k) {
      const double posterior = emissions[k] > least ? side.shares[k * kCtcBlock + j] : 0;
      const double gradient = (job.from_logits ? softmax[k] * scale : 0) - posterior;
      to[states.classes[static_cast<std::size_t>(k)] * step] = FromDouble<Storage>(gradient);
    }
  }
}

template <class N>
HWY_INLINE void WriteBlock(const CtcJob& job, const CtcStates& states, const CtcWork& work,
                           CtcSide& side, std::int64_t begin, std::int64_t end) {
  SumClasses(states, side);
  NormalizeShares(job, states, side, end - begin);
  VisitFloating(job.gradient.dtype, [&](auto storage) HWY_ATTR {
    WriteFrames<decltype(storage)>(job, states, !N::kRanged, work, side, begin, end - begin);
  });
}

// Posteriors of one frame: of label positions into a row of `gamma`, of the blank into `shares`.
template <class N>
class FramePosterior {
 public:
  HWY_INLINE FramePosterior(const CtcStates& states, CtcSide& side, VectorSpan span,
                            std::int64_t frame_of_block, double unit)
      : gamma_(side.gamma + frame_of_block * states.width),
        blank_share_(side.shares + frame_of_block),
        unit_(hn::Set(CtcD(), unit)),
        blanks_(hn::Zero(CtcD())) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(CtcD()));
    std::fill(gamma_, gamma_ + span.first * lanes, 0.0);
    std::fill(gamma_ + span.end * lanes, gamma_ + states.width, 0.0);
  }
  HWY_INLINE void Add(std::int64_t i, const CtcSums<N>& sums, const CtcRow& stored) {
    const CtcD d;
    hn::StoreU(MassOf<N>(sums.label, N::Load(d, stored.labels, i), unit_), d, gamma_ + i);
    blanks_ = hn::Add(blanks_, MassOf<N>(sums.blank, N::Load(d, stored.blanks, i), unit_));
  }
  HWY_INLINE void Finish() { *blank_share_ = hn::GetLane(hn::SumOfLanes(CtcD(), blanks_)); }

 private:
  double* gamma_;
  double* blank_share_;
  hn::Vec<CtcD> unit_, blanks_;
};

template <class N>
void ForwardGradient(const CtcJob& job, const CtcStates& states, CtcWork& work, CtcSide& side,
                     double unit) {
  const CtcD d;
  const std::int64_t width = states.width, T = states.num_frames;
  Emitter<N> emit;
  for (std::int64_t t = states.meeting; t < T; ++t) {
    double* const from = t == states.meeting ? work.kept.At(t - 1) : side.ring.At(t - 1);
    const CtcStep step = {CtcRow(from, width), SpanBefore(states, t),
                          CtcRow(side.ring.At(t), width), states.spans[static_cast<std::size_t>(t)],
                          EmissionRow<N>(states, work, side, t)};
    const CtcRow stored(work.kept.At(t), width);
    FramePosterior<N> posterior(states, side, step.span, t % kCtcBlock, unit);
    ForwardStep<N>(states, step,
                   [&](std::int64_t i, const CtcSums<N>& sums, const typename N::Number& label,
                       const typename N::Number& blank) HWY_ATTR {
                     posterior.Add(i, sums, stored);
                     N::Store(d, emit(sums.label, label), step.to.labels, i);
                     N::Store(d, emit(sums.blank, blank), step.to.blanks, i);
                   });
    posterior.Finish();
    if (t % kCtcBlock == kCtcBlock - 1 || t == T - 1) {
      Settle<N>(step.to, step.span, side.flushed);
      WriteBlock<N>(job, states, work, side, t / kCtcBlock * kCtcBlock, t + 1);
    }
  }
}

template <class N>
void BackwardGradient(const CtcJob& job, const CtcStates& states, CtcWork& work, CtcSide& side,
                      double unit) {
  const CtcD d;
  const std::int64_t width = states.width, meeting = states.meeting;
  Emitter<N> emit;
  for (std::int64_t t = meeting - 1; t >= 0; --t) {
    double* const from = t == meeting - 1 ? work.kept.At(t + 1) : side.ring.At(t + 1);
    const CtcStep step = {CtcRow(from, width), SpanAfter(states, t), CtcRow(side.ring.At(t), width),
                          states.spans[static_cast<std::size_t>(t)],
                          EmissionRow<N>(states, work, side, t)};
    const CtcRow stored(work.kept.At(t), width);
    FramePosterior<N> posterior(states, side, step.span, t % kCtcBlock, unit);
    BackwardStep<N>(states, step,
                    [&](std::int64_t i, const CtcSums<N>& sums, const typename N::Number& label,
                        const typename N::Number& blank) HWY_ATTR {
                      posterior.Add(i, sums, stored);
                      N::Store(d, emit(sums.label, label), step.to.labels, i);
                      N::Store(d, emit(sums.blank, blank), step.to.blanks, i);
                    });
    posterior.Finish();
    if (t % kCtcBlock == 0) {
      Settle<N>(step.to, step.span, side.flushed);
      WriteBlock<N>(job, states, work, side, t, std::min(t + kCtcBlock, meeting));
    }
  }
}

// The mass of all paths at the meeting: forward scores of the frame before it times what follows.
template <class N>
CtcTotal Meet(const CtcStates& states, const CtcWork& work) {
  const CtcD d;
  const std::int64_t t = states.meeting - 1, width = states.width;
  const CtcRow after(work.Rows(work.sides[1]).At(t + 1), width);
  const CtcRow stored(work.Rows(work.sides[0]).At(t), width);
  const CtcStep step = {after,
                        SpanAfter(states, t),
                        stored,
                        states.spans[static_cast<std::size_t>(t)],
                        {work.Emissions(t), work.Emissions(t)}};
  auto total = N::Zero(d);
  BackwardStep<N>(states, step,
                  [&](std::int64_t i, const CtcSums<N>& sums, const typename N::Number&,
                      const typename N::Number&) HWY_ATTR {
                    const auto label = N::Mul(d, sums.label, N::Load(d, stored.labels, i));
                    const auto blank = N::Mul(d, sums.blank, N::Load(d, stored.blanks, i));
                    total = N::Add(d, total, N::Add(d, label, blank));
                  });
  if constexpr (N::kRanged) {
    total = N::Normalize(d, total);
    const auto top = hn::MaxOfLanes(d, total.exponent);
    const auto sum = hn::SumOfLanes(d, N::InUnits(d, total, top));
    return {hn::GetLane(sum), hn::GetLane(top)};
  } else if constexpr (std::is_same_v<N, MaxPlus<CtcD>>) {
    return {hn::GetLane(hn::MaxOfLanes(d, total.fraction)), 0};
  } else {
    return {hn::GetLane(hn::SumOfLanes(d, total.fraction)), 0};
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
