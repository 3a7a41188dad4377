// Sums and log-sum-exps of tiles, in both directions, on every CPU target.
#include "reduce_fold.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFold : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFold, Reals);

FoldShape ShapeOf(Fold fold, bool rows, std::int64_t dim) {
  return {.fold = fold, .kept = rows ? FormulaIndex::i : FormulaIndex::j, .dim = dim};
}

template <class Real>
struct Named {
  const char* name;
  PairValues<Real> values;
};

// What finds drift, cancellation, overflow of partial sums and every way of being constant.
template <class Real>
std::vector<Named<Real>> FiniteValues() {
  // Partial sums of floats may overflow; those of doubles, which nothing is wider than, may not.
  const Real huge = std::numeric_limits<Real>::max() / (sizeof(Real) == 4 ? 4 : 4096);
  return {
      {"random", {[](auto d, auto r, auto c) { return Real(20 * Scattered(d, r, c) - 10); }}},
      {"constant", {[](auto, auto, auto) { return Real(0.7); }}},
      {"constant near 1", {[](auto, auto, auto) { return Real(-1e-3); }}},
      {"rising", {[](auto, auto r, auto c) { return Real(0.01) * Real(r + c); }}},
      {"falling fast", {[](auto, auto r, auto c) { return Real(-3) * Real(r + c); }}},
      {"rising fast", {[](auto, auto r, auto c) { return Real(5) * Real(r + c); }}},
      {"spread", {[](auto d, auto r, auto c) { return Real(2000 * Scattered(d, r, c) - 500); }}},
      {"huge", {[=](auto d, auto r, auto c) { return huge * Real(2 * Scattered(d, r, c) - 1); }}},
      {"huge alike", {[=](auto, auto r, auto c) { return (r + c) % 7 < 4 ? huge : -huge; }}},
      {"of i", {[](auto d, auto r, auto) { return Real(Scattered(d, r, 0)); }, true, false}},
      {"of j", {[](auto d, auto, auto c) { return Real(Scattered(d, 0, c)); }, false, true}},
      {"of neither", {[](auto d, auto, auto) { return Real(0.3) + Real(d); }, false, false}},
  };
}

// Half an ulp, and of the sum of sizes: 23 u in a group; n 2^-53 or one more ulp from totals.
TYPED_TEST(ReduceFold, Sum) {
  using Real = TypeParam;
  for (const Named<Real>& named : FiniteValues<Real>()) {
    SCOPED_TRACE(named.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      const std::int64_t kept = rows ? shape.rows : shape.columns;
      const std::int64_t reduced = rows ? shape.columns : shape.rows;
      const StateOf<Real> state(ShapeOf(Fold::sum, rows, 2), kept);
      PushAll<Real>(kernels, state.state, named.values, 2, {}, {0, 0, shape.rows, shape.columns},
                    shape.cut);
      const std::vector<Real> got = state.Write(Result::value);
      for (std::int64_t k = 0; k < kept; ++k) {
        for (std::int64_t d = 0; d < 2; ++d) {
          long double exact = 0, sizes = 0;
          for (const Real x : TermsOf(named.values, rows, k, reduced, d)) {
            exact += x;
            sizes += std::fabs(static_cast<long double>(x));
          }
          const Real value = got[static_cast<std::size_t>(2 * k + d)];
          if (std::isinf(static_cast<Real>(exact))) {
            ASSERT_EQ(value, static_cast<Real>(exact));
          } else {
            ASSERT_LE(std::fabs(value - exact), HalfUlp(value) + 24 * kUnit<Real> * sizes) << k;
          }
        }
      }
    });
  }
}

struct ExactLse {
  long double lse, max, rest;
};

template <class Real>
ExactLse LseOf(const std::vector<Real>& terms) {
  long double max = -kInf<long double>, rest = 0;
  std::size_t at = 0;
  for (std::size_t k = 0; k < terms.size(); ++k) {
    if (terms[k] > max) {
      max = terms[k];
      at = k;
    }
  }
  for (std::size_t k = 0; k < terms.size(); ++k) {
    if (k != at) rest += std::exp(terms[k] - max);
  }
  return {max + std::log1p(rest), max, rest};
}

