// Values that are not finite, added where their pairs take part.
#if defined(LOGSUM_ATTENTION_SPECIAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_ATTENTION_SPECIAL_INL_H_
#undef LOGSUM_ATTENTION_SPECIAL_INL_H_
#else
#define LOGSUM_ATTENTION_SPECIAL_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "attention/problem.hpp"
#include "attention/stage-inl.h"
#include "attention/tile.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {

// The terms that staging left out of out[i, :] += sum over j of weights[j, i] v[j, :]. `special`
// numbers rows from key `first` on. A pair whose p is 0 takes no part. `row` has room for a row.
// p[j, i] is at j * key_step + i * query_step, weights likewise.
template <class Real>
void AddSpecialValues(const View<4>& v, std::int64_t batch, std::int64_t head, std::int64_t first,
                      const SpecialRows& special, const TilePlace& place, const Real* p,
                      const Real* weights, std::int64_t dim, Real* row, Real* out,
                      std::int64_t stride, std::int64_t key_step = kTileQueries,
                      std::int64_t query_step = 1) {
  for (int n = 0; n < special.count; ++n) {
    const std::int64_t j = first + special.rows[n] - place.key;
    if (j < 0 || j >= place.keys) continue;
    ReadRow(v, batch, head, place.key + j, 0, dim, row);
    for (int i = 0; i < place.queries; ++i) {
      const std::int64_t at = j * key_step + i * query_step;
      if (p[at] == Real{0}) continue;
      const Real weight = weights[at];
      for (std::int64_t c = 0; c < dim; ++c) out[i * stride + c] += weight * row[c];
    }
  }
}

}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
