// The two sweeps over the states of a CTC sequence, in any number system.
//
// Forward scores A, B of a frame include its emissions; backward scores are kept with theirs
// included too, so that what is stored looks the same on both sides, and left out where the two
// meet. With positions i as in ctc_states.hpp, e the emissions, s_i whether label i - 1 may skip:
//
//   A'_i = eA_i (A_i + B_i + s_i A_i-1)      B'_i = eB (B_i + A_i-1)
//   A_i  = eA_i (A'_i + B'_i+1 + s_i+1 A'_i+1)      B_i = eB (B'_i + A'_i)
//
// Only the vectors of a frame's span are computed. What a step reads of the row before lies in that
// row's span, or in a vector beside it, which is zeroed first or taken as zero: no path comes from
// there.
#if defined(LOGSUM_SCAN_CTC_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_CTC_SWEEP_INL_H_
#undef LOGSUM_SCAN_CTC_SWEEP_INL_H_
#else
#define LOGSUM_SCAN_CTC_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/lookup-inl.h"
#include "core/neighbours-inl.h"
#include "scan/ctc_kernels.hpp"
#include "scan/ctc_scale.hpp"
#include "scan/numbers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::kRegisterTableSize;
using logsum::HWY_NAMESPACE::MemoryTable;
using logsum::HWY_NAMESPACE::OneAfter;
using logsum::HWY_NAMESPACE::OneBefore;
using logsum::HWY_NAMESPACE::RegisterTable;

using CtcD = hn::ScalableTag<double>;

template <class N>
inline constexpr bool kIsDual = std::is_same_v<N, RangedDual<CtcD>>;

// A row of scores of one frame.
struct CtcRow {
  CtcRow(double* base, std::int64_t width)
      : labels{base, base + 2 * width, base + 4 * width},
        blanks{base + width, base + 3 * width, base + 5 * width} {}
  Row labels, blanks;
};

// One frame's step of a sweep: the row it comes from, with that row's span, and where it goes.
struct CtcStep {
  CtcRow from;
  VectorSpan from_span;
  CtcRow to;
  VectorSpan span;
};

// The emissions of a frame, to be looked up by class.
template <class N, template <class> class Table>
class Emissions {
 public:
  using Index = hn::Vec<hn::RebindToSigned<CtcD>>;

  HWY_INLINE explicit Emissions(Row row)
      : row_(row),
        fractions_(CtcD(), row.fractions),
        exponents_(CtcD(), N::kRanged ? row.exponents : row.fractions),
        slopes_(CtcD(), kIsDual<N> ? row.slopes : row.fractions) {}
  HWY_INLINE typename N::Number operator[](Index at) const {
    if constexpr (kIsDual<N>) {
      return {fractions_[at], exponents_[at], slopes_[at]};
    } else if constexpr (N::kRanged) {
      return {fractions_[at], exponents_[at]};
    } else {
      return {fractions_[at]};
    }
  }
  // The same for all lanes, by a load instead of a lookup.
  HWY_INLINE typename N::Number Of(std::int64_t at) const {
    const CtcD d;
    if constexpr (kIsDual<N>) {
      return {hn::Set(d, row_.fractions[at]), hn::Set(d, row_.exponents[at]),
              hn::Set(d, row_.slopes[at])};
    } else if constexpr (N::kRanged) {
      return {hn::Set(d, row_.fractions[at]), hn::Set(d, row_.exponents[at])};
    } else {
      return {hn::Set(d, row_.fractions[at])};
    }
  }

 private:
  Row row_;
  Table<CtcD> fractions_, exponents_, slopes_;
};

template <class N>
HWY_INLINE void ZeroVectors(CtcRow row, std::int64_t first, std::int64_t end) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t v = first; v < end; ++v) {
    N::Store(d, N::Zero(d), row.labels, v * lanes);
    N::Store(d, N::Zero(d), row.blanks, v * lanes);
  }
}

// The sums over the arcs into (out of) the states at `i`.
template <class N>
struct CtcSums {
  typename N::Number label, blank;
};

