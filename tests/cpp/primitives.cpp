#include "primitives.hpp"

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "primitives.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>
#include <utility>

#include "core/exp-inl.h"
#include "core/extended-inl.h"
#include "core/log-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using primitives::Arrays;
using primitives::Op;
using primitives::Table;
using primitives::Width;
using primitives::Worst;

template <class D>
class Block {
 public:
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;

  Block(const Arrays<T>& arrays, std::size_t at) : arrays_(arrays), at_(at) {}

  V In(std::size_t which) const { return hn::LoadU(d_, arrays_.in[which] + at_); }

  Extended<D> InPair(std::size_t which) const {
    return {In(2 * which), hn::ConvertTo(hn::RebindToSigned<D>(), In(2 * which + 1))};
  }

  void Out(V value, std::size_t which = 0) const {
    hn::StoreU(value, d_, arrays_.out[which] + at_);
  }

  void Out(hn::Mask<D> mask) const { Out(hn::IfThenElseZero(mask, hn::Set(d_, T{1}))); }

  void Out(const Extended<D>& value) const {
    Out(value.fraction);
    Out(hn::ConvertTo(d_, value.exponent), 1);
  }

 private:
  const D d_{};
  const Arrays<T>& arrays_;
  std::size_t at_;
};

template <Op kOp, class D>
HWY_INLINE void Apply(D d, const Block<D>& b) {
  if constexpr (kOp == Op::kExp) {
    b.Out(Exp(d, b.In(0)));
  } else if constexpr (kOp == Op::kExpNonPositive) {
    b.Out(ExpNonPositive(d, b.In(0)));
  } else if constexpr (kOp == Op::kExpReduced) {
    b.Out(ExpReduced(d, b.In(0)));
  } else if constexpr (kOp == Op::kExpScaled) {
    b.Out(ExpScaled<D>(d, b.In(1))(b.In(0)));
  } else if constexpr (kOp == Op::kFraction) {
    hn::Vec<D> power;
    b.Out(ExpScaled<D>(d, b.In(1)).Fraction(b.In(0), power));
    b.Out(power, 1);
  } else if constexpr (kOp == Op::kExponentOf) {
    b.Out(ExponentOf(d, b.In(0)));
  } else if constexpr (kOp == Op::kInScaleDomain) {
    b.Out(InScaleDomain(d, b.In(0)));
  } else if constexpr (kOp == Op::kReduceByLn2) {
    b.Out(ReduceByLn2(d, b.In(0), b.In(1)));
  } else if constexpr (kOp == Op::kSplitExp) {
    b.Out(SplitExp(d, b.In(0)));
  } else if constexpr (kOp == Op::kInSplitDomain) {
    b.Out(InSplitDomain(d, b.In(0)));
  } else if constexpr (kOp == Op::kLog) {
    b.Out(Log(d, b.In(0)));
  } else if constexpr (kOp == Op::kLogScaled) {
    b.Out(LogScaled(d, b.In(0), b.In(1)));
  } else if constexpr (kOp == Op::kLogScaledOfSum) {
    b.Out(LogScaledOfSum(d, b.In(0), b.In(1)));
  } else if constexpr (kOp == Op::kLogWithRest) {
    hn::Vec<D> rest;
    b.Out(LogScaledOfSum(d, b.In(0), b.In(1), rest));
    b.Out(rest, 1);
  } else if constexpr (kOp == Op::kLog1p) {
    b.Out(Log1p(d, b.In(0)));
  } else if constexpr (kOp == Op::kMul) {
    b.Out(Mul(d, b.InPair(0), b.InPair(1)));
  } else if constexpr (kOp == Op::kAdd) {
    b.Out(Add(d, b.InPair(0), b.InPair(1)));
  } else if constexpr (kOp == Op::kMulAdd) {
    b.Out(MulAdd(d, b.InPair(0), b.InPair(1), b.InPair(2)));
  } else if constexpr (kOp == Op::kNormalize) {
    b.Out(Normalize(d, b.InPair(0)));
  } else {
    static_assert(kOp == Op::kToLog);
    b.Out(ToLog(d, b.InPair(0)));
  }
}

template <class D, Op kOp>
void Run(const Arrays<hn::TFromD<D>>& arrays) {
  const D d;
  for (std::size_t i = 0; i < arrays.count; i += hn::Lanes(d)) Apply<kOp>(d, Block<D>(arrays, i));
}

template <class T, std::size_t... kOps>
Table<T> MakeTable(std::index_sequence<kOps...>) {
  return {{{&Run<hn::CappedTag<T, 1>, Op(kOps)>, &Run<hn::CappedTag<T, 2>, Op(kOps)>,
            &Run<hn::CappedTag<T, 4>, Op(kOps)>, &Run<hn::ScalableTag<T>, Op(kOps)>}...}};
}

Worst WorstUlp(const float* got, const double* expected, std::size_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const hn::RebindToUnsigned<decltype(d)> du;
  const auto beyond = hn::Set(d, 0x1p128);
  const auto infinity = hn::Set(d, std::numeric_limits<double>::infinity());
  Worst worst;
  for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto clamp = [&](auto v) HWY_ATTR {  // keeps NaN
      return hn::IfThenElse(hn::Gt(hn::Abs(v), beyond), hn::CopySign(beyond, v), v);
    };
    const auto g = clamp(hn::PromoteTo(d, hn::LoadU(df, got + i)));
    const auto e = clamp(hn::LoadU(d, expected + i));
    // 1 / spacing = 2^(23 - exponent), from the exponent field; the last binade for 2^128.
    const auto size = hn::Min(hn::Max(hn::Abs(e), hn::Set(d, 0x1p-126)), hn::Set(d, 0x1p127));
    const auto field = hn::ShiftRight<52>(hn::BitCast(du, size));
    const auto inverse = hn::Sub(hn::Set(du, 2 * 1023 + 23), field);
    const auto scale = hn::BitCast(d, hn::ShiftLeft<52>(inverse));
    const auto error = hn::Mul(hn::Abs(hn::Sub(g, e)), scale);
    // NaN in one only is an infinite error, in both none.
    const auto g_nan = hn::Ne(g, g), e_nan = hn::Ne(e, e);
    const auto checked = hn::IfThenElse(hn::Or(g_nan, e_nan), infinity, error);
    const auto final_error = hn::IfThenZeroElse(hn::And(g_nan, e_nan), checked);
    if (hn::AllFalse(d, hn::Gt(final_error, hn::Set(d, worst.ulp)))) continue;
    std::array<double, HWY_MAX_BYTES / sizeof(double)> lanes;
    hn::StoreU(final_error, d, lanes.data());
    for (std::size_t lane = 0; lane < hn::Lanes(d); ++lane) {
      if (lanes[lane] > worst.ulp) worst = {lanes[lane], i + lane};
    }
  }
  return worst;
}

primitives::Target MakeTarget() {
  constexpr auto kOps = std::make_index_sequence<std::size_t(Op::kCount)>();
  return {hwy::TargetName(HWY_TARGET), HWY_NATIVE_FMA != 0, MakeTable<float>(kOps),
          MakeTable<double>(kOps), &WorstUlp};
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum {
HWY_EXPORT(MakeTarget);

namespace primitives {

const std::vector<Target>& Targets() {
  static const std::vector<Target> targets =
      testing::OfEachTarget([] { return HWY_DYNAMIC_DISPATCH(MakeTarget)(); });
  return targets;
}

}  // namespace primitives
}  // namespace logsum
#endif
