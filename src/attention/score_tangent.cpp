#include "attention/score_tangent.hpp"

#include <vector>

#include "attention/score_body.hpp"
#include "attention/score_direction.hpp"
#include "attention/score_run.hpp"
#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::attend {

struct ScoreTangent::Body {
  const Problem* problem;
  ScoreProgram program;
  std::vector<View<4>> views;
};

ScoreTangent::ScoreTangent(const Problem& problem, std::span<const Tensor> tangents)
    : body_(std::make_unique<Body>()) {
  const Score::Body& score = problem.score->body();
  body_->problem = &problem;
  formula::Builder builder;
  builder.Adopt(score.formula.value);
  try {
    const ScoreDirection direction(builder, score, tangents);
    const formula::Expression tangent = direction.TangentOf(builder, score.formula.value);
    const formula::Expression values[] = {tangent ? tangent : builder.Zero(1)};
    body_->program = CompileScore(values);
    body_->views = direction.views();
  } catch (const formula::Refusal& refusal) {
    ThrowInvalid("attention_tangent", "score", Text("a derivative with ", refusal.expected),
                 refusal.given);
  }
}

ScoreTangent::~ScoreTangent() = default;

std::int64_t ScoreTangent::ScratchElements() const {
  return body_->problem->is_double ? ScoreMemory<double>(body_->program)
                                   : ScoreMemory<float>(body_->program);
}

template <class Real>
void ScoreTangent::Push(const TilePlace& place, const Real* s, Real* tangent, Real* scratch) const {
  ScoreRun<Real> run(body_->program, body_->views, *body_->problem, place, scratch);
  run.Run({.s = s, .s_tangent = tangent}, tangent, [](auto&&...) {});
}

template void ScoreTangent::Push(const TilePlace&, const float*, float*, float*) const;
template void ScoreTangent::Push(const TilePlace&, const double*, double*, double*) const;

}  // namespace logsum::attend