// OneBefore and OneAfter of numbers.
template <class N, class Number = typename N::Number>
HWY_INLINE Number NumbersBefore(const Number& before, const Number& here) {
  const CtcD d;
  if constexpr (kIsDual<N>) {
    return {OneBefore(d, before.fraction, here.fraction),
            OneBefore(d, before.exponent, here.exponent), OneBefore(d, before.slope, here.slope)};
  } else if constexpr (N::kRanged) {
    return {OneBefore(d, before.fraction, here.fraction),
            OneBefore(d, before.exponent, here.exponent)};
  } else {
    return {OneBefore(d, before.fraction, here.fraction)};
  }
}
template <class N, class Number = typename N::Number>
HWY_INLINE Number NumbersAfter(const Number& here, const Number& after) {
  const CtcD d;
  if constexpr (kIsDual<N>) {
    return {OneAfter(d, here.fraction, after.fraction), OneAfter(d, here.exponent, after.exponent),
            OneAfter(d, here.slope, after.slope)};
  } else if constexpr (N::kRanged) {
    return {OneAfter(d, here.fraction, after.fraction), OneAfter(d, here.exponent, after.exponent)};
  } else {
    return {OneAfter(d, here.fraction, after.fraction)};
  }
}

// 1 where the label at `i` may be skipped to from the label before, else 0.
HWY_INLINE hn::Vec<CtcD> MaySkip(const CtcStates& states, std::int64_t i) {
  return hn::LoadU(CtcD(), states.may_skip.data() + i);
}

// Calls visit(i, sums, label emissions, blank emission) for the vectors of a step's span.
template <class N, template <class> class Table, class Visit>
HWY_INLINE void ForwardStep(const CtcStates& states, const CtcStep& step,
                            const Emissions<N, Table>& emissions, const Visit& visit) {
  const CtcD d;
  const hn::RebindToSigned<CtcD> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  ZeroVectors<N>(step.from, step.from_span.end, step.span.end);
  const auto blank_emission = emissions.Of(states.blank_class);
  const std::int64_t first = step.span.first;
  auto last_label =
      step.from_span.first < first ? N::Load(d, step.from.labels, (first - 1) * lanes) : N::Zero(d);
  for (std::int64_t v = first; v < step.span.end; ++v) {
    const std::int64_t i = v * lanes;
    const auto label = N::Load(d, step.from.labels, i);
    const auto blank = N::Load(d, step.from.blanks, i);
    const auto before = NumbersBefore<N>(last_label, label);
    last_label = label;
    const CtcSums<N> sums = {N::AddWhere(d, MaySkip(states, i), before, N::Add(d, label, blank)),
                             N::Add(d, blank, before)};
    const auto at = hn::LoadU(di, states.label_class.data() + i);
    visit(i, sums, emissions[at], blank_emission);
  }
}

template <class N, template <class> class Table, class Visit>
HWY_INLINE void BackwardStep(const CtcStates& states, const CtcStep& step,
                             const Emissions<N, Table>& emissions, const Visit& visit) {
  const CtcD d;
  const hn::RebindToSigned<CtcD> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  ZeroVectors<N>(step.from, step.span.first, step.from_span.first);
  const auto blank_emission = emissions.Of(states.blank_class);
  const std::int64_t end = step.span.end;
  const bool has_more = step.from_span.end > end;
  auto next_label = has_more ? N::Load(d, step.from.labels, end * lanes) : N::Zero(d);
  auto next_blank = has_more ? N::Load(d, step.from.blanks, end * lanes) : N::Zero(d);
  for (std::int64_t v = end; v-- > step.span.first;) {
    const std::int64_t i = v * lanes;
    const auto label = N::Load(d, step.from.labels, i);
    const auto blank = N::Load(d, step.from.blanks, i);
    const auto label_after = NumbersAfter<N>(label, next_label);
    const auto blank_after = NumbersAfter<N>(blank, next_blank);
    next_label = label;
    next_blank = blank;
    const CtcSums<N> sums = {
        N::AddWhere(d, MaySkip(states, i + 1), label_after, N::Add(d, label, blank_after)),
        N::Add(d, blank, label)};
    const auto at = hn::LoadU(di, states.label_class.data() + i);
    visit(i, sums, emissions[at], blank_emission);
  }
}

