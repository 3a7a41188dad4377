// Weighted sums: log |sum b e^x| and its sign, for weights of any sign and size, in double.
//
// Every lane carries an extended-range sum (hi + lo) 2^N. A term's exponent is that of e^x plus
// that of b, so no weight overflows; a larger one moves N, which is exact. Each term is added by
// TwoSum: with both signs, what a plain sum rounds off may be all that is left.
//
// Two kinds of slices go to the scalar code at the end: those outside the domain of ExpScaled, and
// those whose result is near zero or mostly cancelled, where the largest exponential must be 1
// exactly for the result to keep its relative accuracy.
#if defined(LOGSUM_LOGSUMEXP_WEIGHTED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_WEIGHTED_INL_H_
#undef LOGSUM_LOGSUMEXP_WEIGHTED_INL_H_
#else
#define LOGSUM_LOGSUMEXP_WEIGHTED_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/arena.hpp"
#include "core/compensated.hpp"
#include "core/exp-inl.h"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"
#include "logsumexp/careful-inl.h"
#include "logsumexp/sum-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// log |sum| and the sum's sign.
struct SignedLog {
  double log, sign;
};

// One vector of extended-range sums; `refused` marks lanes that met a term outside the domain.
template <class D>
struct WeightedSum {
  using V = hn::Vec<D>;

  // Written out: GCC compiles an implicit one for the baseline, where NEON's vectors have none.
  HWY_INLINE WeightedSum()
      : exponent(ExponentOf(D(), hn::Set(D(), -kInfinity))),
        hi(hn::Zero(D())),
        lo(hn::Zero(D())),
        refused(hn::Zero(D())) {}

  V exponent, hi, lo;
  V refused;  // non-zero: a vector rather than a mask, so that it can lie in memory
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE void PushWeighted(D d, WeightedSum<D>& sum, V x, V b) {
  using C = logsum::ExpConstants<double>;
  const hn::RebindToUnsigned<D> du;
  // NaN equals nothing, so it takes part.
  const auto takes_part =
      hn::Not(hn::Or(hn::Eq(b, hn::Zero(d)), hn::Eq(x, hn::Set(d, -kInfinity))));
  const auto in_domain = hn::And(logsum::HWY_NAMESPACE::InScaleDomain(d, x),
                                 hn::Lt(hn::Abs(b), hn::Set(d, kInfinity)));
  sum.refused = hn::IfThenElse(hn::AndNot(in_domain, takes_part), hn::Set(d, 1.0), sum.refused);
  const auto counts = hn::And(takes_part, in_domain);
  x = hn::IfThenElse(counts, x, hn::Set(d, -kInfinity));
  b = hn::IfThenElse(counts, b, hn::Set(d, 1.0));

  // b = mantissa 2^exponent with |mantissa| in [1, 2), by its bits.
  const auto bits = hn::BitCast(du, b);
  const auto exponent_mask = hn::Set(du, std::uint64_t{0x7ff} << C::kMantissaBits);
  const auto one = hn::BitCast(du, hn::Set(d, 1.0));
  const V mantissa = hn::BitCast(d, hn::Or(hn::AndNot(exponent_mask, bits), one));
  const V rounder = hn::Set(d, C::kRounder);
  const auto biased = hn::ShiftRight<C::kMantissaBits>(hn::And(exponent_mask, bits));
  const V b_exponent =
      hn::Sub(hn::Sub(hn::BitCast(d, hn::Add(biased, hn::BitCast(du, rounder))), rounder),
              hn::Set(d, double{C::kExponentBias}));

  const V exponent = hn::IfThenElse(counts, hn::Add(ExponentOf(d, x), b_exponent), sum.exponent);
  const V larger = hn::Max(exponent, sum.exponent);
  const V scale = PowerOfTwo(d, hn::Sub(sum.exponent, larger));
  sum.hi = hn::Mul(sum.hi, scale);
  sum.lo = hn::Mul(sum.lo, scale);
  sum.exponent = larger;
  const V term = hn::Mul(ExpScaled<D>(d, hn::Sub(larger, b_exponent))(x), mantissa);
  Accumulate(sum.hi, sum.lo, hn::IfThenElseZero(counts, term));
}

// The terms of one kept index, (x, b) pairs with b != 0, visited as often as the scalar code needs.
class WeightedTerms {
 public:
  WeightedTerms(const Plan& plan, const BlockAccess<double>& input,
                const BlockAccess<double>& weights, std::int64_t kept)
      : plan_(plan), input_(input), weights_(weights), kept_(kept) {}

