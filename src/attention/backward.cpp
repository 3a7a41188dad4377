#include "attention/backward.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "attention/backward_finish.hpp"
#include "attention/backward_kernels.hpp"
#include "attention/backward_plan.hpp"
#include "attention/backward_tangent.hpp"
#include "attention/score.hpp"
#include "attention/score_gradient.hpp"
#include "attention/score_tangent.hpp"
#include "core/buffer.hpp"
#include "core/buffer_pool.hpp"
#include "core/parallel.hpp"

namespace logsum::attend {
namespace {

constexpr std::int64_t kRowsAtOnce = 256;

// The gradient of q, k or v: where sums over cells go. Directly to the gradient if it has the type
// of the arithmetic and is summed by one task at a time, else to arrays of a band of heads.
template <class Real>
class Sums {
 public:
  Sums(const View<4>& gradient, std::int64_t heads, const Groups& groups, std::int64_t dim,
       std::int64_t copies, std::int64_t additions, std::int64_t band_heads)
      : gradient_(gradient), heads_(heads), groups_(groups), dim_(dim), copies_(copies) {
    if (!gradient) return;
    constexpr DType kReal = sizeof(Real) == sizeof(float) ? DType::f32 : DType::f64;
    is_direct_ = copies == 1 && (gradient.dtype == kReal || additions <= 1);
    if (!is_direct_) {
      sums_ = Buffer<Real>(static_cast<std::size_t>(copies * band_heads * groups.size * dim));
    }
    written_.resize(static_cast<std::size_t>(copies * band_heads * groups.Count()));
  }

  // Before a band: head number `first` of batch x heads is its first.
  void Begin(std::int64_t first) {
    first_ = first;
    std::fill(written_.begin(), written_.end(), std::uint8_t{0});
  }

  Target At(std::int64_t batch, std::int64_t head, std::int64_t copy, std::int64_t group) {
    if (!gradient_) return {};
    Target target = is_direct_ ? TargetOf(gradient_, batch, head) : Target{};
    if (!is_direct_) {
      target = {SumsOf(batch, head, copy), sizeof(Real) == sizeof(float) ? DType::f32 : DType::f64,
                dim_, 1, nullptr};
    }
    target.written = &Written(batch, head, copy, group);
    return target;
  }

  // After a band: sums to the gradient, and zeros where no cell was.
  void Finish(std::int64_t batch, std::int64_t head, std::int64_t group,
              const BackwardKernels<Real>& kernels) {
    if (!gradient_) return;
    std::vector<const Real*> sums;
    for (std::int64_t copy = 0; copy < copies_; ++copy) {
      if (Written(batch, head, copy, group) == 0) continue;
      if (is_direct_) return;
      sums.push_back(SumsOf(batch, head, copy));
    }
    const Extent rows = groups_.At(group);
    kernels.gather(sums.data(), std::ssize(sums), rows.begin, rows.Size(), dim_,
                   TargetOf(gradient_, batch, head));
  }

 private:
  std::int64_t NumberOf(std::int64_t batch, std::int64_t head, std::int64_t copy) const {
    return (batch * heads_ + head - first_) * copies_ + copy;
  }
  std::uint8_t& Written(std::int64_t batch, std::int64_t head, std::int64_t copy,
                        std::int64_t group) {
    return written_[static_cast<std::size_t>(NumberOf(batch, head, copy) * groups_.Count() +
                                             group)];
  }
  Real* SumsOf(std::int64_t batch, std::int64_t head, std::int64_t copy) const {
    return sums_.get() + NumberOf(batch, head, copy) * groups_.size * dim_;
  }
  const View<4>& gradient_;
  const std::int64_t heads_;
  const Groups groups_;
  const std::int64_t dim_, copies_;
  bool is_direct_ = true;
  Buffer<Real> sums_;
  std::vector<std::uint8_t> written_;
  std::int64_t first_ = 0;
};

// One call.
template <class Real>
class Runner {
 public:
  // moves, results: null for gradients themselves, else those of RunBackwardTangent.
  Runner(const Problem& problem, const Gradients& gradients, const Tangents* moves,
         const ResultTangents* results, Context context)
      : problem_(problem),
        gradients_(gradients),
        context_(context),
        kernels_(moves == nullptr ? KernelsOfBackward<Real>() : KernelsOfBackwardTangent<Real>()) {
    if (problem.score != nullptr) {
      // Key groups do not depend on what the gradients of arrays share.
      score_.emplace(problem, gradients.score_args, static_cast<int>(kMostGroups),
                     moves == nullptr ? std::nullopt : std::optional(moves->score_args));
    }
    if (moves != nullptr) {
      if (problem.score != nullptr) score_tangent_.emplace(problem, moves->score_args);
      delta_tangent_ = Buffer<Real>(static_cast<std::size_t>(Rows()));
      direction_.emplace(Direction<Real>{
          *moves, *results, score_tangent_ ? &*score_tangent_ : nullptr, delta_tangent_.get()});
    }
    plan_ = MakeBackwardPlan(problem, gradients, score_.has_value(),
                             score_.has_value() && score_->SharesPairs());
    if (score_) {
      score_elements_ = std::max({problem.score->ScratchElements(), score_->ScratchElements(),
                                  score_tangent_ ? score_tangent_->ScratchElements() : 0});
    }
    bytes_ = static_cast<std::size_t>(kernels_.bytes(problem, plan_, score_elements_));
  }

