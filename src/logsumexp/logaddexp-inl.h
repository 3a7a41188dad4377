// log(e^a + e^b) of two arrays, element by element.
#if defined(LOGSUM_LOGSUMEXP_LOGADDEXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_LOGADDEXP_INL_H_
#undef LOGSUM_LOGSUMEXP_LOGADDEXP_INL_H_
#else
#define LOGSUM_LOGSUMEXP_LOGADDEXP_INL_H_
#endif

#include "core/arena.hpp"
#include "core/logaddexp-inl.h"
#include "hwy/highway.h"
#include "logsumexp/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

using logsum::HWY_NAMESPACE::LogAddExp;

// One tile of a plan without reduced axes: kOutput from kInput (a) and kWeights (b).
template <class Real>
void LogAddExpTask(const Plan& plan, std::int64_t tile_index) {
  const hn::ScalableTag<Real> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const Tile tile = plan.TileAt(tile_index);
  Arena::Scope scope(3 * Arena::BytesFor<Real>(kMaxTileWidth));
  const BlockAccess<Real> a(plan, kInput, scope.Take<Real>(kMaxTileWidth));
  const BlockAccess<Real> b(plan, kWeights, scope.Take<Real>(kMaxTileWidth));
  const BlockAccess<Real> out(plan, kOutput, scope.Take<Real>(kMaxTileWidth));
  const Real* const x = a.Read(tile.first, 0, 1, tile.width, Real(0)).data;
  const Real* const y = b.Read(tile.first, 0, 1, tile.width, Real(0)).data;
  Real* const sum = out.Open(tile.first, 0, 1, tile.width).data;
  if (tile.width == 1) {
    const hn::CappedTag<Real, 1> d1;
    hn::StoreU(LogAddExp(d1, hn::LoadU(d1, x), hn::LoadU(d1, y)), d1, sum);
  } else {
    for (std::int64_t i = 0; i < tile.width; i += lanes) {
      const V vx = hn::LoadU(d, x + i), vy = hn::LoadU(d, y + i);
      hn::StoreU(LogAddExp(d, vx, vy), d, sum + i);
    }
  }
  out.Commit(tile.first, 0, 1, tile.width);
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
