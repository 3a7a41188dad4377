// The tangent of a score formula on tiles.
#pragma once
#include <cstdint>
#include <memory>
#include <span>

#include "attention/problem.hpp"
#include "attention/tile.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// One for a call; immutable, shared by all threads.
class ScoreTangent {
 public:
  // tangents: of the arrays of problem.score: none, or one for each, without data where it does not
  // move.
  ScoreTangent(const Problem& problem, std::span<const Tensor> tangents);
  ~ScoreTangent();

  // Elements of Real that Push takes as scratch.
  std::int64_t ScratchElements() const;

  // Of a tile: tangent, in that of s, out that of score(s). s is what the score was before
  // EvaluateScore. Arrays aligned to 128 bytes. Pairs that are left out and lanes beyond
  // place.queries may hold anything and get anything.
  template <class Real>
  void Push(const TilePlace& place, const Real* s, Real* tangent, Real* scratch) const;

  struct Body;

 private:
  std::unique_ptr<Body> body_;
};

}  // namespace logsum::attend
