// Tangents of score formulas, and of their gradients, against differences of a scalar evaluator.
#include "attention/score_tangent.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "attention_score_samples.hpp"
#include "formula/differentiate.hpp"
#include "logsum/config.hpp"

namespace logsum::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Differences of doubles lose half their digits; sums of rounded derivatives come on top.
template <class Real>
constexpr double kDifference = sizeof(Real) == 4 ? 4e-6 : 2e-7;

// The scalar evaluator sees one pair in so many (attention_score_test.cpp).
constexpr std::size_t kEvery = 11;

// Slots of what a formula has a derivative by: s, and the uses of floating arrays.
struct Direction {
  std::vector<std::size_t> slots;
  std::vector<int> uses;  // -1: s
  std::vector<formula::Expression> variables;
};

template <class Real>
Direction DirectionOf(ScoreCase<Real>& scores, formula::Builder& builder) {
  const attend::ScoreFormula& formula = scores.formula();
  builder.Adopt(formula.value);
  Direction direction{{attend::kScoreSlot},
                      {-1},
                      {builder.Variable(attend::kScoreSlot, 1, formula::Dependence::ij)}};
  for (std::size_t k = 0; k < formula.uses.size(); ++k) {
    const auto array = static_cast<std::size_t>(formula.uses[k].array);
    if (!attend::IsFloating(scores.arrays()[array].dtype)) continue;
    direction.slots.push_back(attend::kFirstUseSlot + k);
    direction.uses.push_back(static_cast<int>(k));
    direction.variables.push_back(formula.variables[k]);
  }
  return direction;
}

// Tangents of the floating arrays, but for those whose number is odd where `is_partial`.
template <class Real>
std::vector<ScoreArray> TangentsOf(ScoreCase<Real>& scores, bool is_partial) {
  std::vector<ScoreArray> tangents;
  for (const ScoreArray& array : scores.arrays()) {
    const bool is_reversed = array.shape.size() > 1 && array.strides[0] == 1;
    tangents.emplace_back(array.name + ".", kReal<Real>, array.shape, Spread(-1, 2), !is_reversed);
    const bool moves = !is_partial || tangents.size() % 2 == 1;
    if (!attend::IsFloating(array.dtype) || !moves) tangents.back().bytes.clear();
  }
  return tangents;
}

// The element of a tangent that a use reads at a pair; 0 where its array does not move.
double TangentAt(const ScoreArray& tangent, const attend::ArrayUse& use,
                 const std::array<std::int64_t, 4>& pair) {
  if (tangent.bytes.empty()) return 0;
  std::int64_t offset = 0;
  for (std::size_t axis = 0; axis < use.axes.size(); ++axis) {
    if (use.axes[axis] == attend::kRepeated) continue;
    offset += pair[use.axes[axis]] * tangent.strides[axis];
  }
  return tangent.At(offset);
}

// How fast `value` changes along the direction, as the sum of what each slot does.
template <class Real>
Expected SlopeOf(ScoreCase<Real>& scores, const Direction& direction,
                 const std::vector<ScoreArray>& tangents, const formula::Expression& value,
                 std::size_t number, formula::Point point) {
  Expected slope;
  for (std::size_t k = 0; k < direction.slots.size(); ++k) {
    double tangent = static_cast<double>(scores.s_tangent[number]);
    if (direction.uses[k] >= 0) {
      const attend::ArrayUse& use =
          scores.formula().uses[static_cast<std::size_t>(direction.uses[k])];
      tangent =
          TangentAt(tangents[static_cast<std::size_t>(use.array)], use, scores.PairOf(number));
    }
    constexpr double kStep = 0x1p-13;
    double& at = point.slots[direction.slots[k]][0];
    const double x = at;
    at = x + kStep;
    const double above = formula::Evaluate(value, point)[0];
    at = x - kStep;
    const double below = formula::Evaluate(value, point)[0];
    at = x;
    slope.Add(tangent * (above - below) / (2 * kStep));
  }
  return slope;
}

template <class Real>
void Check(double x, const Expected& expected, const std::string& what) {
  const double bound = kDifference<Real> * (expected.size + (expected.size > 0));
  ASSERT_LE(std::abs(x - expected.value), bound)
      << what << ": " << x << " instead of " << expected.value;
}

