#include "attention/score_gradient.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "attention/score_body.hpp"
#include "attention/score_direction.hpp"
#include "attention/score_run.hpp"
#include "attention/score_sums.hpp"
#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "core/text.hpp"
#include "formula/differentiate.hpp"

namespace logsum::attend {
namespace {

using formula::Expression;

using Index = std::array<std::int64_t, 4>;

// Calls visit(index, offset) for the elements of a tensor that have `first` on their first axis.
template <class Visit>
void ForEachElement(const Tensor& tensor, std::int64_t first, const Visit& visit) {
  const std::size_t rank = tensor.shape.size();
  Index index{};
  std::int64_t offset = 0;
  if (rank > 0) {
    index[0] = first;
    offset = first * tensor.strides[0];
  }
  while (true) {
    visit(index, offset);
    // The next one, last axis first; past the second axis there is none.
    std::size_t axis = rank;
    for (; axis > 1; --axis) {
      offset += tensor.strides[axis - 1];
      if (++index[axis - 1] < tensor.shape[axis - 1]) break;
      offset -= tensor.strides[axis - 1] * tensor.shape[axis - 1];
      index[axis - 1] = 0;
    }
    if (axis <= 1) return;
  }
}

// Writes value_of(index) to every element.
template <class ValueOf>
void Write(const Tensor& tensor, const Context& context, const ValueOf& value_of) {
  if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) return;
  const std::int64_t count = tensor.shape.empty() ? 1 : tensor.shape[0];
  VisitFloating(tensor.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    ParallelFor(count, context.threads, [&](std::int64_t first) {
      ForEachElement(tensor, first, [&](const Index& index, std::int64_t offset) {
        static_cast<Storage*>(tensor.data)[offset] = FromDouble<Storage>(value_of(index));
      });
    });
  });
}

}  // namespace

struct ScoreGradient::Body {
  const Problem* problem;
  std::vector<Tensor> gradients;  // one for each array, or none
  // Of the gradients of uses, then of s; or of their tangents and then of the gradient of s.
  ScoreProgram program;
  std::vector<View<4>> views;  // what it reads
  std::vector<UseSums> sums;   // one for each of those uses

  bool IsWanted(int array) const {
    const auto k = static_cast<std::size_t>(array);
    return k < gradients.size() && gradients[k].data != nullptr;
  }

  // grad_tangent: null, or where the tangent of the gradient of s goes.
  template <class Real>
  void Run(const ScoreTiles<Real>& tiles, const TilePlace& place, int slot, Real* grad,
           Real* grad_tangent, Real* scratch) {
    Real* const tile = scratch + ScoreMemory<Real>(program);
    ScoreRun<Real> run(program, views, *problem, place, scratch);
    run.Run(tiles, grad, [&](int k, const reduce::TileValue<Real>& value, int first, int keys) {
      const auto use = static_cast<std::size_t>(k);
      if (use == sums.size()) {
        Real* const to = grad_tangent + std::int64_t{first} * kTileQueries;
        if (value.data != to) run.Copy(value, keys, to);
        return;
      }
      const bool is_tile = value.per_column && value.row == kTileQueries;
      if (!is_tile) run.Copy(value, keys, tile);
      sums[use].Add(place, slot, first, keys, is_tile ? value.data : tile);
    });
  }
};

