// The derivative of a score formula on tiles, and the gradients of its arrays; or the tangents of
// both along a direction.
//
// A use of an array has a sum for each value of its indices, and within a head one for each query,
// each key, each slot (a use that knows neither query nor key) or each pair. Sums are doubles to
// which tiles are added in an order that the caller fixes; Finish adds heads in order, then uses.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "attention/problem.hpp"
#include "attention/tile.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

// One for a call; its sums belong to all threads. Memory: a double for each query, key or slot of
// all heads a use, or for each element of an array that is indexed by pairs.
class ScoreGradient {
 public:
  // gradients: none, or one for each array of problem.score, shaped like it, of its dtype or
  // float32 (float64 beside float64); without data where none is wanted. slots: how many slots a
  // head's tiles are spread over.
  // tangents: none for gradients, to which Pull adds. Else as ScoreTangent takes them, and what
  // PullTangent adds and Finish writes are the tangents of the arrays' gradients.
  ScoreGradient(const Problem& problem, std::span<const Tensor> gradients, int slots,
                std::optional<std::span<const Tensor>> tangents = std::nullopt);
  ~ScoreGradient();

  // Elements of Real that either takes as scratch.
  std::int64_t ScratchElements() const;
  // Whether pairs (i, j) of different heads share a sum, as those of a bias (1, 1, M, N) do.
  bool SharesPairs() const;

  // Of a tile: grad, in the gradient of score(s), zero where a pair is left out and in lanes beyond
  // place.queries, out that of s, a zero of which stays zero whatever the derivative; and adds to
  // the sums of arrays. s is what the score was before EvaluateScore.
  //
  // Tiles that are at work at one time must differ, if they are of one head, in queries, keys and
  // slot; if SharesPairs(), tiles of different heads in their pairs. Tiles that share a sum must
  // come in an order that depends on shapes alone.
  template <class Real>
  void Pull(const TilePlace& place, int slot, const Real* s, Real* grad, Real* scratch);

  // Of a tile, and under the same conditions: grad as for Pull, and grad_tangent, in the tangent of
  // the gradient of score(s), zero likewise, out the tangent of the gradient of s, a zero of which
  // stays zero where that of grad is zero too. s_tangent is the tangent of s.
  template <class Real>
  void PullTangent(const TilePlace& place, int slot, const Real* s, const Real* s_tangent,
                   Real* grad, Real* grad_tangent, Real* scratch);

  // Once, after all tiles: writes every element of the gradients.
  void Finish(const Context& context);

  struct Body;

 private:
  std::unique_ptr<Body> body_;
};

}  // namespace logsum::attend