template <class Real>
class AttentionScoreTangent : public ::testing::Test {
 protected:
  void TearDown() override { set_cpu_target(""); }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(AttentionScoreTangent, Reals);

TYPED_TEST(AttentionScoreTangent, Values) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.formula);
    auto scores = CaseOf<TypeParam>(sample);
    formula::Builder builder;
    const Direction direction = DirectionOf(scores, builder);
    const formula::Expression& value = scores.formula().value;
    for (const bool is_partial : {false, true}) {
      std::vector<ScoreArray> tangents = TangentsOf(scores, is_partial);
      std::vector<Expected> expected(scores.s.size());
      std::vector<bool> is_seen(scores.s.size());
      scores.ForEachPair(kEvery, [&](std::size_t number, const formula::Point& point) {
        // Where a pair is left out anything may come.
        is_seen[number] = formula::Evaluate(value, point)[0] != -kInfinity;
        if (!is_seen[number]) return;
        expected[number] = SlopeOf(scores, direction, tangents, value, number, point);
      });
      for (const std::string& target : config().cpu_targets) {
        set_cpu_target(target);
        const auto values = scores.Push(tangents);
        for (std::size_t k = 0; k < values.size(); k += kEvery) {
          if (!is_seen[k]) continue;
          Check<TypeParam>(values[k], expected[k], target + ", pair " + std::to_string(k));
        }
      }
    }
    // Along zeros, without an array that moves.
    std::vector<ScoreArray> nothing;
    std::ranges::fill(scores.s_tangent, TypeParam{0});
    for (const TypeParam x : scores.Push(nothing)) ASSERT_EQ(x, 0);
  }
}

TYPED_TEST(AttentionScoreTangent, Gradients) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(sample.formula);
    auto scores = CaseOf<TypeParam>(sample);
    formula::Builder builder;
    const Direction direction = DirectionOf(scores, builder);
    const formula::Expression& value = scores.formula().value;
    const formula::Root root[] = {{value, builder.Number(1)}};
    const auto slopes = formula::Gradient(builder, root, direction.variables);
    std::vector<ScoreArray> tangents = TangentsOf(scores, false);
    std::vector<Expected> of_scores(scores.s.size()), of_gradient(scores.s.size());
    std::vector<std::vector<Expected>> of_arrays;
    for (ScoreArray& array : scores.arrays()) {
      of_arrays.emplace_back(array.bytes.size() / SizeOf(array.dtype));
    }
    std::ranges::fill(scores.gradient, TypeParam{0});
    std::ranges::fill(scores.gradient_tangent, TypeParam{0});
    scores.ForEachPair(kEvery, [&](std::size_t number, const formula::Point& point) {
      if (formula::Evaluate(value, point)[0] == -kInfinity || number % 7 == 0) return;
      // Either may be zero by itself.
      const double gradient = scores.gradient[number] = static_cast<TypeParam>(number % 3) - 1;
      const double moving = scores.gradient_tangent[number] =
          static_cast<TypeParam>(number % 5) / 2 - 1;
      for (std::size_t k = 0; k < slopes.size(); ++k) {
        if (!slopes[k]) continue;
        const double slope = formula::Evaluate(slopes[k], point)[0];
        const Expected along = SlopeOf(scores, direction, tangents, slopes[k], number, point);
        Expected* to = &of_scores[number];
        if (direction.uses[k] >= 0) {
          const auto& use = scores.formula().uses[static_cast<std::size_t>(direction.uses[k])];
          const std::int64_t offset = scores.OffsetOf(use, scores.PairOf(number));
          to = &of_arrays[static_cast<std::size_t>(use.array)][static_cast<std::size_t>(offset)];
        } else {
          of_gradient[number].Add(gradient * slope);
        }
        to->Add(moving * slope);
        to->value += gradient * along.value;
        to->size += std::abs(gradient) * along.size;
      }
    });
    // Where nothing flows anything may stand.
    for (std::size_t k = 0; k < scores.s.size(); ++k) {
      if (scores.gradient[k] != 0 || scores.gradient_tangent[k] != 0) continue;
      scores.s[k] = static_cast<TypeParam>(k % 2 == 0 ? kNotANumber : kInfinity);
      scores.s_tangent[k] = static_cast<TypeParam>(k % 3 == 0 ? kNotANumber : -kInfinity);
    }
    for (const std::string& target : config().cpu_targets) {
      set_cpu_target(target);
      std::vector<ScoreArray> gradients = GradientsOf(scores.arrays()), nothing;
      const auto of_s = scores.PullTangent(tangents, gradients);
      const auto alone = scores.PullTangent(tangents, nothing);
      for (std::size_t k = 0; k < scores.s.size(); ++k) {
        const std::string pair = target + ", pair " + std::to_string(k);
        Check<TypeParam>(of_s.gradient[k], of_gradient[k], "gradient of s, " + pair);
        Check<TypeParam>(of_s.tangent[k], of_scores[k], "its tangent, " + pair);
        Check<TypeParam>(alone.gradient[k], of_gradient[k], "gradient of s alone, " + pair);
        Check<TypeParam>(alone.tangent[k], of_scores[k], "its tangent alone, " + pair);
      }
      for (std::size_t a = 0; a < gradients.size(); ++a) {
        if (gradients[a].bytes.empty()) continue;
        for (std::size_t k = 0; k < of_arrays[a].size(); ++k) {
          Check<TypeParam>(gradients[a].At(static_cast<std::int64_t>(k)), of_arrays[a][k],
                           target + ", " + gradients[a].name + " " + std::to_string(k));
        }
      }
    }
  }
}