// A product of a sum and an emission. In linear_down it is watched: `flushed` keeps where it was
// lost, that is below the smallest normal number from factors that are not zero.
template <class N>
class Emitter {
 public:
  using Number = typename N::Number;
  static constexpr bool kWatch = std::is_same_v<N, Linear<CtcD, false>>;

  HWY_INLINE Emitter() : flushed_(hn::Zero(CtcD())) {}

  HWY_INLINE Number operator()(const Number& sum, const Number& emission) {
    const CtcD d;
    const Number product = N::Mul(d, sum, emission);
    if constexpr (kWatch) {
      const auto low = hn::Lt(product.fraction, hn::Set(d, std::numeric_limits<double>::min()));
      const auto factors =
          hn::And(hn::Gt(sum.fraction, hn::Zero(d)), hn::Gt(emission.fraction, hn::Zero(d)));
      flushed_ = hn::Or(flushed_, hn::VecFromMask(d, hn::And(low, factors)));
    }
    return N::Floor(d, product);
  }
  HWY_INLINE bool Flushed() const {
    const CtcD d;
    return !hn::AllFalse(d, hn::MaskFromVec(flushed_));
  }

 private:
  hn::Vec<CtcD> flushed_;
};

// Keeps a row's numbers in range, once in a block: linear ones by a power of two, whose exponent it
// returns; fractions of ranged ones by moving their powers of two into their exponents.
template <class N>
HWY_INLINE double Settle(CtcRow row, VectorSpan span, bool& flushed) {
  const CtcD d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if constexpr (N::kRanged) {
    for (std::int64_t i = span.first * lanes; i < span.end * lanes; i += lanes) {
      N::Store(d, N::Normalize(d, N::Load(d, row.labels, i)), row.labels, i);
      N::Store(d, N::Normalize(d, N::Load(d, row.blanks, i)), row.blanks, i);
    }
    return 0;
  } else if constexpr (std::is_same_v<N, MaxPlus<CtcD>>) {
    return 0;
  } else {
    auto top = hn::Zero(d);
    for (std::int64_t i = span.first * lanes; i < span.end * lanes; i += lanes) {
      top = hn::Max(
          top, hn::Max(N::Load(d, row.labels, i).fraction, N::Load(d, row.blanks, i).fraction));
    }
    const double max = hn::GetLane(hn::MaxOfLanes(d, top));
    if (max == 0) return 0;  // linear_down with nothing left
    const int shift = std::min(kCtcScaleExponent - std::ilogb(max), 1000);
    const auto power = typename N::Number{
        hn::BitCast(d, hn::Set(hn::RebindToSigned<CtcD>(), std::int64_t{shift + 1023} << 52))};
    Emitter<N> emit;
    for (std::int64_t i = span.first * lanes; i < span.end * lanes; i += lanes) {
      N::Store(d, emit(N::Load(d, row.labels, i), power), row.labels, i);
      N::Store(d, emit(N::Load(d, row.blanks, i), power), row.blanks, i);
    }
    flushed |= emit.Flushed();
    return -shift;
  }
}

// The emissions of a frame as numbers of a sweep.
template <class N>
HWY_INLINE Row EmissionRow(const CtcStates& states, const CtcWork& work, const CtcSide& side,
                           std::int64_t frame) {
  double* const stored = work.Emissions(frame);
  if constexpr (!N::kRanged) {
    return {stored};
  } else {
    const CtcD d;
    const Row row = {side.numbers, side.numbers + states.emission_width,
                     side.numbers + 2 * states.emission_width};
    for (std::int64_t k = 0; k < states.emission_width; k += states.lanes) {
      const auto x = hn::LoadU(d, stored + k);
      if constexpr (kIsDual<N>) {
        N::Store(d, N::Exp(d, x, hn::LoadU(d, work.Slopes(frame) + k)), row, k);
      } else {
        N::Store(d, N::Exp(d, x), row, k);
      }
    }
    return row;
  }
}

