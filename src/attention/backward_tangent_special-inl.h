// Special pairs (backward_special-inl.h) where gradients are differentiated: what is not finite may
// be a tangent, too.
#if defined(LOGSUM_ATTENTION_BACKWARD_TANGENT_SPECIAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_BACKWARD_TANGENT_SPECIAL_INL_H_
#undef LOGSUM_ATTENTION_BACKWARD_TANGENT_SPECIAL_INL_H_
#else
#define LOGSUM_ATTENTION_BACKWARD_TANGENT_SPECIAL_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "attention/backward_kernels.hpp"
#include "attention/backward_memory-inl.h"
#include "attention/backward_special-inl.h"
#include "attention/backward_tangent_block-inl.h"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

template <class Real>
class SpecialTangents : public SpecialPairs<Real> {
  using Base = SpecialPairs<Real>;
  using Base::kv_head_;
  using Base::lane_;
  using Base::memory_;
  using Base::place_;
  using Base::problem_;

 public:
  SpecialTangents(const Problem& problem, const View<4>& grad_out, const Tangents& moves,
                  const CellMemory<Real>& memory, const TangentMemory<Real>& tangents,
                  const TilePlace& place, std::int64_t lane)
      : Base(problem, grad_out, memory, place, lane), moves_(moves), tangents_(tangents) {}

  // The tangents of what Scores and Products are of.
  void ScoreTangents() const {
    this->ForEach([&](int i, int j) {
      if (!this->IsScoreSpecial(i, j)) return;
      Real sum = 0;
      if (moves_.q) {
        ReadQueryTangent(i);
        ReadKey(problem_.k, j, problem_.dim, memory_.other_row);
        sum += this->Dot(problem_.dim);
      }
      if (moves_.k) {
        this->ReadQuery(i, memory_.row);
        ReadKey(moves_.k, j, problem_.dim, memory_.other_row);
        sum += this->Dot(problem_.dim);
      }
      tangents_.scores[j * kTileQueries + i] = sum;
    });
  }
  void ProductTangents() const {
    this->ForEach([&](int i, int j) {
      if (!this->IsProductSpecial(i, j)) return;
      this->ReadGradient(i, memory_.row);
      ReadKey(moves_.v, j, problem_.value_dim, memory_.other_row);
      tangents_.grads[j * kTileQueries + i] = this->Dot(problem_.value_dim);
    });
  }

  // p's tangent, gradients of scores and their tangents of the whole tile, as Weigh.
  void Weigh(bool has_grads) const {
    for (int j = 0; j < place_.keys; ++j) {
      for (int i = 0; i < kTileQueries; ++i) {
        const int at = j * kTileQueries + i;
        const std::int64_t row = lane_ + i;
        const Real p = this->Probability(i, memory_.scores[at]);
        const Real moved = p == 0 ? 0 : p * (tangents_.scores[at] - tangents_.lse[row]);
        memory_.scores[at] = moved;
        if (!has_grads) continue;
        const Real grad = memory_.grads[at] - memory_.delta[row];
        const Real product = moves_.v ? tangents_.grads[at] : 0;
        memory_.grads[at] = p == 0 ? 0 : p * grad;
        tangents_.grads[at] = p == 0 ? 0 : moved * grad + p * (product - tangents_.delta[row]);
      }
    }
  }

  // Adds the pairs' terms to the sums, and takes the pairs out of the tile.
  void Add(bool to_q, bool to_k, bool to_v) const {
    this->ForEach([&](int i, int j) {
      Real& moved = memory_.scores[j * kTileQueries + i];
      Real& grad = memory_.grads[j * kTileQueries + i];
      Real& grad_tangent = tangents_.grads[j * kTileQueries + i];
      Real* const row = memory_.row;
      if (to_v && moved != 0) {
        this->ReadGradient(i, row);
        this->AddTo(memory_.dv + j * memory_.value_stride, moved, problem_.value_dim);
      }
      if (to_k && grad_tangent != 0) {
        this->ReadQuery(i, row);
        this->AddTo(memory_.dk + j * memory_.stride, grad_tangent, problem_.dim);
      }
      if (to_k && moves_.q && grad != 0) {
        ReadQueryTangent(i);
        this->AddTo(memory_.dk + j * memory_.stride, grad, problem_.dim);
      }
      if (to_q && grad_tangent != 0) {
        ReadKey(problem_.k, j, problem_.dim, row);
        this->AddTo(memory_.dq + (lane_ + i) * memory_.stride, grad_tangent, problem_.dim);
      }
      if (to_q && moves_.k && grad != 0) {
        ReadKey(moves_.k, j, problem_.dim, row);
        this->AddTo(memory_.dq + (lane_ + i) * memory_.stride, grad, problem_.dim);
      }
      moved = grad = grad_tangent = 0;
    });
  }

 private:
  void ReadQueryTangent(int i) const {
    ReadRow(moves_.q, place_.batch, place_.head, place_.query + i, 0, problem_.dim, memory_.row);
    this->ScaleQuery(memory_.row);
  }
  void ReadKey(const View<4>& array, int j, std::int64_t dim, Real* row) const {
    ReadRow(array, place_.batch, kv_head_, place_.key + j, 0, dim, row);
  }

  const Tangents& moves_;
  const TangentMemory<Real>& tangents_;
};

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