// What arrays and their tangents hold for a pair without a gradient reaches no result.
TEST(AttentionScoreTangentMasks, LeavesOutNaN) {
  const auto is_out = [](std::int64_t k) { return k % 4 == 1; };
  const auto spread = Spread(-1, 1);
  const auto with_holes = [&](std::int64_t k) { return is_out(k) ? kNotANumber : spread(k); };
  ScoreCase<float> scores("Exp(s * w(b, h, i, j)) * t(h)",
                          {ScoreArray("w", DType::f32, {2, 3, 37, 150}, with_holes),
                           ScoreArray("t", DType::f32, {3}, spread)});
  for (std::size_t k = 0; k < scores.s.size(); ++k) {
    if (is_out(static_cast<std::int64_t>(k))) scores.gradient[k] = scores.gradient_tangent[k] = 0;
  }
  std::vector<ScoreArray> tangents = {ScoreArray("w.", DType::f32, {2, 3, 37, 150}, with_holes),
                                      ScoreArray("t.", DType::f32, {3}, spread)};
  std::vector<ScoreArray> gradients = scores.arrays();
  const auto of_s = scores.PullTangent(tangents, gradients);
  for (std::size_t k = 0; k < scores.s.size(); ++k) {
    const auto offset = static_cast<std::int64_t>(k);
    const double values[] = {of_s.gradient[k], of_s.tangent[k], gradients[0].At(offset)};
    for (const double x : values) {
      if (is_out(offset)) {
        ASSERT_EQ(x, 0);
      } else {
        ASSERT_TRUE(std::isfinite(x));
      }
    }
  }
  for (const int h : {0, 1, 2}) EXPECT_TRUE(std::isfinite(gradients[1].At(h)));
}

// Tangents have types of their own: a half type's array may move by float32.
TEST(AttentionScoreTangentArrays, HalfTypes) {
  for (const DType half : {DType::f16, DType::bf16}) {
    for (const DType moves : {half, DType::f32}) {
      attend::Problem problem = SmallProblem(false);
      problem.q.dtype = half;
      ScoreCase<float> scores("s * table(i, j) + line(j)",
                              {ScoreArray("table", half, {37, 150}, Spread(-1, 1)),
                               ScoreArray("line", half, {150}, Spread(-1, 1))},
                              problem);
      std::vector<ScoreArray> tangents = {ScoreArray("table.", moves, {37, 150}, Spread(-2, 1)),
                                          ScoreArray("line.", moves, {150}, Spread(-2, 1))};
      const auto values = scores.Push(tangents);
      for (std::size_t k = 0; k < values.size(); ++k) {
        const auto pair = scores.PairOf(k);
        const std::int64_t at = pair[2] * 150 + pair[3];
        const double expected = scores.s_tangent[k] * scores.arrays()[0].At(at) +
                                scores.s[k] * tangents[0].At(at) + tangents[1].At(pair[3]);
        ASSERT_NEAR(values[k], expected, 0x1p-20);
      }
    }
  }
}

}  // namespace
}  // namespace logsum::testing
