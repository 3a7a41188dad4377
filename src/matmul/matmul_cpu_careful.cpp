// The last rung, compiled once for each CPU target.
#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "matmul/matmul_cpu_careful.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "matmul/careful-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::matmul::HWY_NAMESPACE {
namespace {

void Careful(const Plan& plan, const Tile& tile, const std::uint8_t* wanted) {
  const auto is_wanted = [&](std::int64_t row, std::int64_t column) {
    return wanted == nullptr || wanted[row * kCarefulWidth + column] != 0;
  };
  if (plan.is_mean) {
    CarefulMeans(plan, tile, is_wanted);
  } else {
    CarefulSums(plan, tile, is_wanted);
  }
}

}  // namespace
}  // namespace logsum::matmul::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "core/target.hpp"

namespace logsum::matmul {

HWY_EXPORT(Careful);

void RunCareful(const Plan& plan, const Tile& tile, const std::uint8_t* wanted) {
  EnsureTarget();
  HWY_DYNAMIC_DISPATCH(Careful)(plan, tile, wanted);
}

}  // namespace logsum::matmul
#endif
