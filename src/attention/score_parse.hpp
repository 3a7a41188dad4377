// Score formulas as expressions.
//
// A query is a column and a key a row, as in a tile (tile.hpp): what depends on the query is of
// src/formula's j, what depends on the key of its i.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formula/builder.hpp"

namespace logsum::attend {

// The axes of (batch, head, query, key), and their letters. kRepeated is an axis of size 1,
// whatever its index.
enum PairAxis : std::uint8_t { kBatchAxis, kHeadAxis, kQueryAxis, kKeyAxis, kRepeated };
inline constexpr std::array<char, 4> kAxisLetters = {'b', 'h', 'i', 'j'};

// Slots of variables: the score, what is known of an entry or a head, the gradient of score(s), the
// tangents of both, one for each use of an array, and one for each use whose array moves.
enum ScoreSlot : std::int64_t {
  kScoreSlot,
  kBatchSlot,
  kHeadSlot,
  kQueriesSlot,
  kKeysSlot,
  kGradientSlot,
  kScoreTangentSlot,
  kGradientTangentSlot,
  kFirstUseSlot
};

struct ArrayUse {
  int array = 0;
  std::vector<PairAxis> axes;  // what each axis is indexed by

  bool Has(PairAxis axis) const { return std::ranges::find(axes, axis) != axes.end(); }
  bool operator==(const ArrayUse&) const = default;
};

struct ArrayShape {
  std::string name;
  std::vector<std::int64_t> sizes;
};

struct ScoreFormula {
  formula::Builder builder;
  formula::Expression value;
  std::vector<ArrayUse> uses;
  std::vector<formula::Expression> variables;  // one for each use
};

// sizes: of the axes. Throws std::invalid_argument that points into the text.
ScoreFormula ParseScore(std::string_view text, std::span<const ArrayShape> arrays,
                        const std::array<std::int64_t, 4>& sizes);

}  // namespace logsum::attend