// Of the other terms' part: 2.2 u for an exponential, 23 u for their sum, 8 u for exponents taken
// relative to a reference, 1 u for its logarithm and exponential.
template <class Real>
long double LseBound(const ExactLse& exact) {
  return 36 * kUnit<Real> * (exact.rest / (1 + exact.rest)) +
         2 * kUnit<Real> * std::fabs(std::log1p(exact.rest));
}

TYPED_TEST(ReduceFold, LogSumExp) {
  using Real = TypeParam;
  for (const Named<Real>& named : FiniteValues<Real>()) {
    SCOPED_TRACE(named.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      const std::int64_t kept = rows ? shape.rows : shape.columns;
      const std::int64_t reduced = rows ? shape.columns : shape.rows;
      const StateOf<Real> state(ShapeOf(Fold::logsumexp, rows, 2), kept);
      PushAll<Real>(kernels, state.state, named.values, 2, {}, {0, 0, shape.rows, shape.columns},
                    shape.cut);
      const std::vector<Real> got = state.Write(Result::value);
      const std::vector<Real> residual = state.Write(Result::residual);
      for (std::int64_t k = 0; k < kept; ++k) {
        for (std::int64_t d = 0; d < 2; ++d) {
          const ExactLse exact = LseOf(TermsOf(named.values, rows, k, reduced, d));
          const auto at = static_cast<std::size_t>(2 * k + d);
          const long double bound = LseBound<Real>(exact);
          const long double value = got[at], sum = value + residual[at];
          ASSERT_LE(std::fabs(value - exact.lse), HalfUlp(got[at]) * 1.0001L + bound) << k;
          // Beyond 2^11 (2^-1 of a digit) of the unit, long double has no more digits itself.
          const long double own = std::numeric_limits<long double>::epsilon() * std::fabs(value);
          ASSERT_LE(std::fabs(sum - exact.lse), HalfUlp(residual[at]) + bound + own) << k;
        }
      }
    });
  }
}

// A dominated sum keeps its digits: relative to the result, however near zero.
TYPED_TEST(ReduceFold, LogSumExpNearZero) {
  using Real = TypeParam;
  const PairValues<Real> values{[](auto d, auto r, auto c) {
    return r == c || (r > c && (r - c) % 1000 == 0) ? Real(-1e-7 * Scattered(d, r, 0))
                                                    : Real(-30 - Scattered(d, r, c));
  }};
  ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
    const std::int64_t kept = rows ? shape.rows : shape.columns;
    const std::int64_t reduced = rows ? shape.columns : shape.rows;
    const StateOf<Real> state(ShapeOf(Fold::logsumexp, rows, 1), kept);
    PushAll<Real>(kernels, state.state, values, 1, {}, {0, 0, shape.rows, shape.columns},
                  shape.cut);
    const std::vector<Real> got = state.Write(Result::value);
    for (std::int64_t k = 0; k < kept; ++k) {
      const ExactLse exact = LseOf(TermsOf(values, rows, k, reduced, 0));
      const Real value = got[static_cast<std::size_t>(k)];
      ASSERT_LE(std::fabs(value - exact.lse),
                HalfUlp(value) * 1.0001L + 36 * kUnit<Real> * exact.rest)
          << k;
    }
  });
}

// One row or column of special terms; `at` the place of a second one.
template <class Real>
struct Special {
  const char* name;
  std::function<Real(std::int64_t reduced)> term;
  Real sum, lse, residual;
};

template <class Real>
void ExpectSame(Real got, Real expected) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got)) << got;
  } else {
    EXPECT_EQ(got, expected);
  }
}

