// Means and sums of weights under exponentials of tiles, in both directions, on every CPU target.
#include "reduce_fold_weight.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFoldWeight : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFoldWeight, Reals);

template <class Real>
struct Problem {
  const char* name;
  PairValues<Real> formula, weight;
};

template <class Real>
std::vector<Problem<Real>> Problems() {
  const PairValues<Real> positive{
      [](auto d, auto r, auto c) { return Real(0.1 + Scattered(d, r, c)); }};
  const PairValues<Real> signed_weight{
      [](auto d, auto r, auto c) { return Real(Scattered(d, r, c) - 0.5); }};
  const PairValues<Real> of_i{[](auto d, auto r, auto) { return Real(Scattered(d, r, 3)); }, true,
                              false};
  const PairValues<Real> of_j{[](auto d, auto, auto c) { return Real(Scattered(d, 3, c)); }, false,
                              true};
  const PairValues<Real> huge{[](auto d, auto r, auto c) {
    return std::numeric_limits<Real>::max() / Real(sizeof(Real) == 4 ? 2 : 4096) *
           Real(1 - Scattered(d, r, c) / 8);
  }};
  const PairValues<Real> rising{[](auto, auto r, auto c) { return Real(0.5) * Real(r + c); }};
  const PairValues<Real> far{[](auto, auto r, auto c) {
    return (r * c) % 3 == 0 ? -kInf<Real> : Real(-1e30) * Real((r + c) % 2) + Real(7);
  }};
  return {{"random", Formula<Real>(10), positive},   {"signed", Formula<Real>(3), signed_weight},
          {"weights of i", Formula<Real>(10), of_i}, {"weights of j", Formula<Real>(10), of_j},
          {"huge weights", Formula<Real>(10), huge}, {"rising", rising, positive},
          {"far apart", far, signed_weight}};
}

TYPED_TEST(ReduceFoldWeight, Softmax) {
  using Real = TypeParam;
  for (const Problem<Real>& problem : Problems<Real>()) {
    SCOPED_TRACE(problem.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      const std::int64_t kept = rows ? shape.rows : shape.columns;
      const std::int64_t reduced = rows ? shape.columns : shape.rows;
      const StateOf<Real> state(ShapeOf(Fold::softmax_weight, rows, 3), kept);
      PushAll<Real>(kernels, state.state, problem.formula, 1, problem.weight,
                    {0, 0, shape.rows, shape.columns}, shape.cut);
      const std::vector<Real> mean = state.Write(Result::value);
      const std::vector<Real> lse = state.Write(Result::lse);
      const std::vector<Real> residual = state.Write(Result::residual);
      for (std::int64_t k = 0; k < kept; ++k) {
        const std::vector<Real> formula = TermsOf(problem.formula, rows, k, reduced, 0);
        for (std::int64_t d = 0; d < 3; ++d) {
          const auto exact = ExactOf(formula, TermsOf(problem.weight, rows, k, reduced, d));
          ExpectMean(mean[static_cast<std::size_t>(3 * k + d)], exact);
          const auto at = static_cast<std::size_t>(k);
          if (exact.max == -kInf<long double>) {
            ASSERT_EQ(lse[at], -kInf<Real>);
            continue;
          }
          const long double bound =
              36 * kUnit<Real> + 2 * kUnit<Real> * std::fabs(exact.lse - exact.max);
          ASSERT_LE(std::fabs(lse[at] - exact.lse), HalfUlp(lse[at]) * 1.0001L + bound);
          const long double sum = static_cast<long double>(lse[at]) + residual[at];
          ASSERT_LE(std::fabs(sum - exact.lse), HalfUlp(residual[at]) + bound);
        }
      }
    });
  }
}