ScoreGradient::ScoreGradient(const Problem& problem, std::span<const Tensor> gradients, int slots,
                             std::optional<std::span<const Tensor>> tangents)
    : body_(std::make_unique<Body>()) {
  const Score::Body& score = problem.score->body();
  const ScoreFormula& formula = score.formula;
  Body& body = *body_;
  body.problem = &problem;
  body.gradients.assign(gradients.begin(), gradients.end());

  formula::Builder builder;
  builder.Adopt(formula.value);
  const auto slot = [&](std::int64_t number) {
    return builder.Variable(number, 1, formula::Dependence::ij);
  };
  const Expression score_slot = slot(kScoreSlot), incoming = slot(kGradientSlot);
  std::vector<Expression> wanted;
  std::vector<const ArrayUse*> uses;
  const ScoreExtents extents{{problem.batch, problem.heads, problem.queries, problem.keys}, slots};
  std::vector<int> count(score.shapes.size(), 0);  // of uses of each array
  for (std::size_t k = 0; k < formula.uses.size(); ++k) {
    const int array = formula.uses[k].array;
    if (!body.IsWanted(array)) continue;
    wanted.push_back(formula.variables[k]);
    uses.push_back(&formula.uses[k]);
    ++count[static_cast<std::size_t>(array)];
  }
  wanted.push_back(score_slot);
  std::vector<Expression> values;
  try {
    // A gradient is a mask too: where it is 0 the pair takes no part.
    std::vector<formula::Root> roots;
    if (tangents) {
      const ScoreDirection direction(builder, score, *tangents);
      body.views = direction.views();
      const Expression moving = slot(kGradientTangentSlot);
      roots.push_back({formula.value, moving, moving});
      // The gradient of f. is the tangent of the gradient of f.
      const Expression tangent = direction.TangentOf(builder, formula.value);
      if (tangent) roots.push_back({tangent, incoming, incoming});
    } else {
      body.views = score.views;
      roots.push_back({formula.value, incoming, incoming});
    }
    const std::vector<Expression> derivatives = formula::Gradient(builder, roots, wanted);
    for (std::size_t k = 0; k < uses.size(); ++k) {
      if (!derivatives[k]) continue;
      values.push_back(derivatives[k]);
      const ArrayUse& use = *uses[k];
      const auto array = static_cast<std::size_t>(use.array);
      const bool is_alone = count[array] == 1;
      body.sums.emplace_back(use, extents, is_alone ? &body.gradients[array] : nullptr,
                             problem.is_double);
    }
    const auto or_zero = [&](const Expression& x) { return x ? x : builder.Zero(1); };
    values.push_back(or_zero(derivatives.back()));
    if (tangents) {
      // Last, so that the gradient's tangent is no longer needed when its own place is written.
      const formula::Root root[] = {{formula.value, incoming, incoming}};
      values.push_back(or_zero(formula::Gradient(builder, root, std::span(&score_slot, 1))[0]));
    }
    body.program = CompileScore(values);
  } catch (const formula::Refusal& refusal) {
    ThrowInvalid(tangents ? "attention_backward_tangent" : "attention_backward", "score",
                 Text("a derivative with ", refusal.expected), refusal.given);
  }
  for (const UseSums& sums : body.sums) {
    if (!sums.IsDirect()) continue;
    // Tiles without pairs are never pulled.
    const Tensor& gradient = body.gradients[static_cast<std::size_t>(sums.use().array)];
    Write(gradient, Context{.threads = 1}, [](const Index&) { return 0.0; });
  }
}

ScoreGradient::~ScoreGradient() = default;

std::int64_t ScoreGradient::ScratchElements() const {
  const auto elements = [&]<class Real>(Real) {
    return ScoreMemory<Real>(body_->program) + kScoreKeys * kTileQueries;
  };
  return body_->problem->is_double ? elements(double{}) : elements(float{});
}

bool ScoreGradient::SharesPairs() const {
  return std::ranges::any_of(body_->sums, [](const UseSums& sums) { return sums.SharesPairs(); });
}

template <class Real>
void ScoreGradient::Pull(const TilePlace& place, int slot, const Real* s, Real* grad,
                         Real* scratch) {
  body_->Run<Real>({.s = s, .gradient = grad}, place, slot, grad, nullptr, scratch);
}

template <class Real>
void ScoreGradient::PullTangent(const TilePlace& place, int slot, const Real* s,
                                const Real* s_tangent, Real* grad, Real* grad_tangent,
                                Real* scratch) {
  body_->Run<Real>(
      {.s = s, .gradient = grad, .s_tangent = s_tangent, .gradient_tangent = grad_tangent}, place,
      slot, grad, grad_tangent, scratch);
}

template void ScoreGradient::Pull(const TilePlace&, int, const float*, float*, float*);
template void ScoreGradient::Pull(const TilePlace&, int, const double*, double*, double*);
template void ScoreGradient::PullTangent(const TilePlace&, int, const float*, const float*, float*,
                                         float*, float*);
template void ScoreGradient::PullTangent(const TilePlace&, int, const double*, const double*,
                                         double*, double*, double*);

void ScoreGradient::Finish(const Context& context) {
  for (std::size_t k = 0; k < body_->gradients.size(); ++k) {
    const auto array = static_cast<int>(k);
    std::vector<const UseSums*> sums;
    for (const UseSums& use : body_->sums) {
      if (use.use().array == array) sums.push_back(&use);
    }
    if (!body_->IsWanted(array) || (sums.size() == 1 && sums[0]->IsDirect())) continue;
    Write(body_->gradients[k], context, [&](const Index& index) {
      double total = 0;
      for (const UseSums* const use : sums) {
        Index pair{};
        for (std::size_t axis = 0; axis < use->use().axes.size(); ++axis) {
          const PairAxis of_pair = use->use().axes[axis];
          if (of_pair != kRepeated) pair[of_pair] = index[axis];
        }
        total += use->At(pair);
      }
      return total;
    });
  }
}

}  // namespace logsum::attend
