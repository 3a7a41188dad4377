#include <array>
#include <string_view>

#include "core/errors.hpp"
#include "logsum/logsumexp.hpp"
#include "logsumexp/arguments.hpp"
#include "logsumexp/kernels.hpp"
#include "logsumexp/plan.hpp"
#include "logsumexp/run.hpp"

namespace logsum {

using namespace reduction;

void logaddexp(const Tensor& a, const Tensor& b, Tensor& out, Context context) {
  constexpr std::string_view kFunction = "logaddexp";
  const ReducedShape shape(kFunction, a, {});
  shape.CheckFull("b", b);
  CheckDType(kFunction, "b", b, a.dtype);
  shape.CheckFull("out", out);
  CheckDType(kFunction, "out", out, a.dtype);
  CheckOutputs(kFunction, {{"out", &out}});

  std::array<const Tensor*, kNumSlots> slots{};
  slots[kInput] = &a;
  slots[kWeights] = &b;
  slots[kOutput] = &out;
  const Plan plan = MakePlan(slots, shape.IsReduced());
  WithKernels(a.dtype, [&](const KernelTable& kernels) {
    ForEachTile(plan, context.threads, [&](std::int64_t tile) { kernels.logaddexp(plan, tile); });
  });
}

}  // namespace logsum