  template <class Visit>
  void ForEach(const Visit& visit) const {
    for (std::int64_t k = 0; k < plan_.space.num_reduced; k += kCarefulBlock) {
      const std::int64_t depth = std::min(kCarefulBlock, plan_.space.num_reduced - k);
      const double* const x = input_.Read(kept_, k, depth, 1, 0).data;
      const double* const b = weights_.Read(kept_, k, depth, 1, 0).data;
      for (std::int64_t i = 0; i < depth; ++i) {
        if (b[i] != 0 && x[i] != -kInfinity) visit(x[i], b[i]);
      }
    }
  }

 private:
  const Plan& plan_;
  const BlockAccess<double>& input_;
  const BlockAccess<double>& weights_;
  const std::int64_t kept_;
};

// Any input, and the last digit of results near zero: the largest exponential is split off, as
// scipy.special.logsumexp does it, and the rest added to it by log1p.
inline SignedLog CarefulWeighted(const WeightedTerms& terms) {
  double max = -kInfinity, max_weight = 0;
  bool has_nan = false, plus = false, minus = false;
  terms.ForEach([&](double x, double b) {
    has_nan |= std::isnan(x) || std::isnan(b);
    if (x == kInfinity || std::isinf(b)) (b > 0 ? plus : minus) = true;
    max = std::max(max, x);
    max_weight = std::max(max_weight, std::abs(b));
  });
  if (has_nan || (plus && minus)) return {kNaN, kNaN};
  if (plus || minus) return {kInfinity, plus ? 1.0 : -1.0};
  if (max == -kInfinity) return {-kInfinity, 0};

  const int weight_exponent = std::ilogb(max_weight);
  CompensatedSum top_sum, rest_sum;
  terms.ForEach([&](double x, double b) {
    const double scaled = std::ldexp(b, -weight_exponent);
    if (x == max) {
      top_sum.Add(scaled);
    } else {
      rest_sum.Add(scaled * std::exp(x - max));
    }
  });
  const double total = (top_sum.High() + rest_sum.High()) + (top_sum.Low() + rest_sum.Low());
  if (total == 0) return {-kInfinity, 0};
  const double top = top_sum.Value(), rest = rest_sum.Value();
  const bool dominated = std::abs(rest) < 0.5 * std::abs(top);
  const double log_total =
      dominated ? std::log(std::abs(top)) + std::log1p(rest / top) : std::log(std::abs(total));
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  // max and a small logarithm cancel best when the exact part is added last.
  return {(log_total + weight_exponent * kLn2) + max, total > 0 ? 1.0 : -1.0};
}

// The logarithm of (hi + lo) 2^exponent.
inline SignedLog LogOf(double exponent, double hi, double lo) {
  if (hi + lo == 0) return {-kInfinity, 0};
  constexpr double kLn2Hi = 0x1.62e42fefp-1;  // 32 bits: exact times any exponent
  constexpr double kLn2Lo = 0x1.473de6af278edp-34;
  const double magnitude = std::abs(hi + lo);
  const double correction = ((hi - (hi + lo)) + lo) / (hi + lo);
  const double log = exponent * kLn2Hi + (exponent * kLn2Lo + std::log(magnitude) + correction);
  return {log, hi + lo > 0 ? 1.0 : -1.0};
}

inline constexpr std::int64_t kWeightedRow = 1024;

inline constexpr auto kOnes = [] {
  std::array<double, kWeightedRow> ones{};
  for (double& one : ones) one = 1;
  return ones;
}();

class WeightedTile {
  using D = hn::ScalableTag<double>;
  static constexpr D d{};

 public:
  WeightedTile(const Plan& plan, std::int64_t tile)
      : plan_(plan),
        tile_(plan.TileAt(tile)),
        by_rows_(!plan.by_lanes || tile_.width == 1),
        scope_(4 * Arena::BytesFor<double>(kBlock) + 4 * Arena::BytesFor<double>(kMaxTileWidth)),
        input_(plan, kInput, scope_.Take<double>(kBlock)),
        weights_(plan, kWeights, scope_.Take<double>(kBlock)),
        output_(plan, kOutput, scope_.Take<double>(kBlock)),
        weights_grad_(plan, kWeightsGrad, scope_.Take<double>(kBlock)) {}

