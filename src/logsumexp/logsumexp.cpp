#include "logsum/logsumexp.hpp"

#include <array>

#include "core/errors.hpp"
#include "logsumexp/arguments.hpp"
#include "logsumexp/kernels.hpp"
#include "logsumexp/plan.hpp"
#include "logsumexp/run.hpp"

namespace logsum {

using namespace reduction;

void logsumexp(const Tensor& a, std::span<const int> axes, const Tensor* weights,
               const Tensor* where, Tensor& out, Tensor* sign, Context context) {
  constexpr std::string_view kFunction = "logsumexp";
  const ReducedShape shape(kFunction, a, axes);
  if (weights != nullptr) {
    shape.CheckFull("weights", *weights);
    CheckDType(kFunction, "weights", *weights, a.dtype);
  }
  if (where != nullptr) {
    shape.CheckFull("where", *where);
    CheckDType(kFunction, "where", *where, DType::boolean);
  }
  shape.CheckLse("out", out);
  if (sign != nullptr) {
    shape.CheckKept("sign", *sign);
    CheckDType(kFunction, "sign", *sign, out.dtype);
  }
  CheckOutputs(kFunction, {{"out", &out}, {"sign", sign}});

  std::array<const Tensor*, kNumSlots> slots{};
  slots[kInput] = &a;
  slots[kWhere] = where;
  slots[kLse] = &out;
  if (weights != nullptr || sign != nullptr) {
    // Without weights every term has weight one, read from one element that does not move.
    static constexpr float kOne = 1;
    constexpr std::array<std::int64_t, Tensor::max_axes> kStill{};
    const Tensor ones{const_cast<float*>(&kOne),
                      DType::f32,
                      Device::cpu,
                      0,
                      a.shape,
                      std::span(kStill).first(a.shape.size())};
    slots[kWeights] = weights != nullptr ? weights : &ones;
    slots[kSign] = sign;
    const Plan plan = MakePlan(slots, shape.IsReduced());
    const WeightedKernelTable& kernels = WeightedKernels();
    ForEachTile(plan, context.threads, [&](std::int64_t tile) { kernels.reduce(plan, tile); });
    return;
  }

  Plan plan = MakePlan(slots, shape.IsReduced());
  const PartialStore partials(plan);
  WithKernels(a.dtype, [&](const KernelTable& kernels) {
    ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
      kernels.reduce(plan, tile, segment);
    });
    if (plan.num_segments == 1) return;
    ForEachTile(plan, context.threads, [&](std::int64_t tile) { kernels.fold(plan, tile); });
  });
}

void logsumexp_backward(const Tensor& grad, const Tensor& a, const Tensor& out,
                        std::span<const int> axes, Tensor& grad_a, Context context) {
  logsumexp_backward(grad, a, nullptr, nullptr, out, nullptr, axes, &grad_a, nullptr, context);
}

void logsumexp_backward(const Tensor& grad, const Tensor& a, const Tensor* weights,
                        const Tensor* where, const Tensor& out, const Tensor* sign,
                        std::span<const int> axes, Tensor* grad_a, Tensor* grad_weights,
                        Context context) {
  constexpr std::string_view kFunction = "logsumexp_backward";
  const ReducedShape shape(kFunction, a, axes);
  const auto check_full = [&](std::string_view name, const Tensor* tensor, DType dtype) {
    if (tensor == nullptr) return;
    shape.CheckFull(name, *tensor);
    CheckDType(kFunction, name, *tensor, dtype);
  };
  check_full("weights", weights, a.dtype);
  check_full("where", where, DType::boolean);
  check_full("grad_a", grad_a, a.dtype);
  check_full("grad_weights", grad_weights, a.dtype);
  shape.CheckLse("grad", grad);
  shape.CheckLse("out", out);
  if (sign != nullptr) shape.CheckLse("sign", *sign);
  CheckOutputs(kFunction, {{"grad_a", grad_a}, {"grad_weights", grad_weights}});

  std::array<const Tensor*, kNumSlots> slots{};
  slots[kInput] = &a;
  slots[kWhere] = where;
  slots[kOutput] = grad_a;
  slots[kLse] = &out;
  slots[kLseGrad] = &grad;
  if (weights != nullptr || sign != nullptr || grad_weights != nullptr) {
    slots[kWeights] = weights;
    slots[kWeightsGrad] = grad_weights;
    slots[kSign] = sign;
    const Plan plan = MakePlan(slots, shape.IsReduced());
    const WeightedKernelTable& kernels = WeightedKernels();
    ForEachTile(plan, context.threads, [&](std::int64_t tile) { kernels.backward(plan, tile); });
    return;
  }
  if (grad_a == nullptr) return;
  const Plan plan = MakePlan(slots, shape.IsReduced());
  WithKernels(a.dtype, [&](const KernelTable& kernels) {
    ForEachSegment(plan, context.threads, [&](std::int64_t tile, std::int64_t segment) {
      kernels.backward(plan, MapKind::logsumexp_backward, tile, segment);
    });
  });
}

}  // namespace logsum