TYPED_TEST(ReduceFoldWeight, LogSumExp) {
  using Real = TypeParam;
  for (const Problem<Real>& problem : Problems<Real>()) {
    SCOPED_TRACE(problem.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      const std::int64_t kept = rows ? shape.rows : shape.columns;
      const std::int64_t reduced = rows ? shape.columns : shape.rows;
      const StateOf<Real> state(ShapeOf(Fold::logsumexp_weight, rows, 2), kept);
      PushAll<Real>(kernels, state.state, problem.formula, 1, problem.weight,
                    {0, 0, shape.rows, shape.columns}, shape.cut);
      const std::vector<Real> got = state.Write(Result::value);
      for (std::int64_t k = 0; k < kept; ++k) {
        const std::vector<Real> formula = TermsOf(problem.formula, rows, k, reduced, 0);
        for (std::int64_t d = 0; d < 2; ++d) {
          const auto exact = ExactOf(formula, TermsOf(problem.weight, rows, k, reduced, d));
          const Real value = got[static_cast<std::size_t>(2 * k + d)];
          const long double lost = kUnitsLost * kUnit<Real> * exact.sizes;
          if (exact.sizes == 0) {
            ASSERT_EQ(value, -kInf<Real>);
          } else if (exact.sum < -lost) {
            ASSERT_TRUE(std::isnan(value)) << value;
          } else if (exact.sum > 2 * lost) {
            const long double log = std::log(exact.sum);
            ASSERT_LE(
                std::fabs(value - (log + exact.max)),
                HalfUlp(value) * 1.0001L + 2 * lost / exact.sum + 2 * kUnit<Real> * std::fabs(log));
          }
        }
      }
    });
  }
}

// A weight of zero takes its term out, also where that hides all others from the maximum.
TYPED_TEST(ReduceFoldWeight, ZeroWeightsHideNothing) {
  using Real = TypeParam;
  const PairValues<Real> formula{
      [](auto, auto r, auto c) { return (r + c) % 2 ? Real(1000) : Real((r + c) % 3); }};
  const PairValues<Real> weight{
      [](auto d, auto r, auto c) { return (r + c) % 2 == d ? Real(0) : Real(2); }};
  ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
    const std::int64_t kept = rows ? shape.rows : shape.columns;
    const std::int64_t reduced = rows ? shape.columns : shape.rows;
    const StateOf<Real> state(ShapeOf(Fold::logsumexp_weight, rows, 2), kept);
    PushAll<Real>(kernels, state.state, formula, 1, weight, {0, 0, shape.rows, shape.columns},
                  shape.cut);
    const std::vector<Real> got = state.Write(Result::value);
    for (std::int64_t k = 0; k < kept; ++k) {
      const std::vector<Real> f = TermsOf(formula, rows, k, reduced, 0);
      for (std::int64_t d = 0; d < 2; ++d) {
        const std::vector<Real> w = TermsOf(weight, rows, k, reduced, d);
        std::vector<Real> part, ones;
        for (std::size_t n = 0; n < f.size(); ++n) {
          if (w[n] != 0) part.push_back(f[n]), ones.push_back(1);
        }
        const Real value = got[static_cast<std::size_t>(2 * k + d)];
        if (part.empty()) {
          ASSERT_EQ(value, -kInf<Real>);
          continue;
        }
        const long double exact = ExactOf(part, ones).lse + std::log(2.0L);
        ASSERT_LE(std::fabs(value - exact), HalfUlp(value) + 2 * kUnitsLost * kUnit<Real>);
      }
    }
  });
}

// Kept index 7 holds the special terms (formula, weight), every other one a single e^0 of weight 1.
template <class Real>
struct Special {
  const char* name;
  std::function<std::pair<Real, Real>(std::int64_t)> term;
  Real mean, lse, log;
};