// One in a number system at a position: where the sweeps begin.
template <class N>
HWY_INLINE double SetOne(Row row, std::int64_t at) {
  if constexpr (std::is_same_v<N, MaxPlus<CtcD>>) {
    row.fractions[at] = 0;
    return 0;
  } else if constexpr (N::kRanged) {
    row.fractions[at] = 1;
    row.exponents[at] = 0;  // and slope 0, of the row of zeros
    return 0;
  } else {
    row.fractions[at] = std::ldexp(1.0, kCtcScaleExponent);
    return -kCtcScaleExponent;
  }
}

// Frame -1 of the forward scores: the first blank, from which label 0 is a step away.
template <class N>
HWY_INLINE double BeginForward(const CtcStates& states, CtcRow row) {
  ZeroVectors<N>(row, 0, states.spans.front().end);
  return SetOne<N>(row.blanks, 0);
}

// Frame T of the backward scores: the last blank.
template <class N>
HWY_INLINE double BeginBackward(const CtcStates& states, CtcRow row) {
  const VectorSpan span = states.spans.back();
  ZeroVectors<N>(row, span.first, span.end);
  return SetOne<N>(row.blanks, states.num_labels);
}

HWY_INLINE VectorSpan SpanBefore(const CtcStates& states, std::int64_t frame) {
  const auto t = static_cast<std::size_t>(frame);
  return frame == 0 ? VectorSpan{0, states.spans[0].end} : states.spans[t - 1];
}
HWY_INLINE VectorSpan SpanAfter(const CtcStates& states, std::int64_t frame) {
  const auto t = static_cast<std::size_t>(frame);
  return frame + 1 == states.num_frames ? states.spans[t] : states.spans[t + 1];
}

template <class N, template <class> class Table>
void ForwardRows(const CtcStates& states, CtcWork& work, CtcSide& side, std::int64_t end) {
  const CtcD d;
  const RowRing& rows = work.Rows(side);
  const std::int64_t width = states.width;
  side.exponent = BeginForward<N>(states, CtcRow(rows.At(-1), width));
  Emitter<N> emit;
  for (std::int64_t t = 0; t < end; ++t) {
    const CtcStep step = {CtcRow(rows.At(t - 1), width), SpanBefore(states, t),
                          CtcRow(rows.At(t), width), states.spans[static_cast<std::size_t>(t)]};
    const Emissions<N, Table> emissions(EmissionRow<N>(states, work, side, t));
    ForwardStep<N>(states, step, emissions,
                   [&](std::int64_t i, const CtcSums<N>& sums, const typename N::Number& label,
                       const typename N::Number& blank) HWY_ATTR {
                     N::Store(d, emit(sums.label, label), step.to.labels, i);
                     N::Store(d, emit(sums.blank, blank), step.to.blanks, i);
                   });
    if (t % kCtcBlock == kCtcBlock - 1) {
      side.exponent += Settle<N>(step.to, step.span, side.flushed);
    }
  }
  side.flushed |= emit.Flushed();
}

template <class N, template <class> class Table>
void BackwardRows(const CtcStates& states, CtcWork& work, CtcSide& side, std::int64_t begin) {
  const CtcD d;
  const RowRing& rows = work.Rows(side);
  const std::int64_t width = states.width, T = states.num_frames;
  side.exponent = BeginBackward<N>(states, CtcRow(rows.At(T), width));
  Emitter<N> emit;
  for (std::int64_t t = T - 1; t >= begin; --t) {
    const CtcStep step = {CtcRow(rows.At(t + 1), width), SpanAfter(states, t),
                          CtcRow(rows.At(t), width), states.spans[static_cast<std::size_t>(t)]};
    const Emissions<N, Table> emissions(EmissionRow<N>(states, work, side, t));
    BackwardStep<N>(states, step, emissions,
                    [&](std::int64_t i, const CtcSums<N>& sums, const typename N::Number& label,
                        const typename N::Number& blank) HWY_ATTR {
                      N::Store(d, emit(sums.label, label), step.to.labels, i);
                      N::Store(d, emit(sums.blank, blank), step.to.blanks, i);
                    });
    // Not the last frame's row: no boundary behind it is looked at (ctc_scale.hpp).
    if (t % kCtcBlock == 0 && t != T - 1) {
      side.exponent += Settle<N>(step.to, step.span, side.flushed);
    }
  }
  side.flushed |= emit.Flushed();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