TYPED_TEST(ReduceFold, SpecialValues) {
  using Real = TypeParam;
  constexpr Real inf = kInf<Real>, nan = kNan<Real>;
  const Real log2 = std::log(Real{2});
  const std::vector<Special<Real>> specials = {
      {"-inf", [](auto) { return -inf; }, -inf, -inf, 0},
      {"-inf beside 0", [](auto k) { return k == 500 ? Real{0} : -inf; }, -inf, 0, 0},
      {"+inf once", [](auto k) { return k == 700 ? inf : Real{1}; }, inf, inf, 0},
      {"+inf twice", [](auto k) { return k == 3 || k == 700 ? inf : Real(-k); }, inf, inf, log2},
      {"+inf first", [](auto k) { return k < 2 ? inf : Real(k); }, inf, inf, log2},
      {"both", [](auto k) { return k == 600 ? inf : -inf; }, nan, inf, 0},
      {"NaN", [](auto k) { return k == 600 ? nan : Real{1}; }, nan, nan, 0},
      {"NaN first", [](auto k) { return k == 0 ? nan : Real(k); }, nan, nan, 0},
      {"NaN beside -inf", [](auto k) { return k == 100 ? nan : -inf; }, nan, nan, 0},
      {"NaN beside +inf", [](auto k) { return k == 100 ? nan : inf; }, nan, nan, 0},
  };
  constexpr std::int64_t kReduced = 1000, kKept = 21;
  for (const FoldTarget& target : FoldTargets()) {
    for (const bool rows : {true, false}) {
      for (const Special<Real>& special : specials) {
        SCOPED_TRACE(target.name + (rows ? " rows " : " columns ") + special.name);
        // Kept index 7 is the special one among ordinary ones.
        const PairValues<Real> values{[&](auto, auto r, auto c) {
          const std::int64_t kept = rows ? r : c, reduced = rows ? c : r;
          return kept == 7 ? special.term(reduced) : Real(0);
        }};
        const TileSpan span{0, 0, rows ? kKept : kReduced, rows ? kReduced : kKept};
        for (const Fold fold : {Fold::sum, Fold::logsumexp}) {
          const StateOf<Real> state(ShapeOf(fold, rows, 1), kKept);
          PushAll<Real>(target.Get<Real>(), state.state, values, 1, {}, span, {64, 256});
          const std::vector<Real> got = state.Write(Result::value);
          ExpectSame(got[7], fold == Fold::sum ? special.sum : special.lse);
          const Real other = fold == Fold::sum ? Real{0} : std::log(Real{kReduced});
          EXPECT_EQ(got[6], other);
          EXPECT_EQ(got[8], other);
          if (fold == Fold::logsumexp) {
            EXPECT_EQ(state.Write(Result::residual)[7], special.residual);
          }
        }
      }
    }
  }
}

TYPED_TEST(ReduceFold, NothingIsTheUnit) {
  using Real = TypeParam;
  EXPECT_EQ(StateOf<Real>(ShapeOf(Fold::sum, true, 1), 3).Write(Result::value),
            std::vector<Real>(3, 0));
  const StateOf<Real> lse(ShapeOf(Fold::logsumexp, false, 1), 3);
  EXPECT_EQ(lse.Write(Result::value), std::vector<Real>(3, -kInf<Real>));
  EXPECT_EQ(lse.Write(Result::residual), std::vector<Real>(3, 0));
}

TYPED_TEST(ReduceFold, SumOverBothAxes) {
  using Real = TypeParam;
  const PairValues<Real> values{
      [](auto d, auto r, auto c) { return Real(Scattered(d, r, c) - 0.5); }};
  ForAll<Real>([&](const FoldKernels<Real>& kernels, bool /*rows*/, const Case& shape) {
    const StateOf<Real> state({.fold = Fold::sum, .kept = FormulaIndex::parameter, .dim = 2}, 1);
    PushAll<Real>(kernels, state.state, values, 2, {}, {0, 0, shape.rows, shape.columns},
                  shape.cut);
    const std::vector<Real> got = state.Write(Result::value);
    for (std::int64_t d = 0; d < 2; ++d) {
      long double exact = 0, sizes = 0;
      for (std::int64_t r = 0; r < shape.rows; ++r) {
        for (const Real x : TermsOf(values, true, r, shape.columns, d)) {
          exact += x;
          sizes += std::fabs(static_cast<long double>(x));
        }
      }
      ASSERT_LE(std::fabs(got[static_cast<std::size_t>(d)] - exact),
                HalfUlp(static_cast<Real>(exact)) + 24 * kUnit<Real> * sizes);
    }
  });
}