  void Run() {
    PrepareAll();
    if (gradients_.sinks) {
      FinishSinks(problem_, gradients_, delta_.get(), share_.get(), direction(), context_);
    }
    ClearVector();
    RunBands();
    if (plan_.bias == BiasSums::pairs && plan_.bundles == 0) ClearPairs(problem_, gradients_);
    if (plan_.bias == BiasSums::keys || plan_.bias == BiasSums::queries) {
      FinishBias(problem_, gradients_, plan_.bias, vector_, context_);
    }
    if (score_) score_->Finish(context_);
  }

 private:
  const Direction<Real>* direction() const { return direction_ ? &*direction_ : nullptr; }
  std::int64_t Rows() const { return problem_.batch * problem_.heads * problem_.queries; }

  void PrepareAll() {
    delta_ = Buffer<Real>(static_cast<std::size_t>(Rows()));
    share_ = Buffer<Real>(static_cast<std::size_t>(Rows()));
    const Groups rows{problem_.queries, kRowsAtOnce};
    const std::int64_t runs = rows.Count();
    ParallelFor(problem_.batch * problem_.heads * runs, context_.threads, [&](std::int64_t task) {
      const typename BufferPool<std::byte>::Lease memory(pool_, bytes_);
      const std::int64_t head = task / runs;
      kernels_.prepare({problem_, gradients_, direction(), head / problem_.heads,
                        head % problem_.heads, rows.At(task % runs), delta_.get(), share_.get(),
                        score_elements_, memory.get()});
    });
  }

  void ClearVector() {
    if (plan_.bias != BiasSums::keys && plan_.bias != BiasSums::queries) return;
    const std::int64_t count = problem_.batch * problem_.heads *
                               (plan_.bias == BiasSums::keys ? problem_.keys : problem_.queries);
    vector_memory_ = Buffer<Real>(static_cast<std::size_t>(2 * count));
    vector_ = {vector_memory_.get(), vector_memory_.get() + count};
    std::fill_n(vector_.high, 2 * count, Real{0});
  }

  // Batches and key heads of a bundle.
  Extent BatchesOf(std::int64_t bundle) const {
    if (plan_.all_batches) return {0, problem_.batch};
    const std::int64_t batch = plan_.all_heads ? bundle : bundle / problem_.kv_heads;
    return {batch, batch + 1};
  }
  Extent HeadsOf(std::int64_t bundle) const {
    if (plan_.all_heads) return {0, problem_.kv_heads};
    const std::int64_t head = bundle % problem_.kv_heads;
    return {head, head + 1};
  }
  // Heads that a band's arrays span.
  std::int64_t SpanOf(std::int64_t heads) const {
    const bool whole = plan_.all_batches || plan_.all_heads;
    return whole ? problem_.batch * heads
                 : std::min(plan_.band, plan_.bundles) * heads /
                       std::max<std::int64_t>(problem_.kv_heads, 1);
  }

  void RunBands() {
    const bool whole = plan_.all_batches || plan_.all_heads;
    const std::int64_t of_keys = plan_.by_keys ? 1 : plan_.copies;
    const std::int64_t of_queries = plan_.by_keys ? plan_.copies : 1;
    const std::int64_t additions = plan_.rounds;
    const std::int64_t key_heads = SpanOf(problem_.kv_heads);
    Sums<Real> q(gradients_.q, problem_.heads, plan_.queries, problem_.dim, of_queries, additions,
                 SpanOf(problem_.heads));
    Sums<Real> k(gradients_.k, problem_.kv_heads, plan_.keys, problem_.dim, of_keys, additions,
                 key_heads);
    Sums<Real> v(gradients_.v, problem_.kv_heads, plan_.keys, problem_.value_dim, of_keys,
                 additions, key_heads);
    const std::int64_t band = whole ? std::max<std::int64_t>(plan_.bundles, 1) : plan_.band;
    for (std::int64_t first = 0; first < plan_.bundles; first += band) {
      const Extent bundles{first, std::min(first + band, plan_.bundles)};
      q.Begin(whole ? 0 : first * problem_.group);
      k.Begin(whole ? 0 : first);
      v.Begin(whole ? 0 : first);
      for (std::int64_t round = 0; round < plan_.rounds; ++round) {
        const std::int64_t main = plan_.MainCount();
        ParallelFor(bundles.Size() * main, context_.threads, [&](std::int64_t task) {
          RunTask(bundles.begin + task / main, task % main, round, q, k, v);
        });
      }
      ForEachHead(bundles, problem_.group, plan_.queries.Count(),
                  [&](std::int64_t batch, std::int64_t head, std::int64_t group) {
                    q.Finish(batch, head, group, kernels_);
                  });
      ForEachHead(bundles, 1, plan_.keys.Count(),
                  [&](std::int64_t batch, std::int64_t head, std::int64_t group) {
                    k.Finish(batch, head, group, kernels_);
                    v.Finish(batch, head, group, kernels_);
                  });
    }
  }