  void Reduce() {
    if (by_rows_) {
      for (std::int64_t lane = 0; lane < tile_.width; ++lane) ReduceRow(lane);
    } else {
      ReduceLanes();
    }
    WriteKept(plan_, kLse, tile_, lse_.data());
    if (plan_.Has(kSign)) WriteKept(plan_, kSign, tile_, sign_.data());
  }

  // grad_a = b g e^(x - lse), grad_b = g e^(x - lse), with g = grad sign.
  void Backward() {
    std::array<double, kMaxTileWidth> grad;
    ReadKept(plan_, kLse, tile_, lse_.data());
    ReadKept(plan_, kLseGrad, tile_, grad.data());
    sign_.fill(1.0);
    if (plan_.Has(kSign)) ReadKept(plan_, kSign, tile_, sign_.data());
    for (std::int64_t lane = 0; lane < tile_.width; ++lane) {
      // The sign of a sum that cancelled is 0, which must not pass for a zero gradient.
      BackwardRow(lane, sign_[lane] == 0 ? grad[lane] : grad[lane] * sign_[lane]);
    }
  }

 private:
  static constexpr std::int64_t kBlock = 2048;
  static constexpr std::int64_t kRow = kWeightedRow;
  static_assert(kBlock >= kCarefulBlock && kBlock >= kRow);

  void Finish(std::int64_t lane, double exponent, double hi, double lo, bool refused) {
    SignedLog result = LogOf(exponent, hi, lo);
    const bool cancelled = std::abs(hi) < 0.25 && exponent > EmptyExponent();
    if (refused || cancelled || std::abs(result.log) < 0.25) {
      const WeightedTerms terms(plan_, input_, weights_, tile_.first + lane);
      result = CarefulWeighted(terms);
    }
    // Without a place for the sign, a negative sum has no logarithm.
    lse_[lane] = !plan_.Has(kSign) && result.sign < 0 ? kNaN : result.log;
    sign_[lane] = result.sign;
  }

  static double EmptyExponent() { return hn::GetLane(WeightedSum<D>().exponent); }

  // The sums of the lanes of one vector, as one.
  void FinishRow(std::int64_t lane, const WeightedSum<D>& sum) {
    const auto lanes = hn::Lanes(d);
    HWY_ALIGN double exponent[hn::MaxLanes(D())], hi[hn::MaxLanes(D())], lo[hn::MaxLanes(D())];
    hn::Store(sum.exponent, d, exponent);
    hn::Store(sum.hi, d, hi);
    hn::Store(sum.lo, d, lo);
    const double largest = *std::max_element(exponent, exponent + lanes);
    CompensatedSum total;
    for (std::size_t i = 0; i < lanes; ++i) {
      const double scale = std::exp2(std::max(exponent[i] - largest, -1100.0));
      total.Add(hi[i] * scale);
      total.Add(lo[i] * scale);
    }
    const bool refused = !hn::AllTrue(d, hn::Eq(sum.refused, hn::Zero(d)));
    Finish(lane, largest, total.High(), total.Low(), refused);
  }

  void ReduceRow(std::int64_t lane) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    WeightedSum<D> sum;
    for (std::int64_t k = 0; k < plan_.space.num_reduced; k += kRow) {
      const std::int64_t depth = std::min(kRow, plan_.space.num_reduced - k);
      const double* const x = input_.Read(tile_.first + lane, k, depth, 1, 0).data;
      const double* const b = weights_.Read(tile_.first + lane, k, depth, 1, 0).data;
      std::int64_t i = 0;
      for (; i + lanes <= depth; i += lanes) {
        PushWeighted(d, sum, hn::LoadU(d, x + i), hn::LoadU(d, b + i));
      }
      // LoadTail fills up with -inf, which as a term counts for nothing.
      if (i < depth) {
        PushWeighted(d, sum, LoadTail(d, x + i, depth - i), LoadTail(d, b + i, depth - i));
      }
    }
    FinishRow(lane, sum);
  }

