// The Max semiring: scores of best paths, and the best path.
#if defined(LOGSUM_SCAN_MAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_SCAN_MAX_INL_H_
#undef LOGSUM_SCAN_MAX_INL_H_
#else
#define LOGSUM_SCAN_MAX_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/compensated.hpp"
#include "hwy/highway.h"
#include "scan/kernels.hpp"
#include "scan/lanes-inl.h"
#include "scan/segments.hpp"
#include "scan/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::scan {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The log weight of two in sequence: zero absorbs everything, +inf and NaN included.
inline double Joined(double a, double b) {
  return a == -kInfinity || b == -kInfinity ? -kInfinity : a + b;
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Joined(D d, V a, V b) {
  const V zero = hn::Set(d, -kInfinity);
  const auto is_zero = hn::Or(hn::Eq(a, zero), hn::Eq(b, zero));
  return hn::IfThenElse(is_zero, zero, hn::Add(a, b));
}

template <class D>
void MaxStep(const Graph::Arcs::Sorted& sorted, std::int64_t num_states,
             const double* HWY_RESTRICT weights, const double* HWY_RESTRICT from,
             double* HWY_RESTRICT to) {
  using V = hn::Vec<D>;
  constexpr int kLanes = kLanesOf<D>;
  const D d;
  for (std::int64_t c = 0; c < num_states; ++c) {
    V best = hn::Set(d, -kInfinity);
    const std::int64_t end = sorted.begin[static_cast<std::size_t>(c) + 1];
    for (std::int64_t i = sorted.begin[static_cast<std::size_t>(c)]; i < end; ++i) {
      const auto [state, slot] = sorted.arcs[static_cast<std::size_t>(i)];
      const V x = Joined(d, hn::LoadU(d, weights + std::int64_t{slot} * kLanes),
                         hn::LoadU(d, from + std::int64_t{state} * kLanes));
      // NaN comes in and stays.
      const auto wins = hn::Or(hn::Gt(x, best), hn::Not(hn::Eq(x, x)));
      best = hn::IfThenElse(wins, x, best);
    }
    hn::StoreU(best, d, to + c * kLanes);
  }
}

// Log weights of a frame, and of states.
template <class D>
void MaxFrame(const ScanShape& shape, const Group& group, std::int64_t t, double* space,
              double* weights) {
  WidenedElements<kLanesOf<D>, true>(shape.Ms(), FrameOf<kLanesOf<D>>(shape.Ms(), group, t),
                                     shape.E(), &shape.Arcs().padding, space, weights);
}
template <class D>
void MaxStates(const Operand& operand, const Group& group, std::int64_t count, double* space,
               double* weights) {
  WidenedElements<kLanesOf<D>, true>(operand, StatesOf<kLanesOf<D>>(operand, group), count, nullptr,
                                     space, weights);
}

// forward_scores and backward_scores.
template <class D>
class MaxScores {
 public:
  static constexpr int kLanes = kLanesOf<D>;

  MaxScores(const ScoresJob& job, const Group& group, double* memory)
      : job_(job), group_(group), num_states_(job.shape.C()), lanes_(group) {
    const std::int64_t row = RowSize<D>(num_states_, 1), frame = FrameSize<D>(job.shape.Arcs());
    from_ = memory;
    to_ = from_ + row;
    space_ = to_ + row;
    weights_ = space_ + frame;
    first_ = weights_ + frame;
  }

  void Run() {
    const Graph::Arcs& arcs = job_.shape.Arcs();
    MaxStates<D>(job_.first, group_, num_states_, space_, first_);
    std::copy_n(first_, num_states_ * kLanes, from_);
    Write(job_.backward ? group_.steps : 0);
    for (std::int64_t i = 0; i < group_.steps; ++i) {
      const std::int64_t t = job_.backward ? group_.steps - 1 - i : i;
      MaxFrame<D>(job_.shape, group_, t, space_, weights_);
      MaxStep<D>(job_.backward ? arcs.out_of : arcs.into, num_states_, weights_, from_, to_);
      std::swap(from_, to_);
      if (job_.backward) Begin(t);
      Write(job_.backward ? t : t + 1);
    }
    lanes_.FillPast(job_.scores, 1, job_.shape.T() + 1, num_states_, -kInfinity);
  }

 private:
  // Backward: sequences that are t long begin.
  void Begin(std::int64_t t) {
    if (!lanes_.AnyEndsAt(t)) return;
    const D d;
    const auto begins = lanes_.AsLongAs(t);
    for (std::int64_t i = 0; i < num_states_ * kLanes; i += kLanes) {
      hn::StoreU(hn::IfThenElse(begins, hn::LoadU(d, first_ + i), hn::LoadU(d, from_ + i)), d,
                 from_ + i);
    }
  }

  void Write(std::int64_t t) {
    WriteFrame<kLanes>(job_.scores, RowsOf<kLanes>(job_.scores, group_, t), num_states_,
                       lanes_.Bits([&](std::int64_t length) { return length >= t; }), from_,
                       space_);
  }

  const ScoresJob& job_;
  const Group& group_;
  const std::int64_t num_states_;
  const GroupLanes<D> lanes_;
  double *from_, *to_, *space_, *weights_, *first_;
};

// One element of an operand, as a log weight.
inline double WeightAt(const Operand& operand, std::int64_t t, std::int64_t n, std::int64_t i) {
  return VisitFloating(operand.dtype, [&](auto storage) -> double {
    const auto* const data = static_cast<const decltype(storage)*>(operand.data);
    const double x = ToFloat(data[operand.At(t, n) + operand.Offset(i)]);
    return x <= kZeroWeight ? -kInfinity : x;
  });
}

// The best path. A sweep of Segments::Run: forward in lanes, then back along one path a lane, each
// arc found again as the lowest that gives its target's score.
template <class D>
class MaxPath {
 public:
  static constexpr int kLanes = kLanesOf<D>;

  static Segments Rows(const PathJob& job, const Group& group) {
    return {group.steps, job.checkpoint, RowSize<D>(job.shape.C(), 1)};
  }
  static std::int64_t Memory(const PathJob& job, const Group& group) {
    return Rows(job, group).Size() + 2 * FrameSize<D>(job.shape.Arcs());
  }

  MaxPath(const PathJob& job, const Group& group, double* memory)
      : job_(job), group_(group), arcs_(job.shape.Arcs()), lanes_(group) {
    rows_ = memory;
    space_ = rows_ + Rows(job, group).Size();
    weights_ = space_ + FrameSize<D>(arcs_);
  }

  void Run() {
    Rows(job_, group_).Run(*this, rows_);
    lanes_.FillPast(job_.grad_Ms, 0, job_.shape.T(), arcs_.num_slots, 0);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      const std::int64_t n = group_.sequence[lane];
      for (std::int64_t t = group_.length[lane]; t < job_.shape.T(); ++t) {
        WriteIndex(job_.arcs, t, n, -1);
        WriteIndex(job_.states, t + 1, n, -1);
      }
    }
  }

  void First(double* row) { MaxStates<D>(job_.v0, group_, arcs_.num_states, space_, row); }

  void Forward(std::int64_t t, const double* from, double* to, bool /*again*/) {
    MaxFrame<D>(job_.shape, group_, t, space_, weights_);
    MaxStep<D>(arcs_.into, arcs_.num_states, weights_, from, to);
  }

  void Last(const double* row) { BeginAll(group_.steps, row); }

  void Backward(std::int64_t t, const double* row, const double* next) {
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      if (group_.length[lane] > t) Follow(lane, t, row, next);
    }
    BeginAll(t, row);
  }

  void Done(const double* /*row*/) {
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      const std::int64_t n = group_.sequence[lane];
      Path& path = paths_[lane];
      WriteStates(job_.grad_v0, n, path);
      if (path.state >= 0) path.sum.Add(WeightAt(job_.v0, 0, n, path.state));
      StoreAt(job_.score, job_.score.At(0, n), path.state >= 0 ? path.sum.Value() : path.score);
    }
  }

 private:
  // The way back: its state, -1 if there is none, and what was summed so far.
  struct Path {
    std::int64_t state = -1;
    double score = -kInfinity;
    CompensatedSum sum;
    // What a gradient is away from the path.
    double Elsewhere() const { return std::isnan(score) ? score : 0; }
  };

  // Sequences that are t long: their best last state.
  void BeginAll(std::int64_t t, const double* row) {
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(group_.count); ++lane) {
      if (group_.length[lane] != t) continue;
      const std::int64_t n = group_.sequence[lane];
      Path& path = paths_[lane];
      for (std::int64_t c = 0; c < arcs_.num_states; ++c) {
        const double x =
            Joined(row[c * kLanes + static_cast<std::int64_t>(lane)], WeightAt(job_.vT, 0, n, c));
        if (std::isnan(x)) path = {.state = -1, .score = x, .sum = {}};
        if (!(x > path.score)) continue;
        path.state = c;
        path.score = x;
      }
      if (path.state >= 0) path.sum.Add(WeightAt(job_.vT, 0, n, path.state));
      WriteIndex(job_.states, t, n, path.state);
      WriteStates(job_.grad_vT, n, path);
    }
  }

  void Follow(std::size_t lane, std::int64_t t, const double* row, const double* next) {
    const std::int64_t n = group_.sequence[lane];
    Path& path = paths_[lane];
    std::int64_t taken = -1;
    if (path.state >= 0) {
      const auto at = [&](std::int64_t state) {
        return state * kLanes + static_cast<std::int64_t>(lane);
      };
      const auto first = static_cast<std::size_t>(path.state);
      for (std::int64_t i = arcs_.into.begin[first]; i < arcs_.into.begin[first + 1]; ++i) {
        const auto [state, slot] = arcs_.into.arcs[static_cast<std::size_t>(i)];
        const double weight = WeightAt(job_.shape.Ms(), t, n, slot);
        if (Joined(weight, row[at(state)]) != next[at(path.state)]) continue;
        path.state = state;
        path.sum.Add(weight);
        taken = slot;
        break;
      }
    }
    WriteIndex(job_.arcs, t, n, taken);
    WriteIndex(job_.states, t, n, path.state);
    if (!job_.grad_Ms.Exists()) return;
    const std::int64_t place = job_.grad_Ms.At(t, n);
    FillElements(job_.grad_Ms, place, arcs_.num_slots, path.Elsewhere());
    if (taken >= 0) StoreAt(job_.grad_Ms, place + job_.grad_Ms.Offset(taken), 1);
    if (!std::isnan(path.score)) return;
    for (const std::int32_t slot : arcs_.padding) {
      StoreAt(job_.grad_Ms, place + job_.grad_Ms.Offset(slot), 0);
    }
  }

  void WriteStates(const Operand& operand, std::int64_t n, const Path& path) const {
    if (!operand.Exists()) return;
    FillElements(operand, operand.At(0, n), arcs_.num_states, path.Elsewhere());
    if (path.state >= 0) StoreAt(operand, operand.At(0, n) + operand.Offset(path.state), 1);
  }

  static void WriteIndex(const Operand& operand, std::int64_t t, std::int64_t n,
                         std::int64_t value) {
    if (operand.Exists()) static_cast<std::int64_t*>(operand.data)[operand.At(t, n)] = value;
  }

  const PathJob& job_;
  const Group& group_;
  const Graph::Arcs& arcs_;
  const GroupLanes<D> lanes_;
  std::array<Path, kLanes> paths_;
  double *rows_, *space_, *weights_;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum::scan
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
