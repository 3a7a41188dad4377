// A score formula: parsed, checked and compiled for tiles when a call begins, run on each tile of
// scores; its gradient is in score_gradient.hpp.
//
// The language is src/formula's, with these names:
//   s             the score of the pair, scaled and capped
//   i, j, b, h    its query, its key, the batch entry, the query head, as numbers
//   q_len, k_len  how many queries and keys the entry has
//   x(b, h, i, j) the element of the array called x; the indices are those of its axes, each at
//                 most once and in any order. An axis of size 1 repeats. A scalar array is its
//                 plain name.
// -inf leaves a pair out: "Where(doc(b, i) == doc(b, j), s, -inf)".
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "attention/problem.hpp"
#include "attention/tile.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// Immutable; shared by all threads.
class Score {
 public:
  // Arrays are floating (q's dtype or float32; float64 beside float64), or i32, i64, boolean with
  // values that the arithmetic holds exactly. Throws std::invalid_argument, which points into the
  // formula where that is what is wrong.
  Score(std::string_view formula, std::span<const std::string_view> names,
        std::span<const Tensor> arrays, const Problem& problem);
  ~Score();

  // Elements of Real that EvaluateScore and MayTakePart take as scratch.
  std::int64_t ScratchElements() const;

  struct Body;  // score_body.hpp
  const Body& body() const { return *body_; }

 private:
  std::unique_ptr<Body> body_;
};

// Whether problem.score, if there is one, can be other than -inf for a pair of the tile. What it
// can say without s it does: see score_presence.hpp.
template <class Real>
bool MayTakePart(const Problem& problem, const TilePlace& place, Real* scratch);

// scores[j * kTileQueries + i]: s before, score(s) after, of problem.score. Both arrays aligned to
// 128 bytes. Lanes beyond place.queries may hold anything and get anything.
template <class Real>
void EvaluateScore(const Problem& problem, const TilePlace& place, Real* scores, Real* scratch);

}  // namespace logsum::attend
