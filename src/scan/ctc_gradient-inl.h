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
#include "scan/ctc_emissions-inl.h"
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

// Zeros in whole vectors of doubles: few, for which a call of memset takes longer than it works.
HWY_INLINE void ZeroNumbers(double* begin, const double* end) {
  const hn::CappedTag<double, kCtcBlock> d;
  for (; begin < end; begin += hn::Lanes(d)) hn::StoreU(hn::Zero(d), d, begin);
}

// The vectors of all frames of a block.
HWY_INLINE VectorSpan SpanOfBlock(const CtcStates& states, std::int64_t begin, std::int64_t end) {
  return {states.spans[static_cast<std::size_t>(begin)].first,
          states.spans[static_cast<std::size_t>(end - 1)].end};
}

// Sums the positions of each label: shares[k][frame] for the frames of a block, of which there are
// `count`; the blank's have been summed on the way. Then turns them into probabilities times the
// gradient's weight: a frame's mass is the sum of its classes', so that its posteriors add up to
// one to rounding, whatever its units.
inline void SumClasses(const CtcJob& job, const CtcStates& states, CtcSide& side, VectorSpan span,
                       std::int64_t count) {
  const hn::CappedTag<double, kCtcBlock> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t first = span.first * states.lanes, end = span.end * states.lanes;
  double* const by_position = side.by_position;
  ZeroNumbers(by_position, by_position + first * kCtcBlock);
  Transpose(side.gamma + first, states.width, kCtcBlock, end - first,
            by_position + first * kCtcBlock, kCtcBlock);
  ZeroNumbers(by_position + end * kCtcBlock, by_position + states.width * kCtcBlock);
  const std::int64_t blank = states.blank_class * kCtcBlock;
  const auto all = static_cast<std::int64_t>(states.classes.size()) * kCtcBlock;
  ZeroNumbers(side.shares, side.shares + blank);
  ZeroNumbers(side.shares + blank + kCtcBlock, side.shares + all);
  HWY_ALIGN double totals[kCtcBlock];
  for (std::int64_t j = 0; j < kCtcBlock; j += lanes) {
    auto total = hn::Load(d, side.shares + blank + j);
    for (const std::int64_t k : states.classes_by_size) {
      const std::int64_t stop = states.class_starts[static_cast<std::size_t>(k) + 1];
      const auto at = [&](std::int64_t p) HWY_ATTR {
        const std::int64_t i = states.class_positions[static_cast<std::size_t>(p)];
        return hn::Load(d, by_position + i * kCtcBlock + j);
      };
      std::int64_t p = states.class_starts[static_cast<std::size_t>(k)];
      auto sum = at(p++);
      for (; p + 1 < stop; p += 2) sum = hn::Add(sum, hn::Add(at(p), at(p + 1)));
      if (p < stop) sum = hn::Add(sum, at(p));
      hn::Store(sum, d, side.shares + k * kCtcBlock + j);
      total = hn::Add(total, sum);
    }
    hn::Store(total, d, totals + j);
    const auto factor =
        hn::IfThenElseZero(hn::Gt(total, hn::Zero(d)), hn::Div(hn::Set(d, job.weight), total));
    const auto scale = [&](double* share)
                           HWY_ATTR { hn::Store(hn::Mul(hn::Load(d, share), factor), d, share); };
    scale(side.shares + blank + j);
    for (const std::int64_t k : states.classes_by_size) scale(side.shares + k * kCtcBlock + j);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    side.least_total = std::min(side.least_total, totals[j]);
  }
}

// What one frame's gradient is written from: emissions, whose zeros have no posterior, and with
// from_logits numbers that are the classes' softmax times `scale`.
struct FrameFacts {
  const double* emissions;
  const double* softmax;
  double least, scale;
};

template <class N>
HWY_INLINE FrameFacts FactsOf(const CtcJob& job, const CtcStates& states, const CtcWork& work,
                              CtcSide& side, std::int64_t frame) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const double* const emissions = work.Emissions(frame);
  FrameFacts facts = {emissions, emissions, N::kRanged ? kZeroWeight : 0, 0};
  if (!job.from_logits) {
    // Logarithms may be -inf, which times no scale is not zero.
    if constexpr (N::kRanged) {
      std::fill_n(side.numbers, states.emission_width, 0.0);
      facts.softmax = side.numbers;
    }
    return facts;
  }
  facts.scale = job.weight * work.softmax_scale[frame];
  if constexpr (N::kRanged) {
    const auto shift = hn::Set(d, work.softmax_shift[frame]);
    for (std::int64_t k = 0; k < states.emission_width; k += lanes) {
      const auto x = hn::Add(hn::LoadU(d, emissions + k), shift);
      hn::StoreU(ExpNonPositive(d, x), d, side.numbers + k);
    }
    facts.softmax = side.numbers;
  }
  return facts;
}