TYPED_TEST(ReduceFoldWeight, SpecialValues) {
  using Real = TypeParam;
  constexpr Real inf = kInf<Real>, nan = kNan<Real>;
  using Term = std::pair<Real, Real>;
  const Real log2 = std::log(Real{2}), log3 = std::log(Real{3});
  const std::vector<Special<Real>> specials = {
      {"nothing there", [=](auto) { return Term{-inf, 5}; }, 0, -inf, -inf},
      {"nothing there, any weight", [=](auto k) { return Term{-inf, k % 2 ? nan : inf}; }, 0, -inf,
       -inf},
      {"NaN weight left out", [=](auto k) { return k == 9 ? Term{0, 2} : Term{-inf, nan}; }, 2, 0,
       log2},
      {"infinite weight left out", [=](auto k) { return k == 9 ? Term{0, 3} : Term{-inf, inf}; }, 3,
       0, log3},
      {"two infinite terms", [=](auto k) { return k == 9 || k == 600 ? Term{inf, k} : Term{k, 1}; },
       Real(304.5), inf, inf},
      {"infinite term, negative weight",
       [=](auto k) { return k == 600 ? Term{inf, -3} : Term{0, 1}; }, -3, inf, nan},
      {"infinite term of weight zero",
       [=](auto k) { return k == 600 ? Term{inf, 0}
                            : k == 3 ? Term{0, 2}
                                     : Term{-inf, 1}; }, 0,
       inf, log2},
      {"infinite terms of both signs",
       [=](auto k) { return k == 6 || k == 600 ? Term{inf, k - 303} : Term{0, 1}; }, 0, inf, nan},
      {"infinite term beside a large negative one",
       [=](auto k) { return k == 6 ? Term{inf, 1} : Term{2000, -1}; }, 1, inf, inf},
      {"infinite weight", [=](auto k) { return k == 600 ? Term{-50, inf} : Term{0, 1}; }, inf,
       std::log(Real{999}), inf},
      {"NaN formula", [=](auto k) { return k == 600 ? Term{nan, 1} : Term{0, 1}; }, nan, nan, nan},
      {"NaN weight", [=](auto k) { return k == 600 ? Term{0, nan} : Term{0, 1}; }, nan,
       std::log(Real{1000}), nan},
      {"negative sum", [=](auto k) { return k == 600 ? Term{0, -2000} : Term{0, 1}; }, Real(-1.001),
       std::log(Real{1000}), nan},
      {"sum of zero", [=](auto k) { return Term{0, k < 500 ? 1 : -1}; }, 0, std::log(Real{1000}),
       -inf},
  };
  const auto expect = [](Real got, Real expected) {
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << got;
    } else if (std::isinf(expected)) {
      EXPECT_EQ(got, expected);
    } else {
      EXPECT_NEAR(got, expected,
                  40 * std::numeric_limits<Real>::epsilon() * (1 + std::fabs(expected)));
    }
  };
  constexpr std::int64_t kReduced = 1000, kKept = 21;
  for (const FoldTarget& target : FoldTargets()) {
    for (const bool rows : {true, false}) {
      for (const Special<Real>& special : specials) {
        SCOPED_TRACE(target.name + (rows ? " rows " : " columns ") + special.name);
        const auto term = [&](std::int64_t r, std::int64_t c) {
          const std::int64_t kept = rows ? r : c, reduced = rows ? c : r;
          return kept == 7 ? special.term(reduced) : Term{reduced == 0 ? Real(0) : -inf, Real(1)};
        };
        const PairValues<Real> formula{[&](auto, auto r, auto c) { return term(r, c).first; }};
        const PairValues<Real> weight{[&](auto, auto r, auto c) { return term(r, c).second; }};
        const TileSpan span{0, 0, rows ? kKept : kReduced, rows ? kReduced : kKept};
        for (const Fold fold : {Fold::softmax_weight, Fold::logsumexp_weight}) {
          const StateOf<Real> state(ShapeOf(fold, rows, 1), kKept);
          PushAll<Real>(target.Get<Real>(), state.state, formula, 1, weight, span, {64, 256});
          const std::vector<Real> got = state.Write(Result::value);
          const bool softmax = fold == Fold::softmax_weight;
          expect(got[7], softmax ? special.mean : special.log);
          expect(got[6], softmax ? 1 : 0);
          expect(got[8], softmax ? 1 : 0);
          if (softmax) expect(state.Write(Result::lse)[7], special.lse);
        }
      }
    }
  }
}

}  // namespace
}  // namespace logsum::reduce