  void ReduceLanes() {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t width = BlockAccess<double>::Stride(tile_.width);
    const std::int64_t block_depth = kBlock / kMaxTileWidth;
    WeightedSum<D> sums[kMaxTileWidth / hn::MaxLanes(D())];
    for (std::int64_t k = 0; k < plan_.space.num_reduced; k += block_depth) {
      const std::int64_t depth = std::min(block_depth, plan_.space.num_reduced - k);
      const auto x = input_.Read(tile_.first, k, depth, tile_.width, -kInfinity);
      const auto b = weights_.Read(tile_.first, k, depth, tile_.width, 0);
      for (std::int64_t i = 0; i < width; i += lanes) {
        for (std::int64_t r = 0; r < depth; ++r) {
          PushWeighted(d, sums[i / lanes], hn::LoadU(d, x.data + r * x.row_stride + i),
                       hn::LoadU(d, b.data + r * b.row_stride + i));
        }
      }
    }
    for (std::int64_t i = 0; i < width; i += lanes) FinishLanes(i, sums[i / lanes]);
  }

  void FinishLanes(std::int64_t first, const WeightedSum<D>& sum) {
    HWY_ALIGN double values[4][hn::MaxLanes(D())];
    hn::Store(sum.exponent, d, values[0]);
    hn::Store(sum.hi, d, values[1]);
    hn::Store(sum.lo, d, values[2]);
    hn::Store(sum.refused, d, values[3]);
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t i = 0; i < lanes && first + i < tile_.width; ++i) {
      Finish(first + i, values[0][i], values[1][i], values[2][i], values[3][i] != 0);
    }
  }

  void BackwardRow(std::int64_t lane, double grad) const {
    const std::int64_t kept = tile_.first + lane;
    const double lse = lse_[lane];
    const double shares = lse == kInfinity ? InfiniteTerms(kept) : 1.0;
    for (std::int64_t k = 0; k < plan_.space.num_reduced; k += kRow) {
      const std::int64_t depth = std::min(kRow, plan_.space.num_reduced - k);
      const double* const x = input_.Read(kept, k, depth, 1, 0).data;
      const double* const b =
          plan_.Has(kWeights) ? weights_.Read(kept, k, depth, 1, 0).data : kOnes.data();
      double* const grad_x = plan_.Has(kOutput) ? output_.Open(kept, k, depth, 1).data : nullptr;
      double* const grad_b =
          plan_.Has(kWeightsGrad) ? weights_grad_.Open(kept, k, depth, 1).data : nullptr;
      for (std::int64_t i = 0; i < depth; ++i) {
        const double derivative = WeightDerivative(x[i], b[i], lse, grad, shares);
        if (grad_b != nullptr) grad_b[i] = derivative;
        if (grad_x != nullptr) grad_x[i] = b[i] == 0 ? 0 : derivative * b[i];
      }
      if (grad_x != nullptr) output_.Commit(kept, k, depth, 1);
      if (grad_b != nullptr) weights_grad_.Commit(kept, k, depth, 1);
    }
  }

  // d log|S| / db, times the incoming gradient.
  static double WeightDerivative(double x, double b, double lse, double grad, double shares) {
    if (grad == 0 || x == -kInfinity || (b == 0 && !std::isfinite(x))) return 0;
    // Nothing took part, or the terms cancelled exactly and there is no derivative.
    if (lse == -kInfinity) return b == 0 ? 0 : kNaN;
    if (lse == kInfinity) return x == kInfinity ? grad / (b * shares) : 0;
    return grad * std::exp(x - lse);
  }

  double InfiniteTerms(std::int64_t kept) const {
    double count = 0;
    for (std::int64_t k = 0; k < plan_.space.num_reduced; k += kRow) {
      const std::int64_t depth = std::min(kRow, plan_.space.num_reduced - k);
      const double* const x = input_.Read(kept, k, depth, 1, 0).data;
      const double* const b =
          plan_.Has(kWeights) ? weights_.Read(kept, k, depth, 1, 0).data : kOnes.data();
      for (std::int64_t i = 0; i < depth; ++i) count += x[i] == kInfinity && b[i] != 0;
    }
    return count;
  }

  const Plan& plan_;
  const Tile tile_;
  const bool by_rows_;
  Arena::Scope scope_;
  const BlockAccess<double> input_, weights_, output_, weights_grad_;
  std::array<double, kMaxTileWidth> lse_, sign_;
};

inline void WeightedReduceTask(const Plan& plan, std::int64_t tile) {
  WeightedTile(plan, tile).Reduce();
}
inline void WeightedBackwardTask(const Plan& plan, std::int64_t tile) {
  WeightedTile(plan, tile).Backward();
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
