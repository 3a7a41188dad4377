// Pairs of a tile with a query, key, value or gradient that is not finite, or a query whose row is
// not: one by one, from the arrays as they are, and only where they take part. Rare, so plain.
#if defined(LOGSUM_ATTENTION_BACKWARD_SPECIAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_SPECIAL_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_SPECIAL_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_SPECIAL_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "attention/backward_memory-inl.h"
#include "attention/problem.hpp"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// Why a query or key is special: what of it is not finite. A row is its lse (but for -inf) or
// delta.
inline constexpr std::uint8_t kSpecialQ = 1, kSpecialGrad = 2, kSpecialRow = 4;
inline constexpr std::uint8_t kSpecialK = 1, kSpecialV = 2;

template <class Real>
class SpecialPairs {
 public:
  // lane, key: the tile's first query and key within what is staged.
  SpecialPairs(const Problem& problem, const View<4>& grad_out, const CellMemory<Real>& memory,
               const TilePlace& place, std::int64_t lane)
      : problem_(problem),
        grad_out_(grad_out),
        memory_(memory),
        place_(place),
        kv_head_(place.head / problem.group),
        lanes_(memory.special_lanes + lane),
        lane_(lane) {
    const auto is_special = [](std::uint8_t x) { return x != 0; };
    any_ = std::any_of(lanes_, lanes_ + place.queries, is_special) ||
           std::any_of(memory.special_keys, memory.special_keys + place.keys, is_special);
  }

  bool any() const { return any_; }

  // q . k for the pairs where staging left something out.
  void Scores() const {
    ForEach([&](int i, int j) {
      if (!IsScoreSpecial(i, j)) return;
      ReadQuery(i, memory_.row);
      ReadRow(problem_.k, place_.batch, kv_head_, place_.key + j, 0, problem_.dim,
              memory_.other_row);
      memory_.scores[j * kTileQueries + i] = Dot(problem_.dim);
    });
  }
  void Products() const {
    ForEach([&](int i, int j) {
      if (!IsProductSpecial(i, j)) return;
      ReadGradient(i, memory_.row);
      ReadRow(problem_.v, place_.batch, kv_head_, place_.key + j, 0, problem_.value_dim,
              memory_.other_row);
      memory_.grads[j * kTileQueries + i] = Dot(problem_.value_dim);
    });
  }

  // p and gradients of scores of the whole tile; scores have their offsets. A pair with p = 0 takes
  // no part.
  void Weigh(bool has_grads) const {
    for (int j = 0; j < place_.keys; ++j) {
      for (int i = 0; i < kTileQueries; ++i) {
        Real& score = memory_.scores[j * kTileQueries + i];
        Real& grad = memory_.grads[j * kTileQueries + i];
        const Real p = score = Probability(i, score);
        if (has_grads) grad = p == 0 ? 0 : p * (grad - memory_.delta[lane_ + i]);
      }
    }
  }

  // Adds the pairs' terms to the sums, and takes the pairs out of the tile.
  void Add(bool to_q, bool to_k, bool to_v) const {
    ForEach([&](int i, int j) {
      Real& p = memory_.scores[j * kTileQueries + i];
      Real& grad = memory_.grads[j * kTileQueries + i];
      if (to_v && p != 0) {
        ReadGradient(i, memory_.row);
        AddTo(memory_.dv + j * memory_.value_stride, p, problem_.value_dim);
      }
      if (to_k && grad != 0) {
        ReadQuery(i, memory_.row);
        AddTo(memory_.dk + j * memory_.stride, grad, problem_.dim);
      }
      if (to_q && grad != 0) {
        ReadRow(problem_.k, place_.batch, kv_head_, place_.key + j, 0, problem_.dim, memory_.row);
        AddTo(memory_.dq + (lane_ + i) * memory_.stride, grad, problem_.dim);
      }
      p = grad = 0;
    });
  }

 protected:
  bool IsScoreSpecial(int i, int j) const {
    return ((lanes_[i] & kSpecialQ) | (memory_.special_keys[j] & kSpecialK)) != 0;
  }
  bool IsProductSpecial(int i, int j) const {
    return ((lanes_[i] & kSpecialGrad) | (memory_.special_keys[j] & kSpecialV)) != 0;
  }
  template <class Visit>
  void ForEach(const Visit& visit) const {
    for (int j = 0; j < place_.keys; ++j) {
      for (int i = 0; i < place_.queries; ++i) {
        if ((lanes_[i] | memory_.special_keys[j]) != 0) visit(i, j);
      }
    }
  }
  void ReadQuery(int i, Real* row) const {
    ReadRow(problem_.q, place_.batch, place_.head, place_.query + i, 0, problem_.dim, row);
    ScaleQuery(row);
  }
  void ScaleQuery(Real* row) const {
    for (std::int64_t c = 0; c < problem_.dim; ++c) row[c] *= static_cast<Real>(problem_.scale);
  }
  void ReadGradient(int i, Real* row) const {
    ReadRow(grad_out_, place_.batch, place_.head, place_.query + i, 0, problem_.value_dim, row);
  }
  Real Probability(int i, Real score) const {
    constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
    if (i >= place_.queries || score == -kInfinity) return 0;
    const Real lse = memory_.lse[lane_ + i], share = memory_.share[lane_ + i];
    if (lse == kInfinity) return score == kInfinity ? share : 0;
    return share * (score > lse ? 1 : std::exp(score - lse));
  }
  Real Dot(std::int64_t dim) const {
    double sum = 0;
    for (std::int64_t c = 0; c < dim; ++c) {
      sum += static_cast<double>(memory_.row[c] * memory_.other_row[c]);
    }
    return static_cast<Real>(sum);
  }
  void AddTo(Real* sums, Real factor, std::int64_t dim) const {
    for (std::int64_t c = 0; c < dim; ++c) sums[c] += factor * memory_.row[c];
  }

  const Problem& problem_;
  const View<4>& grad_out_;
  const CellMemory<Real>& memory_;
  const TilePlace& place_;
  const std::int64_t kv_head_;
  const std::uint8_t* const lanes_;
  const std::int64_t lane_;
  bool any_;
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
