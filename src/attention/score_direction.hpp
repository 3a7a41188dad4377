// The direction along which a score formula is differentiated: tangents of s and of arrays.
#pragma once
#include <span>
#include <vector>

#include "attention/problem.hpp"
#include "attention/score_body.hpp"
#include "formula/builder.hpp"
#include "logsum/tensor.hpp"

namespace logsum::attend {

class ScoreDirection {
 public:
  // arrays: the tangents of the score's arrays: none, or one for each, without data where it does
  // not move.
  ScoreDirection(formula::Builder& builder, const Score::Body& score,
                 std::span<const Tensor> arrays);

  // Of an expression of the formula's variables; null where it is zero.
  formula::Expression TangentOf(formula::Builder& builder, const formula::Expression& value) const;

  // What programs that contain tangents read: the arrays of uses, then their tangents.
  const std::vector<View<4>>& views() const { return views_; }

 private:
  std::vector<formula::Expression> variables_, tangents_;
  std::vector<View<4>> views_;
};

}  // namespace logsum::attend