// Writes the gradient of frames [begin, begin + count): minus the posteriors, and with from_logits
// the softmax. Where classes are not the whole alphabet, the softmax of other labels is there
// already.
template <class N, class Storage>
HWY_INLINE void WriteFrames(const CtcJob& job, const CtcStates& states, const CtcWork& work,
                            CtcSide& side, std::int64_t begin, std::int64_t count) {
  const std::int64_t step = job.gradient.label_stride;
  for (std::int64_t j = 0; j < count; ++j) {
    const FrameFacts facts = FactsOf<N>(job, states, work, side, begin + j);
    auto* const to =
        static_cast<Storage*>(job.gradient.data) + (begin + j) * job.gradient.frame_stride;
    if (!job.from_logits && !states.whole_alphabet) {
      for (std::int64_t c = 0; c < job.gradient.labels; ++c) to[c * step] = Storage{};
    }
    for (std::size_t k = 0; k < states.classes.size(); ++k) {
      const double posterior = facts.emissions[k] > facts.least
                                   ? side.shares[k * kCtcBlock + static_cast<std::size_t>(j)]
                                   : 0;
      const double gradient = facts.softmax[k] * facts.scale - posterior;
      to[states.classes[k] * step] = FromDouble<Storage>(gradient);
    }
  }
}

// The same for a whole alphabet of neighbours in memory: whole vectors, the last of which ends with
// the row.
template <class N, class Real>
HWY_INLINE void WriteFramesInVectors(const CtcJob& job, const CtcStates& states,
                                     const CtcWork& work, CtcSide& side, std::int64_t begin,
                                     std::int64_t count) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto classes = static_cast<std::int64_t>(states.classes.size());
  // By frame; the posteriors' memory is free by now.
  Transpose(side.shares, kCtcBlock, classes, kCtcBlock, side.gamma, states.emission_width);
  for (std::int64_t j = 0; j < count; ++j) {
    const FrameFacts facts = FactsOf<N>(job, states, work, side, begin + j);
    auto* const to =
        static_cast<Real*>(job.gradient.data) + (begin + j) * job.gradient.frame_stride;
    const auto scale = hn::Set(d, facts.scale);
    const ClassVectors vectors(states);
    for (std::int64_t k = 0; k < vectors.count; k += lanes) {
      const std::int64_t at = vectors.At(k);
      const auto has_mass = hn::Gt(hn::LoadU(d, facts.emissions + at), hn::Set(d, facts.least));
      const auto posterior =
          hn::IfThenElseZero(has_mass, hn::LoadU(d, side.gamma + j * states.emission_width + at));
      StoreAs(d, hn::MulSub(hn::LoadU(d, facts.softmax + at), scale, posterior), to + at);
    }
  }
}

// Whether a block's gradient is no more than minus its shares, in neighbouring floats.
template <class N>
HWY_INLINE bool IsPlain(const CtcJob& job, const CtcStates& states, const CtcSide& side) {
  return !N::kRanged && !job.from_logits && !side.may_have_zeros && states.whole_alphabet &&
         job.gradient.label_stride == 1 && job.gradient.dtype == DType::f32;
}

// Writes such a gradient: narrowed first, then transposed to where it goes.
HWY_INLINE void WritePlainFrames(const CtcJob& job, const CtcStates& states, CtcSide& side,
                                 std::int64_t begin, std::int64_t count) {
  const hn::CappedTag<double, kCtcBlock> d;
  const hn::Rebind<float, decltype(d)> df;
  const auto classes = static_cast<std::int64_t>(states.classes.size());
  float* const narrow = reinterpret_cast<float*>(side.gamma);  // free by now
  for (std::int64_t i = 0; i < classes * kCtcBlock; i += static_cast<std::int64_t>(hn::Lanes(d))) {
    // Not Neg: that of nothing would be -0.
    const auto gradient = hn::Sub(hn::Zero(d), hn::Load(d, side.shares + i));
    hn::StoreU(hn::DemoteTo(df, gradient), df, narrow + i);
  }
  auto* const to = static_cast<float*>(job.gradient.data) + begin * job.gradient.frame_stride;
  Transpose(narrow, kCtcBlock, classes, count, to, job.gradient.frame_stride);
}

