// The table of kernels.hpp, for one real type and one CPU target.
#if defined(LOGSUM_MATMUL_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_MATMUL_KERNELS_INL_H_
#undef LOGSUM_MATMUL_KERNELS_INL_H_
#else
#define LOGSUM_MATMUL_KERNELS_INL_H_
#endif

#include "hwy/highway.h"
#include "matmul/blocks-inl.h"
#include "matmul/deep-inl.h"
#include "matmul/kernels.hpp"
#include "matmul/maximum-inl.h"
#include "matmul/repair-inl.h"
#include "matmul/tops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {

template <class Real>
const KernelTable<Real>* Table() {
  static constexpr KernelTable<Real> table = {
      .left_lines = kLeftLines<Real>,
      .right_lines = kRightLines<Real>,
      .scratch = kPackScratch,
      .prepare = Prepare<Real>,
      .multiply = MultiplyGroups<Real>,
      .multiply_tile = MultiplyOneTile<Real>,
      .tile_size = kTileSize<Real>,
      .survey = Survey<Real>,
      .describe = Describe<Real>,
      .pack = Pack<Real>,
      .accumulate = Accumulate<Real>,
      .finish = Finish<Real>,
      .repair = Repair<Real>,
      .line_tops = LineTops<Real>,
      .depth_tops = DepthTops<Real>,
      .maximum = Maximum<Real>,
  };
  return &table;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
