// softmax and log_softmax: a logsumexp followed by a map of each slice.
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

namespace {

void Forward(std::string_view function, MapKind kind, const Tensor& a, int axis, Tensor& out,
             Tensor& lse, const Context& context) {
  const ReducedShape shape(function, a, {&axis, 1});
  shape.CheckFull("out", out);
  CheckDType(function, "out", out, a.dtype);
  shape.CheckLse("lse", lse);
  CheckOutputs(function, {{"out", &out}, {"lse", &lse}});

  std::array<const Tensor*, kNumSlots> slots{};
  slots[kInput] = &a;
  slots[kOutput] = &out;
  slots[kLse] = &lse;
  Plan plan = MakePlan(slots, shape.IsReduced());
  const PartialStore partials(plan);
  WithKernels(a.dtype, [&](const KernelTable& kernels) {
    if (plan.num_segments > 1) {
      ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
        kernels.reduce(plan, tile, segment);
      });
      ForEachTile(plan, context.threads, [&](std::int64_t tile) { kernels.fold(plan, tile); });
    }
    ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
      kernels.normalize(plan, kind, tile, segment);
    });
  });
}

void Backward(std::string_view function, MapKind kind, const Tensor* grad_out,
              const Tensor* grad_lse, const Tensor& a, const Tensor& lse, int axis, Tensor& grad_a,
              const Context& context) {
  const ReducedShape shape(function, a, {&axis, 1});
  if (grad_out != nullptr) {
    shape.CheckFull("grad_out", *grad_out);
    CheckDType(function, "grad_out", *grad_out, a.dtype);
  }
  if (grad_lse != nullptr) shape.CheckLse("grad_lse", *grad_lse);
  shape.CheckLse("lse", lse);
  shape.CheckFull("grad_a", grad_a);
  CheckDType(function, "grad_a", grad_a, a.dtype);
  CheckOutputs(function, {{"grad_a", &grad_a}});

  std::array<const Tensor*, kNumSlots> slots{};
  slots[kInput] = &a;
  slots[kOutput] = &grad_a;
  slots[kOutputGrad] = grad_out;
  slots[kLse] = &lse;
  slots[kLseGrad] = grad_lse;
  Plan plan = MakePlan(slots, shape.IsReduced());
  const PartialStore partials(plan);
  WithKernels(a.dtype, [&](const KernelTable& kernels) {
    if (plan.num_segments > 1 && grad_out != nullptr) {
      ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
        kernels.sum_grad(plan, kind, tile, segment);
      });
    }
    ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
      kernels.backward(plan, kind, tile, segment);
    });
  });
}

}  // namespace

void softmax(const Tensor& a, int axis, Tensor& out, Tensor& lse, Context context) {
  Forward("softmax", MapKind::softmax, a, axis, out, lse, context);
}

void log_softmax(const Tensor& a, int axis, Tensor& out, Tensor& lse, Context context) {
  Forward("log_softmax", MapKind::log_softmax, a, axis, out, lse, context);
}

void softmax_backward(const Tensor* grad_out, const Tensor* grad_lse, const Tensor& a,
                      const Tensor& lse, int axis, Tensor& grad_a, Context context) {
  Backward("softmax_backward", MapKind::softmax_backward, grad_out, grad_lse, a, lse, axis, grad_a,
           context);
}

void log_softmax_backward(const Tensor* grad_out, const Tensor* grad_lse, const Tensor& a,
                          const Tensor& lse, int axis, Tensor& grad_a, Context context) {
  Backward("log_softmax_backward", MapKind::log_softmax_backward, grad_out, grad_lse, a, lse, axis,
           grad_a, context);
}

}  // namespace logsum