// Threads push to kept indices side by side: no kernel may touch a neighbour's.
TYPED_TEST(ReduceFold, LeavesNeighboursAlone) {
  using Real = TypeParam;
  const PairValues<Real> values{[](auto, auto r, auto c) { return Real(r - c); }};
  for (const FoldTarget& target : FoldTargets()) {
    for (const bool rows : {true, false}) {
      for (const Fold fold : {Fold::sum, Fold::logsumexp, Fold::min, Fold::kmin}) {
        FoldShape shape = ShapeOf(fold, rows, 1);
        if (fold == Fold::kmin) shape.count = 3;
        const StateOf<Real> state(shape, 40);
        PushAll<Real>(target.Get<Real>(), state.state, values, 1, {},
                      rows ? TileSpan{0, 0, 40, 9} : TileSpan{0, 0, 9, 40}, {});
        const std::vector<Real> whole = state.Write(Result::value);
        PushAll<Real>(target.Get<Real>(), state.state, values, 1, {},
                      rows ? TileSpan{13, 9, 5, 9} : TileSpan{9, 13, 9, 5}, {});
        const std::vector<Real> after = state.Write(Result::value);
        const std::size_t each = whole.size() / 40;
        for (std::size_t k = 0; k < 40 * each; ++k) {
          if (k / each < 13 || k / each >= 18) {
            EXPECT_EQ(after[k], whole[k]) << target.name;
          }
        }
      }
    }
  }
}

TYPED_TEST(ReduceFold, WritesAnyTypeAndStride) {
  using Real = TypeParam;
  const PairValues<Real> values{[](auto d, auto, auto) { return Real(1 + d) / 3; }};
  const StateOf<Real> state(ShapeOf(Fold::sum, true, 2), 5);
  PushAll<Real>(FoldTargets().front().Get<Real>(), state.state, values, 2, {}, {0, 0, 5, 1}, {});
  std::vector<std::uint16_t> half(20, 7);
  WriteState(state.state, Result::value, 1, 4, {half.data(), DType::f16, 3, 0, 1, DType::f16});
  EXPECT_EQ(half, (std::vector<std::uint16_t>{0x3555, 0x3955, 7, 0x3555, 0x3955, 7, 0x3555,
                                              0x3955, 7,      7, 7,      7,      7, 7,
                                              7,      7,      7, 7,      7,      7}));
  std::vector<std::uint16_t> brain(4, 7);
  WriteState(state.state, Result::value, 0, 1, {brain.data() + 3, DType::bf16, 0, 0, -1});
  EXPECT_EQ(brain, (std::vector<std::uint16_t>{7, 7, 0x3f2b, 0x3eab}));
}

// A value stored in few digits leaves a residual that has the others.
TYPED_TEST(ReduceFold, ResidualOfAHalf) {
  using Real = TypeParam;
  const PairValues<Real> values{[](auto, auto, auto c) { return Real(50) + Real(c) / 7; }};
  const StateOf<Real> state(ShapeOf(Fold::logsumexp, true, 1), 1);
  PushAll<Real>(FoldTargets().front().Get<Real>(), state.state, values, 1, {}, {0, 0, 1, 99}, {});
  const auto value = state.template Write<std::uint16_t>(Result::value, DType::bf16);
  const auto residual = state.template Write<float>(Result::residual, DType::f32, DType::bf16);
  const std::uint32_t bits = static_cast<std::uint32_t>(value[0]) << 16;
  float stored;
  std::memcpy(&stored, &bits, sizeof stored);
  const ExactLse exact = LseOf(TermsOf(values, true, 0, 99, 0));
  EXPECT_NE(residual[0], 0);
  EXPECT_LE(std::fabs(static_cast<long double>(stored) + residual[0] - exact.lse),
            LseBound<Real>(exact) + HalfUlp(residual[0]));
}

}  // namespace
}  // namespace logsum::reduce
