// States are commutative monoids: nothing is their unit, and parts fold in any grouping and order.
#include <cstring>

#include "reduce_fold.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFoldMerge : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFoldMerge, Reals);

constexpr std::int64_t kKept = 19, kReduced = 700;

const std::vector<FoldShape>& Shapes() {
  static const std::vector<FoldShape> shapes = {
      {.fold = Fold::sum, .dim = 2},
      {.fold = Fold::logsumexp, .dim = 2},
      {.fold = Fold::logsumexp_weight, .dim = 3},
      {.fold = Fold::softmax_weight, .dim = 3},
      {.fold = Fold::min, .dim = 2},
      {.fold = Fold::max, .dim = 2},
      {.fold = Fold::kmin, .dim = 2, .count = 4},
  };
  return shapes;
}

template <class Real>
struct Named {
  const char* name;
  PairValues<Real> formula;
};

template <class Real>
std::vector<Named<Real>> Formulas() {
  constexpr Real inf = kInf<Real>, nan = kNan<Real>;
  return {
      {"random", {[](auto d, auto r, auto c) { return Real(9 * Scattered(d, r, c)); }}},
      {"ties", {[](auto d, auto r, auto c) { return Real(int(3 * Scattered(d, r, c))); }}},
      {"rising", {[](auto, auto r, auto c) { return Real(0.3) * Real(r + c); }}},
      {"apart", {[](auto, auto, auto c) { return c < 300 ? Real(-1e30) : Real(3); }}},
      {"-inf first", {[=](auto, auto r, auto c) { return c < 300 ? -inf : Real(r); }}},
      {"+inf in parts", {[=](auto, auto, auto c) { return c == 5 || c == 600 ? inf : Real(1); }}},
      {"+inf in one", {[=](auto, auto, auto c) { return c == 600 ? inf : Real(2); }}},
      {"NaN in one", {[=](auto, auto, auto c) { return c == 600 ? nan : Real(2); }}},
  };
}

template <class Real>
PairValues<Real> Weight() {
  return {[](auto d, auto r, auto c) { return Real(0.2 + Scattered(d + 7, r, c)); }};
}

template <class Real>
StateOf<Real> Part(const FoldShape& shape, const PairValues<Real>& formula, std::int64_t begin,
                   std::int64_t end) {
  StateOf<Real> state(shape, kKept);
  const bool weighted = shape.fold == Fold::logsumexp_weight || shape.fold == Fold::softmax_weight;
  PushAll<Real>(FoldTargets().front().Get<Real>(), state.state, formula, weighted ? 1 : shape.dim,
                Weight<Real>(), {0, begin, kKept, end - begin}, {16, 256});
  return state;
}

template <class Real>
std::vector<Real> ResultsOf(const StateOf<Real>& state) {
  std::vector<Real> results = state.Write(Result::value);
  if (state.state.shape.fold == Fold::softmax_weight) {
    for (const Real lse : state.Write(Result::lse)) results.push_back(lse);
    for (const Real rest : state.Write(Result::residual)) results.push_back(rest + 1);
  }
  if (IsExtremumFold(state.state.shape.fold)) {
    for (const std::int64_t k : state.Indices()) results.push_back(static_cast<Real>(k));
  }
  return results;
}

// Two foldings of the same terms: extrema agree to the bit, sums to rounding (the bounds of the
// fold's own tests, 48 u, twice).
template <class Real>
void ExpectAlike(const StateOf<Real>& a, const StateOf<Real>& b) {
  const std::vector<Real> got = ResultsOf(a), expected = ResultsOf(b);
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t k = 0; k < got.size(); ++k) {
    if (std::isnan(expected[k])) {
      ASSERT_TRUE(std::isnan(got[k])) << k;
    } else if (IsExtremumFold(a.state.shape.fold) || std::isinf(expected[k])) {
      ASSERT_EQ(got[k], expected[k]) << k;
    } else {
      const Real size = std::max(Real(8), std::fabs(expected[k]));
      ASSERT_NEAR(got[k], expected[k], 48 * std::numeric_limits<Real>::epsilon() * size) << k;
    }
  }
}

template <class Real, class Body>
void ForAllStates(const Body& body) {
  for (const FoldShape& shape : Shapes()) {
    for (const Named<Real>& named : Formulas<Real>()) {
      SCOPED_TRACE(std::string(named.name) + ", fold " + std::to_string(int(shape.fold)));
      body(shape, named.formula);
    }
  }
}

TYPED_TEST(ReduceFoldMerge, NothingIsTheUnit) {
  using Real = TypeParam;
  ForAllStates<Real>([](const FoldShape& shape, const PairValues<Real>& formula) {
    const StateOf<Real> whole = Part(shape, formula, 0, kReduced);
    const StateOf<Real> left = Part(shape, formula, 0, kReduced);
    MergeStates(left.state, StateOf<Real>(shape, kKept).state);
    const StateOf<Real> right(shape, kKept);
    MergeStates(right.state, whole.state);
    const std::vector<Real> expected = ResultsOf(whole);
    for (const StateOf<Real>* state : {&left, &right}) {
      const std::vector<Real> got = ResultsOf(*state);
      EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(Real)), 0);
    }
  });
}

TYPED_TEST(ReduceFoldMerge, PartsFoldInAnyGrouping) {
  using Real = TypeParam;
  ForAllStates<Real>([](const FoldShape& shape, const PairValues<Real>& formula) {
    const auto part = [&](int k) {
      constexpr std::int64_t cuts[] = {0, 300, 555, kReduced};
      return Part(shape, formula, cuts[k], cuts[k + 1]);
    };
    const StateOf<Real> whole = Part(shape, formula, 0, kReduced);
    const StateOf<Real> forward = part(0), backward = part(2), tail = part(1);
    MergeStates(forward.state, part(1).state);
    MergeStates(forward.state, part(2).state);
    MergeStates(backward.state, part(1).state);
    MergeStates(backward.state, part(0).state);
    MergeStates(tail.state, part(2).state);
    const StateOf<Real> grouped = part(0);
    MergeStates(grouped.state, tail.state);
    ExpectAlike(forward, whole);
    ExpectAlike(backward, whole);
    ExpectAlike(grouped, whole);
  });
}

// Many small parts, as a reduction over a long axis makes them: nothing drifts.
TYPED_TEST(ReduceFoldMerge, ManyParts) {
  using Real = TypeParam;
  constexpr int kParts = 20000;
  const PairValues<Real> constant{[](auto, auto, auto) { return Real(0.7); }};
  for (const Fold fold : {Fold::sum, Fold::logsumexp}) {
    const FoldShape shape{.fold = fold};
    const StateOf<Real> state = Part(shape, constant, 0, 1), part = Part(shape, constant, 0, 1);
    for (int k = 1; k < kParts; ++k) MergeStates(state.state, part.state);
    const long double x = Real(0.7);
    const long double exact = fold == Fold::sum ? kParts * x : x + std::log(20000.0L);
    for (const Real got : state.Write(Result::value)) {
      EXPECT_LE(std::fabs(got - exact), 1.01L * HalfUlp(got) + 1e-15L);
    }
  }
}

}  // namespace
}  // namespace logsum::reduce
