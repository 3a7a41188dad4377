// Score formulas with arrays, run tile by tile, and the same pair by pair in double.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "attention/score.hpp"
#include "attention/score_arrays.hpp"
#include "attention/score_body.hpp"
#include "attention/score_gradient.hpp"
#include "attention/score_tangent.hpp"
#include "core/buffer.hpp"
#include "formula_evaluate.hpp"

namespace logsum::testing {

using attend::kTileKeys;
using attend::kTileQueries;
using attend::TilePlace;

// An array of any dtype that a score formula names. Axes lie in memory in order, or the other way
// round.
struct ScoreArray {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape, strides;
  std::vector<unsigned char> bytes;

  template <class ValueOf>
  ScoreArray(std::string array_name, DType array_dtype, std::vector<std::int64_t> array_shape,
             const ValueOf& value_of, bool reversed = false)
      : name(std::move(array_name)),
        dtype(array_dtype),
        shape(std::move(array_shape)),
        strides(shape.size()) {
    std::int64_t count = 1;
    for (std::size_t k = 0; k < shape.size(); ++k) {
      const std::size_t axis = reversed ? k : shape.size() - 1 - k;
      strides[axis] = count;
      count *= shape[axis];
    }
    bytes.resize(static_cast<std::size_t>(count) * SizeOf(dtype));
    for (std::int64_t k = 0; k < count; ++k) {
      attend::VisitElements(dtype, [&](auto storage) {
        using Storage = decltype(storage);
        auto& element = reinterpret_cast<Storage*>(bytes.data())[k];
        if constexpr (std::is_integral_v<Storage>) {
          element = static_cast<Storage>(value_of(k));
        } else {
          element = FromDouble<Storage>(value_of(k));
        }
      });
    }
  }

  Tensor View() { return {bytes.data(), dtype, Device::cpu, 0, shape, strides}; }

  double At(std::int64_t offset) const {
    return attend::VisitElements(dtype, [&](auto storage) {
      using Storage = decltype(storage);
      return attend::AsReal<double>(reinterpret_cast<const Storage*>(bytes.data())[offset]);
    });
  }
};

// Sizes that leave incomplete tiles on both axes.
inline attend::Problem SmallProblem(bool is_double) {
  attend::Problem problem;
  problem.is_double = is_double;
  problem.q.dtype = is_double ? DType::f64 : DType::f32;
  problem.batch = 2;
  problem.heads = 3;
  problem.queries = 37;
  problem.keys = 150;
  problem.lengths_q = {37, 30};
  problem.lengths_k = {150, 141};
  return problem;
}

// All pairs of a problem, as (batch, head, query, key) row-major.
template <class Real>
class ScoreCase {
 public:
  ScoreCase(std::string formula, std::vector<ScoreArray> arrays,
            attend::Problem problem = SmallProblem(sizeof(Real) == 8))
      : problem_(std::move(problem)), arrays_(std::move(arrays)) {
    std::vector<std::string_view> names;
    std::vector<Tensor> tensors;
    for (ScoreArray& array : arrays_) {
      names.push_back(array.name);
      tensors.push_back(array.View());
    }
    score_ = std::make_unique<attend::Score>(formula, names, tensors, problem_);
    problem_.score = score_.get();
    const auto count = static_cast<std::size_t>(problem_.batch * problem_.heads * problem_.queries *
                                                problem_.keys);
    std::mt19937 random(7);
    std::uniform_real_distribution<double> scores(-4, 4), weights(-1, 1);
    const auto fill = [&](std::vector<Real>& values, auto& distribution) {
      values.resize(count);
      for (Real& x : values) x = static_cast<Real>(distribution(random));
    };
    fill(s, scores);
    fill(gradient, weights);
    fill(s_tangent, weights);
    fill(gradient_tangent, weights);
  }

  std::vector<Real> s, s_tangent;                // before the formula
  std::vector<Real> gradient, gradient_tangent;  // of score(s)

  attend::Problem& problem() { return problem_; }
  std::vector<ScoreArray>& arrays() { return arrays_; }

  std::vector<Real> Evaluate() {
    std::vector<Real> values = s;
    Buffer<Real> tile(kTileQueries * kTileKeys), scratch = Scratch(score_->ScratchElements());
    ForEachTile([&](const TilePlace& place) {
      Load(place, values, kNotANumber, tile.get());
      EvaluateScore(problem_, place, tile.get(), scratch.get());
      Store(place, tile.get(), values);
    });
    return values;
  }

