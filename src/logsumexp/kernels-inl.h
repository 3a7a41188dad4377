// The tasks of kernels.hpp, for one real type and one CPU target.
#if defined(LOGSUM_LOGSUMEXP_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_KERNELS_INL_H_
#undef LOGSUM_LOGSUMEXP_KERNELS_INL_H_
#else
#define LOGSUM_LOGSUMEXP_KERNELS_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "logsumexp/kernels.hpp"
#include "logsumexp/logaddexp-inl.h"
#include "logsumexp/tile-inl.h"
#include "logsumexp/tile_map-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {

// Calls body(std::integral_constant<MapKind, kind>).
template <class Body>
void VisitMapKind(MapKind kind, const Body& body) {
  switch (kind) {
    case MapKind::softmax:
      return body(std::integral_constant<MapKind, MapKind::softmax>());
    case MapKind::log_softmax:
      return body(std::integral_constant<MapKind, MapKind::log_softmax>());
    case MapKind::logsumexp_backward:
      return body(std::integral_constant<MapKind, MapKind::logsumexp_backward>());
    case MapKind::softmax_backward:
      return body(std::integral_constant<MapKind, MapKind::softmax_backward>());
    case MapKind::log_softmax_backward:
      return body(std::integral_constant<MapKind, MapKind::log_softmax_backward>());
  }
}

template <class Real>
void ReduceTask(const Plan& plan, std::int64_t tile, std::int64_t segment) {
  TileSum<Real> kernel(plan, tile);
  kernel.Reduce(plan.SegmentAt(segment));
  if (plan.num_segments == 1) {
    kernel.WriteLse();
  } else {
    kernel.StorePartials(segment);
  }
}

template <class Real>
void FoldTask(const Plan& plan, std::int64_t tile) {
  TileSum<Real> kernel(plan, tile);
  kernel.FoldPartials();
  kernel.WriteLse();
}

template <class Real>
void NormalizeTask(const Plan& plan, MapKind kind, std::int64_t tile, std::int64_t segment) {
  TileMap<Real> kernel(plan, tile);
  if (plan.num_segments == 1) {
    kernel.Reduce(plan.SegmentAt(segment));
    kernel.WriteLse();
  } else {
    kernel.LoadPartials();
  }
  kernel.PrepareForward();
  VisitMapKind(kind, [&](auto constant) {
    constexpr MapKind kKind = decltype(constant)::value;
    if constexpr (kKind == MapKind::softmax || kKind == MapKind::log_softmax) {
      kernel.template Map<kKind>(plan.SegmentAt(segment));
    }
  });
}

template <class Real>
void SumGradTask(const Plan& plan, MapKind kind, std::int64_t tile, std::int64_t segment) {
  TileMap<Real> kernel(plan, tile);
  kernel.PrepareBackward();
  VisitMapKind(kind, [&](auto constant) {
    constexpr MapKind kKind = decltype(constant)::value;
    if constexpr (kReadsGrad<kKind>) {
      kernel.template SumGrad<kKind>(plan.SegmentAt(segment));
      kernel.StorePartials(segment);
    }
  });
}

template <class Real>
void BackwardTask(const Plan& plan, MapKind kind, std::int64_t tile, std::int64_t segment) {
  TileMap<Real> kernel(plan, tile);
  kernel.PrepareBackward();
  VisitMapKind(kind, [&](auto constant) {
    constexpr MapKind kKind = decltype(constant)::value;
    if constexpr (kKind != MapKind::softmax && kKind != MapKind::log_softmax) {
      if (kReadsGrad<kKind> && plan.Has(kOutputGrad)) {
        if (plan.num_segments == 1) {
          kernel.template SumGrad<kKind>(plan.SegmentAt(0));
        } else {
          kernel.AddSegmentSums();
        }
      }
      kernel.template AddIncoming<kKind>();
      kernel.template Map<kKind>(plan.SegmentAt(segment));
    }
  });
}

template <class Real>
const KernelTable* Table() {
  static constexpr KernelTable table = {
      .reduce = ReduceTask<Real>,
      .fold = FoldTask<Real>,
      .normalize = NormalizeTask<Real>,
      .sum_grad = SumGradTask<Real>,
      .backward = BackwardTask<Real>,
      .logaddexp = LogAddExpTask<Real>,
  };
  return &table;
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