  // visit(batch, head, group) for all heads of the bundles, `members` for each key head.
  template <class Visit>
  void ForEachHead(Extent bundles, std::int64_t members, std::int64_t groups, const Visit& visit) {
    for (std::int64_t bundle = bundles.begin; bundle < bundles.end; ++bundle) {
      const Extent batches = BatchesOf(bundle), heads = HeadsOf(bundle);
      const std::int64_t width = heads.Size() * members;
      ParallelFor(batches.Size() * width * groups, context_.threads, [&](std::int64_t task) {
        visit(batches.begin + task / groups / width, heads.begin * members + task / groups % width,
              task % groups);
      });
    }
  }

  // Of the sums of a bias's pairs that are not added to its gradient at once.
  std::size_t PairElements(std::int64_t bundle) const {
    if (plan_.pair_interval == 0) return 0;
    const bool sums_heads = gradients_.bias.strides[1] == 0;
    const std::int64_t members = sums_heads ? 1 : HeadsOf(bundle).Size() * problem_.group;
    return static_cast<std::size_t>(members * plan_.queries.group * plan_.keys.group);
  }

  // Main group `main` of a bundle in a round.
  void RunTask(std::int64_t bundle, std::int64_t main, std::int64_t round, Sums<Real>& q,
               Sums<Real>& k, Sums<Real>& v) {
    const std::int64_t other = plan_.OtherOf(main, round), copy = plan_.CopyOf(main);
    if (other >= (plan_.by_keys ? plan_.queries : plan_.keys).Count()) return;
    const std::int64_t query_group = plan_.by_keys ? other : main;
    const std::int64_t key_group = plan_.by_keys ? main : other;
    const Extent queries = plan_.queries.At(query_group), keys = plan_.keys.At(key_group);
    const typename BufferPool<std::byte>::Lease memory(pool_, bytes_);
    const Buffer<Real> pairs(PairElements(bundle));
    std::vector<Target> to_q(static_cast<std::size_t>(problem_.group));
    const Extent batches = BatchesOf(bundle), heads = HeadsOf(bundle);
    for (std::int64_t batch = batches.begin; batch < batches.end; ++batch) {
      for (std::int64_t head = heads.begin; head < heads.end; ++head) {
        for (std::int64_t member = 0; member < problem_.group; ++member) {
          to_q[static_cast<std::size_t>(member)] =
              q.At(batch, head * problem_.group + member, plan_.by_keys ? copy : 0, query_group);
        }
        const std::int64_t key_copy = plan_.by_keys ? 0 : copy;
        kernels_.run({problem_,
                      gradients_,
                      plan_,
                      direction(),
                      score_ ? &*score_ : nullptr,
                      static_cast<int>(key_group),
                      score_elements_,
                      delta_.get(),
                      share_.get(),
                      batch,
                      head,
                      queries,
                      keys,
                      to_q.data(),
                      k.At(batch, head, key_copy, key_group),
                      v.At(batch, head, key_copy, key_group),
                      plan_.pair_interval == 0 ? nullptr : pairs.get(),
                      heads.begin * problem_.group,
                      vector_,
                      memory.get()});
      }
    }
  }

  const Problem& problem_;
  const Gradients& gradients_;
  const Context context_;
  const BackwardKernels<Real>& kernels_;
  std::optional<ScoreGradient> score_;
  std::optional<ScoreTangent> score_tangent_;
  std::optional<Direction<Real>> direction_;
  BackwardPlan plan_;
  std::int64_t score_elements_ = 0;
  std::size_t bytes_ = 0;
  Buffer<Real> delta_, share_, delta_tangent_, vector_memory_;
  Compensated<Real> vector_;
  BufferPool<std::byte> pool_;
};

template <class Real>
void Run(const Problem& problem, const Gradients& gradients, const Tangents* moves,
         const ResultTangents* results, Context context) {
  Runner<Real>(problem, gradients, moves, results, context).Run();
}

}  // namespace

void RunBackward(const Problem& problem, const Gradients& gradients, Context context) {
  (problem.is_double ? Run<double> : Run<float>)(problem, gradients, nullptr, nullptr, context);
}

void RunBackwardTangent(const Problem& problem, const Gradients& gradients,
                        const Tangents& tangents, const ResultTangents& results, Context context) {
  (problem.is_double ? Run<double> : Run<float>)(problem, gradients, &tangents, &results, context);
}

}  // namespace logsum::attend