  // The tangent of score(s), along those of arrays: none, or one for each.
  std::vector<Real> Push(std::vector<ScoreArray>& tangents) {
    const attend::ScoreTangent push(problem_, ViewsOf(tangents));
    std::vector<Real> values = s_tangent;
    Buffer<Real> tile(kTileQueries * kTileKeys), before(kTileQueries * kTileKeys);
    Buffer<Real> scratch = Scratch(push.ScratchElements());
    ForEachTile([&](const TilePlace& place) {
      Load(place, s, kNotANumber, before.get());
      Load(place, values, kNotANumber, tile.get());
      push.Push<Real>(place, before.get(), tile.get(), scratch.get());
      Store(place, tile.get(), values);
    });
    return values;
  }

  // The gradient of s; those of arrays go to `wanted`, one for each or none.
  std::vector<Real> Pull(std::vector<ScoreArray>& wanted, int slots = 2) {
    attend::ScoreGradient sums(problem_, ViewsOf(wanted), slots);
    std::vector<Real> values = gradient;
    Buffer<Real> tile(kTileQueries * kTileKeys), before(kTileQueries * kTileKeys);
    Buffer<Real> scratch = Scratch(sums.ScratchElements());
    ForEachTile([&](const TilePlace& place) {
      Load(place, s, kNotANumber, before.get());
      Load(place, values, 0, tile.get());
      sums.Pull<Real>(place, SlotOf(place, slots), before.get(), tile.get(), scratch.get());
      Store(place, tile.get(), values);
    });
    sums.Finish({.threads = 2});
    return values;
  }

  struct Pulled {
    std::vector<Real> gradient, tangent;
  };

  // The gradient of s and its tangent; the tangents of the gradients of arrays go to `wanted`.
  Pulled PullTangent(std::vector<ScoreArray>& tangents, std::vector<ScoreArray>& wanted,
                     int slots = 2) {
    attend::ScoreGradient sums(problem_, ViewsOf(wanted), slots, ViewsOf(tangents));
    Pulled values{gradient, gradient_tangent};
    constexpr std::size_t kSize = kTileQueries * kTileKeys;
    Buffer<Real> before(kSize), before_tangent(kSize), grad(kSize), grad_tangent(kSize);
    Buffer<Real> scratch = Scratch(sums.ScratchElements());
    ForEachTile([&](const TilePlace& place) {
      Load(place, s, kNotANumber, before.get());
      Load(place, s_tangent, kNotANumber, before_tangent.get());
      Load(place, values.gradient, 0, grad.get());
      Load(place, values.tangent, 0, grad_tangent.get());
      sums.PullTangent<Real>(place, SlotOf(place, slots), before.get(), before_tangent.get(),
                             grad.get(), grad_tangent.get(), scratch.get());
      Store(place, grad.get(), values.gradient);
      Store(place, grad_tangent.get(), values.tangent);
    });
    sums.Finish({.threads = 2});
    return values;
  }

  // Of each tile: whether MayTakePart says that a pair may, and whether one does.
  struct TilePresence {
    TilePlace place;
    bool may = false, does = false;
  };
  std::vector<TilePresence> Presence() {
    const std::vector<Real> values = Evaluate();
    Buffer<Real> tile(kTileQueries * kTileKeys), scratch = Scratch(score_->ScratchElements());
    std::vector<TilePresence> presence;
    constexpr Real kNone = -std::numeric_limits<Real>::infinity();
    ForEachTile([&](const TilePlace& place) {
      Load(place, values, kNone, tile.get());
      const bool may = MayTakePart(problem_, place, scratch.get());
      const bool does = std::any_of(tile.get(), tile.get() + kTileQueries * kTileKeys,
                                    [&](Real x) { return x != kNone; });
      presence.push_back({place, may, does});
    });
    return presence;
  }

  // Calls visit(number, point) for one pair in `every`; point as the formula's expressions want it.
  template <class Visit>
  void ForEachPair(std::size_t every, const Visit& visit) {
    for (std::size_t number = 0; number < s.size(); number += every) {
      visit(number, PointAt(PairOf(number), static_cast<double>(s[number])));
    }
  }

  const attend::ScoreFormula& formula() const { return score_->body().formula; }

