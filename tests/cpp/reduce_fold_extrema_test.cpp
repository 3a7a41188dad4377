// Minima, maxima and the K lowest of tiles with their indices, in both directions, on every CPU
// target.
#include <algorithm>
#include <numeric>

#include "reduce_fold.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFoldExtrema : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFoldExtrema, Reals);

constexpr std::int64_t kDim = 2;

// Global indices of a tile's first pair, beyond what 32 bits hold.
constexpr std::int64_t kFirst = std::int64_t{1} << 33;

template <class Real>
struct Named {
  const char* name;
  PairValues<Real> values;
};

template <class Real>
std::vector<Named<Real>> AllValues() {
  constexpr Real inf = kInf<Real>, nan = kNan<Real>;
  return {
      {"random", {[](auto d, auto r, auto c) { return Real(Scattered(d, r, c)); }}},
      {"ties", {[](auto d, auto r, auto c) { return Real(int(5 * Scattered(d, r, c))); }}},
      {"constant", {[](auto d, auto, auto) { return Real(d); }}},
      {"falling", {[](auto, auto r, auto c) { return -Real(r + c); }}},
      {"rising", {[](auto, auto r, auto c) { return Real(r + c); }}},
      {"infinite", {[=](auto, auto r, auto c) { return (r + c) % 3 == 0 ? -inf : inf; }}},
      {"only +inf", {[=](auto, auto, auto) { return inf; }}},
      {"only -inf", {[=](auto, auto, auto) { return -inf; }}},
      {"NaN here and there", {[=](auto d, auto r, auto c) {
         const double x = Scattered(d, r, c);
         return x < 0.004 ? nan : Real(x);
       }}},
      {"mostly NaN", {[=](auto d, auto r, auto c) {
         const double x = Scattered(d, r, c);
         return x < 0.9 ? nan : x < 0.95 ? inf : Real(x);
       }}},
      {"zeros of both signs",
       {[](auto, auto r, auto c) { return (r + c) % 2 ? Real(0) : Real(-0.0); }}},
      {"of i", {[](auto d, auto r, auto) { return Real(Scattered(d, r, 0)); }, true, false}},
      {"of j", {[](auto d, auto, auto c) { return Real(Scattered(d, 0, c)); }, false, true}},
  };
}

template <class Real>
bool Same(Real a, Real b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

// Values that start at pair (kFirst, kFirst).
template <class Real>
PairValues<Real> Moved(const PairValues<Real>& values) {
  return {[at = values.at](auto d, auto r, auto c) {
            return at(d, r >= kFirst ? r - kFirst : r, c >= kFirst ? c - kFirst : c);
          },
          values.by_row, values.by_column};
}

template <class Real>
StateOf<Real> Run(const FoldKernels<Real>& kernels, const FoldShape& fold, const Case& shape,
                  const PairValues<Real>& values, bool backwards) {
  const bool rows = fold.kept == FormulaIndex::i;
  StateOf<Real> state(fold, rows ? shape.rows : shape.columns);
  // Kept indices count from 0, reduced ones from kFirst; in halves, the later one first if asked.
  const std::int64_t reduced = rows ? shape.columns : shape.rows, half = reduced / 2;
  const auto push = [&](std::int64_t from, std::int64_t count) {
    if (count == 0) return;
    PushAll<Real>(kernels, state.state, Moved(values), kDim, {},
                  rows ? TileSpan{0, kFirst + from, shape.rows, count}
                       : TileSpan{kFirst + from, 0, count, shape.columns},
                  shape.cut);
  };
  if (backwards) push(half, reduced - half);
  push(0, half);
  if (!backwards) push(half, reduced - half);
  return state;
}

TYPED_TEST(ReduceFoldExtrema, MinAndMax) {
  using Real = TypeParam;
  for (const Named<Real>& named : AllValues<Real>()) {
    SCOPED_TRACE(named.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      for (const bool largest : {false, true}) {
        for (const bool backwards : {false, true}) {
          const FoldShape fold{.fold = largest ? Fold::max : Fold::min,
                               .kept = rows ? FormulaIndex::i : FormulaIndex::j,
                               .dim = kDim};
          const StateOf<Real> state = Run(kernels, fold, shape, named.values, backwards);
          const std::vector<Real> value = state.Write(Result::value);
          const std::vector<std::int64_t> index = state.Indices();
          for (std::size_t at = 0; at < value.size(); ++at) {
            const std::vector<Real> terms =
                TermsOf(named.values, rows, static_cast<std::int64_t>(at) / kDim,
                        rows ? shape.columns : shape.rows, static_cast<std::int64_t>(at) % kDim);
            std::size_t best = 0;
            for (std::size_t k = 1; k < terms.size() && !std::isnan(terms[best]); ++k) {
              const bool better = largest ? terms[k] > terms[best] : terms[k] < terms[best];
              if (better || std::isnan(terms[k])) best = k;
            }
            ASSERT_TRUE(Same(value[at], terms[best])) << value[at] << " " << terms[best];
            ASSERT_EQ(index[at], kFirst + static_cast<std::int64_t>(best));
          }
        }
      }
    });
  }
}

TYPED_TEST(ReduceFoldExtrema, KMin) {
  using Real = TypeParam;
  for (const Named<Real>& named : AllValues<Real>()) {
    SCOPED_TRACE(named.name);
    ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
      for (const std::int64_t count : {1, 5, 40}) {
        const FoldShape fold{.fold = Fold::kmin,
                             .kept = rows ? FormulaIndex::i : FormulaIndex::j,
                             .dim = kDim,
                             .count = count};
        const StateOf<Real> state = Run(kernels, fold, shape, named.values, count == 5);
        const std::vector<Real> value = state.Write(Result::value);
        const std::vector<std::int64_t> index = state.Indices();
        const std::int64_t kept = rows ? shape.rows : shape.columns;
        for (std::int64_t k = 0; k < kept; k += 7) {
          for (std::int64_t d = 0; d < kDim; ++d) {
            const std::vector<Real> terms =
                TermsOf(named.values, rows, k, rows ? shape.columns : shape.rows, d);
            std::vector<std::size_t> order(terms.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
              if (std::isnan(terms[a]) || std::isnan(terms[b]))
                return !std::isnan(terms[a]) && std::isnan(terms[b]);
              return terms[a] < terms[b];
            });
            for (std::int64_t n = 0; n < count; ++n) {
              const auto at = static_cast<std::size_t>((k * count + n) * kDim + d);
              const auto place = static_cast<std::size_t>(n);
              if (place < order.size()) {
                ASSERT_TRUE(Same(value[at], terms[order[place]])) << value[at];
                ASSERT_EQ(index[at], kFirst + static_cast<std::int64_t>(order[place]));
              } else {
                ASSERT_EQ(value[at], kInf<Real>);
                ASSERT_EQ(index[at], -1);
              }
            }
          }
        }
      }
    });
  }
}

TYPED_TEST(ReduceFoldExtrema, NothingIsTheUnit) {
  using Real = TypeParam;
  for (const Fold fold : {Fold::min, Fold::max, Fold::kmin}) {
    const StateOf<Real> state({.fold = fold, .count = fold == Fold::kmin ? 2 : 0}, 3);
    const Real expected = fold == Fold::max ? -kInf<Real> : kInf<Real>;
    for (const Real value : state.Write(Result::value)) EXPECT_EQ(value, expected);
    for (const std::int64_t index : state.Indices()) EXPECT_EQ(index, -1);
  }
}

}  // namespace
}  // namespace logsum::reduce