template <class N>
HWY_INLINE void WriteBlock(const CtcJob& job, const CtcStates& states, const CtcWork& work,
                           CtcSide& side, std::int64_t begin, std::int64_t end) {
  const std::int64_t count = end - begin;
  SumClasses(job, states, side, SpanOfBlock(states, begin, end), count);
  const bool in_vectors = states.whole_alphabet && job.gradient.label_stride == 1 &&
                          states.classes.size() >= hn::Lanes(CtcD());
  if (IsPlain<N>(job, states, side)) {
    WritePlainFrames(job, states, side, begin, count);
  } else if (in_vectors && job.gradient.dtype == DType::f32) {
    WriteFramesInVectors<N, float>(job, states, work, side, begin, count);
  } else if (in_vectors && job.gradient.dtype == DType::f64) {
    WriteFramesInVectors<N, double>(job, states, work, side, begin, count);
  } else {
    VisitFloating(job.gradient.dtype, [&](auto storage) HWY_ATTR {
      WriteFrames<N, decltype(storage)>(job, states, work, side, begin, count);
    });
  }
}

// Posteriors of one frame: of label positions into a row of `gamma`, of the blank into `shares`.
template <class N>
class FramePosterior {
 public:
  HWY_INLINE FramePosterior(const CtcStates& states, CtcSide& side, VectorSpan span,
                            VectorSpan block_span, std::int64_t frame_of_block, double unit)
      : gamma_(side.gamma + frame_of_block * states.width),
        blank_share_(side.shares + states.blank_class * kCtcBlock + frame_of_block),
        unit_(hn::Set(CtcD(), unit)),
        blanks_(hn::Zero(CtcD())) {
    const std::int64_t lanes = states.lanes;
    ZeroNumbers(gamma_ + block_span.first * lanes, gamma_ + span.first * lanes);
    ZeroNumbers(gamma_ + span.end * lanes, gamma_ + block_span.end * lanes);
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

template <class N, template <class> class Table>
void ForwardGradient(const CtcJob& job, const CtcStates& states, CtcWork& work, CtcSide& side,
                     double unit) {
  const CtcD d;
  const std::int64_t width = states.width, T = states.num_frames;
  Emitter<N> emit;
  for (std::int64_t t = states.meeting; t < T; ++t) {
    if (t % kCtcBlock == 0) PrefetchFrames(job.gradient, t, std::min(t + kCtcBlock, T));
    double* const from = t == states.meeting ? work.kept.At(t - 1) : side.ring.At(t - 1);
    const CtcStep step = {CtcRow(from, width), SpanBefore(states, t),
                          CtcRow(side.ring.At(t), width),
                          states.spans[static_cast<std::size_t>(t)]};
    const Emissions<N, Table> emissions(EmissionRow<N>(states, work, side, t));
    const CtcRow stored(work.kept.At(t), width);
    const std::int64_t block = t / kCtcBlock * kCtcBlock;
    const VectorSpan block_span = SpanOfBlock(states, block, std::min(block + kCtcBlock, T));
    FramePosterior<N> posterior(states, side, step.span, block_span, t - block, unit);
    ForwardStep<N>(states, step, emissions,
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

template <class N, template <class> class Table>
void BackwardGradient(const CtcJob& job, const CtcStates& states, CtcWork& work, CtcSide& side,
                      double unit) {
  const CtcD d;
  const std::int64_t width = states.width, meeting = states.meeting;
  Emitter<N> emit;
  for (std::int64_t t = meeting - 1; t >= 0; --t) {
    if (t % kCtcBlock == kCtcBlock - 1) PrefetchFrames(job.gradient, t + 1 - kCtcBlock, t + 1);
    double* const from = t == meeting - 1 ? work.kept.At(t + 1) : side.ring.At(t + 1);
    const CtcStep step = {CtcRow(from, width), SpanAfter(states, t), CtcRow(side.ring.At(t), width),
                          states.spans[static_cast<std::size_t>(t)]};
    const Emissions<N, Table> emissions(EmissionRow<N>(states, work, side, t));
    const CtcRow stored(work.kept.At(t), width);
    const std::int64_t block = t / kCtcBlock * kCtcBlock;
    const VectorSpan block_span = SpanOfBlock(states, block, std::min(block + kCtcBlock, meeting));
    FramePosterior<N> posterior(states, side, step.span, block_span, t - block, unit);
    BackwardStep<N>(states, step, emissions,
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
  const CtcStep step = {after, SpanAfter(states, t), stored,
                        states.spans[static_cast<std::size_t>(t)]};
  const Emissions<N, MemoryTable> unused({work.Emissions(t), work.Emissions(t)});
  auto total = N::Zero(d);
  BackwardStep<N>(states, step, unused,
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
