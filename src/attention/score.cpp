#include "attention/score.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/score_arrays.hpp"
#include "attention/score_body.hpp"
#include "attention/score_presence.hpp"
#include "attention/score_run.hpp"
#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::attend {
namespace {

// float32 counts up to 2^24, and so i, j, b, h and lengths.
void CheckIndices(const std::array<std::int64_t, 4>& sizes, bool is_double) {
  constexpr std::int64_t kExact = std::int64_t{1} << 24;
  const std::int64_t largest = *std::ranges::max_element(sizes);
  if (is_double || largest <= kExact) return;
  ThrowInvalid("attention", "score",
               "float64 arrays where an axis exceeds 2^24, which float32 cannot count",
               Text("an axis of ", largest));
}

}  // namespace

Score::Score(std::string_view formula, std::span<const std::string_view> names,
             std::span<const Tensor> arrays, const Problem& problem)
    : body_(std::make_unique<Body>()) {
  if (names.size() != arrays.size()) {
    ThrowInvalid("attention", "score_args", Text(names.size(), " arrays, one for each name"),
                 Text(arrays.size()));
  }
  Body& body = *body_;
  for (std::size_t k = 0; k < arrays.size(); ++k) {
    const auto& sizes = arrays[k].shape;
    body.shapes.push_back({std::string(names[k]), {sizes.begin(), sizes.end()}});
    body.dtypes.push_back(arrays[k].dtype);
    CheckScoreArray(body.shapes[k], arrays[k], problem);
  }
  const std::array<std::int64_t, 4> sizes = {problem.batch, problem.heads, problem.queries,
                                             problem.keys};
  CheckIndices(sizes, problem.is_double);
  body.formula = ParseScore(formula, body.shapes, sizes);
  for (const ArrayUse& use : body.formula.uses) {
    body.views.push_back(ViewOf(use, arrays[static_cast<std::size_t>(use.array)]));
  }
  try {
    body.program = CompileScore(std::span(&body.formula.value, 1));
    const formula::Expression presence = PresenceOf(body.formula.builder, body.formula.value);
    if (presence) body.presence = CompileScore(std::span(&presence, 1));
  } catch (const formula::Refusal& refusal) {
    ThrowInvalid("attention", "score", refusal.expected, refusal.given);
  }
  body.is_double = problem.is_double;
}

Score::~Score() = default;

std::int64_t Score::ScratchElements() const {
  const auto elements = [&]<class Real>(Real) {
    const std::int64_t of_value = ScoreMemory<Real>(body_->program);
    if (!body_->presence) return of_value;
    return std::max(of_value, ScoreMemory<Real>(*body_->presence) + kScoreKeys * kTileQueries);
  };
  return body_->is_double ? elements(double{}) : elements(float{});
}

template <class Real>
bool MayTakePart(const Problem& problem, const TilePlace& place, Real* scratch) {
  if (problem.score == nullptr || !problem.score->body().presence) return true;
  const Score::Body& score = problem.score->body();
  ScoreRun<Real> run(*score.presence, score.views, problem, place, scratch);
  return run.IsAnywhere(scratch + ScoreMemory<Real>(*score.presence));
}

template bool MayTakePart(const Problem&, const TilePlace&, float*);
template bool MayTakePart(const Problem&, const TilePlace&, double*);

template <class Real>
void EvaluateScore(const Problem& problem, const TilePlace& place, Real* scores, Real* scratch) {
  const Score::Body& score = problem.score->body();
  ScoreRun<Real> run(score.program, score.views, problem, place, scratch);
  run.Run({.s = scores}, scores, [](auto&&...) {});
}

template void EvaluateScore(const Problem&, const TilePlace&, float*, float*);
template void EvaluateScore(const Problem&, const TilePlace&, double*, double*);

}  // namespace logsum::attend
