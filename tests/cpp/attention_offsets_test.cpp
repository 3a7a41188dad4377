// Offsets of tiles on every CPU target: biases and masks of any type, shape and stride.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "array.hpp"
#include "attention_kernels.hpp"
#include "attention_problem.hpp"

namespace logsum::testing {
namespace {

using attend::Coverage;
using attend::Problem;
using attend::TilePlace;

constexpr int kRows = attend::kTileKeys, kLanes = attend::kTileQueries;

// Sizes that are not multiples of a tile, more than one batch entry and head.
AttentionInput SmallInput() {
  AttentionInput input;
  input.batch = 2;
  input.heads = 3;
  input.queries = 75;
  input.keys = 300;
  return input;
}

// An array that broadcasts to (batch, head, query, key), and the view that the kernels get.
template <class T>
struct Broadcasting {
  BroadcastValues values;
  Array<T> array;
  attend::View<4> view;

  Broadcasting(const std::array<std::int64_t, 4>& shape, const std::vector<int>& order)
      : array({shape.begin(), shape.end()}, order) {
    values.shape = shape;
    const Tensor tensor = array;
    view.data = tensor.data;
    view.dtype = tensor.dtype;
    for (std::size_t axis = 0; axis < 4; ++axis) {
      view.strides[axis] = shape[axis] == 1 ? 0 : tensor.strides[axis];
    }
  }
  template <class Draw>
  void Fill(const Draw& draw) {
    array.Fill(draw);
    values.values.resize(static_cast<std::size_t>(array.Size()));
    for (std::size_t i = 0; i < values.values.size(); ++i) {
      values.values[i] = array.Get(static_cast<std::int64_t>(i));
    }
  }
};

std::vector<TilePlace> Places(const AttentionInput& input) {
  std::vector<TilePlace> places;
  for (std::int64_t query = 0; query < input.queries; query += kLanes) {
    const auto queries = static_cast<int>(std::min<std::int64_t>(kLanes, input.queries - query));
    for (const std::int64_t key : {0, 37, 128, 299}) {
      const auto most = static_cast<int>(std::min<std::int64_t>(kRows, input.keys - key));
      for (const int keys : {1, 13, most}) {
        if (keys > most) continue;
        places.push_back({1, 2, query, key, queries, keys});
      }
    }
  }
  return places;
}

// Offsets against the definition, on every target.
template <class Real>
void Check(const Problem& problem, const AttentionInput& input) {
  for (const attend::Target& target : attend::Targets()) {
    SCOPED_TRACE(target.name + ", " + Describe(input));
    for (const TilePlace& place : Places(input)) {
      alignas(128) static Real offsets[kRows * kLanes];
      // What is not written shows.
      std::fill_n(offsets, kRows * kLanes, Real(12345));
      bool written = false;
      const Coverage coverage = target.Get<Real>().offsets(problem, place, offsets, &written);
      int seen = 0;
      for (int j = 0; j < place.keys; ++j) {
        for (int i = 0; i < kLanes; ++i) {
          const AttentionPair at = {place.batch, place.head, place.query + i, place.key + j};
          const bool takes_part = i < place.queries && TakesPart(input, at);
          seen += takes_part;
          double want = -kInf;
          if (takes_part) want = input.bias.IsThere() ? input.bias.At(at) : 0;
          if (!written) want = 0;
          const double got = written ? offsets[j * kLanes + i] : 0;
          if (std::isnan(want) && std::isnan(got)) continue;
          ASSERT_EQ(got, want) << "query " << at.query << " key " << at.key;
        }
      }
      const Coverage expected = seen == 0                     ? Coverage::none
                                : seen == kLanes * place.keys ? Coverage::all
                                                              : Coverage::some;
      ASSERT_EQ(coverage, expected);
      ASSERT_EQ(written,
                expected == Coverage::some || (expected == Coverage::all && input.bias.IsThere()));
      if (place.keys < kRows) {
        ASSERT_EQ(offsets[place.keys * kLanes], Real(12345));
      }
    }
  }
}

const std::vector<std::array<std::int64_t, 4>> kShapes = {
    {2, 3, 75, 300}, {1, 1, 75, 300}, {2, 1, 1, 300}, {1, 3, 75, 1}, {1, 1, 1, 1}};
// Keys, queries or heads innermost.
const std::vector<std::vector<int>> kOrders = {{0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 3, 1}};

template <class Real, class T>
void CheckBiases() {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  for (const auto& shape : kShapes) {
    for (const auto& order : kOrders) {
      AttentionInput input = SmallInput();
      Broadcasting<T> bias(shape, order);
      // One in so many is -inf, +inf or NaN; in some arrays none.
      const unsigned rate = random() % 2 == 0 ? 50 : 0;
      bias.Fill([&] {
        const double special[] = {-kInf, -kInf, kInf, kNaN};
        return rate != 0 && random() % rate == 0 ? special[random() % 4] : normal(random);
      });
      input.bias = bias.values;
      Problem problem = MakeProblem(input);
      problem.bias = bias.view;
      Check<Real>(problem, input);
    }
  }
}

TEST(AttentionOffsets, Biases) {
  CheckBiases<float, float>();
  CheckBiases<float, Half>();
  CheckBiases<float, BFloat16>();
  CheckBiases<double, double>();
}

template <class Real>
void CheckMasks(bool with_bias) {
  std::mt19937 random(4);
  std::normal_distribution<double> normal;
  for (const auto& shape : kShapes) {
    for (const auto& order : kOrders) {
      AttentionInput input = SmallInput();
      Broadcasting<bool> mask(shape, order);
      // Some masks are all true or all false in some tiles.
      int run = 0;
      bool value = false;
      mask.Fill([&] {
        if (run-- == 0) {
          run = static_cast<int>(random() % 3000);
          value = !value;
        }
        return value ? 1.0 : 0.0;
      });
      input.mask = mask.values;
      Broadcasting<Real> bias({1, 3, 75, 300}, {0, 1, 2, 3});
      Problem problem = MakeProblem(input);
      if (with_bias) {
        bias.Fill([&] { return normal(random); });
        input.bias = bias.values;
        problem.bias = bias.view;
      }
      problem.mask = mask.view;
      Check<Real>(problem, input);
    }
  }
}

TEST(AttentionOffsets, Masks) {
  CheckMasks<float>(false);
  CheckMasks<double>(false);
}

TEST(AttentionOffsets, MasksAndBiases) {
  CheckMasks<float>(true);
  CheckMasks<double>(true);
}

template <class Real>
void CheckRegions() {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 40; ++trial) {
    AttentionInput input = SmallInput();
    DrawRegion(random, input);
    Broadcasting<Real> bias({1, 1, 75, 300}, {0, 1, 2, 3});
    Broadcasting<bool> mask({2, 1, 1, 300}, {0, 1, 2, 3});
    Problem problem = MakeProblem(input);
    if (random() % 2 == 0) {
      bias.Fill([&] { return normal(random); });
      input.bias = bias.values;
      problem.bias = bias.view;
    }
    if (random() % 2 == 0) {
      mask.Fill([&] { return random() % 8 == 0 ? 0.0 : 1.0; });
      input.mask = mask.values;
      problem.mask = mask.view;
    }
    Check<Real>(problem, input);
  }
}

TEST(AttentionOffsets, RegionsWithMasksAndBiases) {
  CheckRegions<float>();
  CheckRegions<double>();
}

}  // namespace
}  // namespace logsum::testing