  // The array's element, by its place in memory, that a use reads at a pair.
  std::int64_t OffsetOf(const attend::ArrayUse& use,
                        const std::array<std::int64_t, 4>& pair) const {
    const ScoreArray& array = arrays_[static_cast<std::size_t>(use.array)];
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < use.axes.size(); ++axis) {
      if (use.axes[axis] == attend::kRepeated) continue;
      offset += pair[use.axes[axis]] * array.strides[axis];
    }
    return offset;
  }

  std::array<std::int64_t, 4> PairOf(std::size_t number) const {
    auto n = static_cast<std::int64_t>(number);
    std::array<std::int64_t, 4> pair{};
    pair[3] = n % problem_.keys;
    n /= problem_.keys;
    pair[2] = n % problem_.queries;
    n /= problem_.queries;
    pair[1] = n % problem_.heads;
    pair[0] = n / problem_.heads;
    return pair;
  }

 private:
  static constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

  // Arrays without memory are not there.
  static std::vector<Tensor> ViewsOf(std::vector<ScoreArray>& arrays) {
    std::vector<Tensor> tensors;
    for (ScoreArray& array : arrays) {
      tensors.push_back(array.View());
      if (array.bytes.empty()) tensors.back().data = nullptr;
    }
    return tensors;
  }

  static int SlotOf(const TilePlace& place, int slots) {
    return static_cast<int>(place.key / kTileKeys % slots);
  }

  static Buffer<Real> Scratch(std::int64_t elements) {
    Buffer<Real> scratch(static_cast<std::size_t>(elements));
    // Whatever is read before it is written shows.
    std::fill_n(scratch.get(), elements, std::numeric_limits<Real>::quiet_NaN());
    return scratch;
  }

  formula::Point PointAt(const std::array<std::int64_t, 4>& pair, double score) const {
    formula::Point point;
    const auto b = static_cast<std::size_t>(pair[0]);
    point.slots = {{score},
                   {static_cast<double>(pair[0])},
                   {static_cast<double>(pair[1])},
                   {static_cast<double>(problem_.lengths_q[b])},
                   {static_cast<double>(problem_.lengths_k[b])}};
    point.slots.resize(attend::kFirstUseSlot, {0.0});
    for (const attend::ArrayUse& use : formula().uses) {
      const ScoreArray& array = arrays_[static_cast<std::size_t>(use.array)];
      point.slots.push_back({array.At(OffsetOf(use, pair))});
    }
    // In tiles a key is a row, src/formula's i, and a query a column.
    point.i = static_cast<double>(pair[3]);
    point.j = static_cast<double>(pair[2]);
    return point;
  }

  template <class Visit>
  void ForEachTile(const Visit& visit) {
    std::vector<TilePlace> places;
    for (std::int64_t b = 0; b < problem_.batch; ++b) {
      for (std::int64_t h = 0; h < problem_.heads; ++h) {
        for (std::int64_t i = 0; i < problem_.queries; i += kTileQueries) {
          for (std::int64_t j = 0; j < problem_.keys; j += kTileKeys) {
            const auto rest = [](std::int64_t all, std::int64_t begin, int most) {
              return static_cast<int>(std::min<std::int64_t>(all - begin, most));
            };
            places.push_back({b, h, i, j, rest(problem_.queries, i, kTileQueries),
                              rest(problem_.keys, j, kTileKeys)});
          }
        }
      }
    }
    for (const TilePlace& place : places) visit(place);
  }

  // The pairs of a tile; `other` where there is none.
  void Load(const TilePlace& place, const std::vector<Real>& all, double other, Real* tile) const {
    std::fill_n(tile, kTileQueries * kTileKeys, static_cast<Real>(other));
    for (int i = 0; i < place.queries; ++i) {
      const Real* const row = all.data() + RowOf(place, i);
      for (int j = 0; j < place.keys; ++j) tile[j * kTileQueries + i] = row[j];
    }
  }
  void Store(const TilePlace& place, const Real* tile, std::vector<Real>& all) const {
    for (int i = 0; i < place.queries; ++i) {
      Real* const row = all.data() + RowOf(place, i);
      for (int j = 0; j < place.keys; ++j) row[j] = tile[j * kTileQueries + i];
    }
  }

  std::int64_t RowOf(const TilePlace& place, int i) const {
    const std::int64_t head = place.batch * problem_.heads + place.head;
    return (head * problem_.queries + place.query + i) * problem_.keys + place.key;
  }

  attend::Problem problem_;
  std::vector<ScoreArray> arrays_;
  std::unique_ptr<attend::Score> score_;
};

}  // namespace logsum::testing
