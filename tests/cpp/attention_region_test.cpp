// Which pairs causal, window and lengths admit, against the definition pair by pair.
#include "attention/region.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "attention_problem.hpp"

namespace logsum::testing {
namespace {

using attend::Coverage;
using attend::Problem;
using attend::TilePlace;

class Regions : public ::testing::Test {
 protected:
  std::mt19937 random_{5};

  std::int64_t Draw(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  AttentionInput Input() {
    AttentionInput input;
    input.queries = Draw(1, 70);
    input.keys = Draw(1, 70);
    DrawRegion(random_, input);
    return input;
  }
};

TEST_F(Regions, KeysOfAQueryAreThoseThatTakePart) {
  for (int trial = 0; trial < 500; ++trial) {
    const AttentionInput input = Input();
    const Problem problem = MakeProblem(input);
    for (std::int64_t i = 0; i < input.queries; ++i) {
      const attend::KeyRange keys = KeysOf(problem, 0, i);
      for (std::int64_t j = 0; j < input.keys; ++j) {
        ASSERT_EQ(j >= keys.begin && j < keys.end, TakesPart(input, {0, 0, i, j}))
            << Describe(input) << " at " << i << ", " << j;
      }
    }
  }
}

TEST_F(Regions, KeysOfABlockAreTheUnion) {
  for (int trial = 0; trial < 500; ++trial) {
    const AttentionInput input = Input();
    const Problem problem = MakeProblem(input);
    const std::int64_t begin = Draw(0, input.queries - 1), end = Draw(begin + 1, input.queries);
    const attend::KeyRange keys = KeysOf(problem, 0, begin, end);
    for (std::int64_t j = 0; j < input.keys; ++j) {
      bool is_seen = false;
      for (std::int64_t i = begin; i < end; ++i) is_seen |= TakesPart(input, {0, 0, i, j});
      ASSERT_EQ(j >= keys.begin && j < keys.end, is_seen) << Describe(input) << " key " << j;
    }
  }
}

TEST_F(Regions, LanesAndCoverageOfATile) {
  for (int trial = 0; trial < 2000; ++trial) {
    const AttentionInput input = Input();
    const Problem problem = MakeProblem(input);
    TilePlace place;
    place.query = Draw(0, (input.queries - 1) / attend::kTileQueries) * attend::kTileQueries;
    place.key = Draw(0, input.keys - 1);
    place.queries =
        static_cast<int>(std::min<std::int64_t>(attend::kTileQueries, input.queries - place.query));
    place.keys = static_cast<int>(Draw(1, input.keys - place.key));
    int seen = 0;
    for (int j = 0; j < place.keys; ++j) {
      const attend::LaneRange lanes = QueriesOf(problem, place, place.key + j);
      for (int i = 0; i < attend::kTileQueries; ++i) {
        const bool takes_part =
            i < place.queries && TakesPart(input, {0, 0, place.query + i, place.key + j});
        ASSERT_EQ(i >= lanes.begin && i < lanes.end, takes_part)
            << Describe(input) << " query " << place.query + i << " key " << place.key + j;
        seen += takes_part;
      }
    }
    const Coverage expected = seen == 0                                   ? Coverage::none
                              : seen == attend::kTileQueries * place.keys ? Coverage::all
                                                                          : Coverage::some;
    ASSERT_EQ(RegionOf(problem, place), expected) << Describe(input);
  }
}

}  // namespace
}  // namespace logsum::testing
