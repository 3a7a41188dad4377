#include "attention/arguments.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/text.hpp"

namespace logsum::attend {
namespace {

DType ArithmeticOf(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

void CheckRows(std::string_view function, std::string_view argument, const Tensor& tensor,
               std::string_view axes) {
  CheckTensor(function, argument, tensor);
  CheckFloating(function, argument, tensor);
  if (tensor.shape.size() != 4) {
    ThrowInvalid(function, argument, Text("4 axes ", axes), ShapeString(tensor.shape));
  }
}

std::int64_t IntegerAt(const Tensor& tensor, std::int64_t offset) {
  if (tensor.dtype == DType::i32) return static_cast<const std::int32_t*>(tensor.data)[offset];
  return static_cast<const std::int64_t*>(tensor.data)[offset];
}

// Of each batch entry; `all` if there are none.
std::vector<std::int64_t> Lengths(std::string_view function, std::string_view argument,
                                  const Tensor* tensor, std::int64_t batch, std::int64_t all) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(batch), all);
  if (tensor == nullptr) return lengths;
  CheckShape(function, argument, *tensor, std::array{batch});
  if (tensor->dtype != DType::i32 && tensor->dtype != DType::i64) {
    ThrowInvalid(function, argument, "int32 or int64", DTypeName(tensor->dtype));
  }
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t length = IntegerAt(*tensor, b * tensor->strides[0]);
    if (length < 0 || length > all) {
      ThrowInvalid(function, argument, Text("lengths in [0, ", all, "]"), Text(length, " at ", b));
    }
    lengths[static_cast<std::size_t>(b)] = length;
  }
  return lengths;
}

void CheckNumber(std::string_view function, std::string_view argument, double number,
                 bool is_allowed, std::string_view expected) {
  if (!is_allowed) ThrowInvalid(function, argument, expected, std::to_string(number));
}

}  // namespace

View<4> RowView(const Tensor& tensor) {
  auto view = BroadcastView<4>(tensor);
  if (tensor.shape[3] == 1) view.strides[3] = 1;
  return view;
}

Arguments::Arguments(std::string_view function, const Tensor& q, const Tensor& k, const Tensor& v,
                     const AttentionArrays& arrays, const Tensor& out, const Tensor& lse,
                     const AttentionOptions& options)
    : function_(function) {
  SetSizes(q, k, v);
  problem_.out = LikeOut("out", out);
  problem_.lse = LikeLse("lse", lse);
  SetOptions(options);
  SetArrays(arrays);
  SetScore(arrays, options.score);
}

void Arguments::SetSizes(const Tensor& q, const Tensor& k, const Tensor& v) {
  CheckRows(function_, "q", q, "(batch, heads, queries, dim)");
  CheckRows(function_, "k", k, "(batch, key heads, keys, dim)");
  CheckRows(function_, "v", v, "(batch, key heads, keys, value dim)");
  CheckDType(function_, "k", k, q.dtype);
  CheckDType(function_, "v", v, q.dtype);
  Problem& p = problem_;
  p.is_double = q.dtype == DType::f64;
  p.batch = q.shape[0];
  p.heads = q.shape[1];
  p.queries = q.shape[2];
  p.dim = q.shape[3];
  p.kv_heads = k.shape[1];
  p.keys = k.shape[2];
  p.value_dim = v.shape[3];
  CheckShape(function_, "k", k, std::array{p.batch, p.kv_heads, p.keys, p.dim});
  CheckShape(function_, "v", v, std::array{p.batch, p.kv_heads, p.keys, p.value_dim});
  if (p.kv_heads == 0 ? p.heads != 0 : p.heads % p.kv_heads != 0) {
    ThrowInvalid(function_, "q", Text("a number of heads that k's divides, ", p.kv_heads),
                 "shape " + ShapeString(q.shape));
  }
  p.group = p.kv_heads == 0 ? 1 : p.heads / p.kv_heads;
  p.q = RowView(q);
  p.k = RowView(k);
  p.v = RowView(v);
}

View<4> Arguments::LikeOut(std::string_view argument, const Tensor& tensor) const {
  const Problem& p = problem_;
  CheckShape(function_, argument, tensor, std::array{p.batch, p.heads, p.queries, p.value_dim});
  CheckDType(function_, argument, tensor, p.q.dtype);
  return RowView(tensor);
}

View<3> Arguments::LikeLse(std::string_view argument, const Tensor& tensor) const {
  const Problem& p = problem_;
  CheckShape(function_, argument, tensor, std::array{p.batch, p.heads, p.queries});
  CheckDType(function_, argument, tensor, ArithmeticOf(p.q.dtype));
  return BroadcastView<3>(tensor);
}

Gradients Arguments::Cotangents(const Tensor& grad_out, const Tensor* grad_lse) const {
  Gradients gradients;
  gradients.grad_out = LikeOut("grad_out", grad_out);
  if (grad_lse != nullptr) gradients.grad_lse = LikeLse("grad_lse", *grad_lse);
  return gradients;
}

ResultTangents Arguments::TangentsOfResults(const Tensor* out_tangent,
                                            const Tensor* lse_tangent) const {
  ResultTangents tangents;
  if (out_tangent != nullptr) tangents.out = LikeOut("out_tangent", *out_tangent);
  if (lse_tangent != nullptr) tangents.lse = LikeLse("lse_tangent", *lse_tangent);
  return tangents;
}

void Arguments::CheckCounterpart(std::string_view argument, const Tensor& counterpart,
                                 const Tensor& array) const {
  CheckShape(function_, argument, counterpart, array.shape);
  if (counterpart.dtype != ArithmeticOf(problem_.q.dtype)) {
    CheckDType(function_, argument, counterpart, array.dtype);
  }
}

void Arguments::CheckBesideQ(std::string_view argument, const Tensor& tensor) const {
  const DType q = problem_.q.dtype;
  if (tensor.dtype != ArithmeticOf(q)) CheckDType(function_, argument, tensor, q);
}

void Arguments::SetOptions(const AttentionOptions& options) {
  Problem& p = problem_;
  CheckNumber(function_, "scale", options.scale, std::isfinite(options.scale),
              "a finite number, or 0 for 1 / sqrt(dim)");
  // Beyond, float32 has no reciprocal of it.
  const bool is_cap = options.softcap >= 1e-30 && options.softcap <= 1e30;
  CheckNumber(function_, "softcap", options.softcap, is_cap || options.softcap == 0,
              "a number from 1e-30 to 1e30, or 0 for none");
  const double dim = static_cast<double>(std::max<std::int64_t>(p.dim, 1));
  p.scale = options.scale != 0 ? options.scale : 1 / std::sqrt(dim);
  p.softcap = options.softcap;
  p.causal = options.causal != AttentionOptions::Causal::none;
  p.bottom_right = options.causal == AttentionOptions::Causal::bottom_right;
  // Beyond all queries and keys a wider window changes nothing, and no sum of these overflows.
  const auto bound = [&](std::string_view argument, std::int64_t size) {
    if (size < -1) ThrowInvalid(function_, argument, "-1 (no bound) or more", Text(size));
    return std::min(size, p.queries + p.keys);
  };
  p.window_left = bound("window_left", options.window_left);
  p.window_right = bound("window_right", options.window_right);
}

View<4> Arguments::Broadcast(std::string_view argument, const Tensor& tensor) const {
  const Problem& p = problem_;
  const std::array full = {p.batch, p.heads, p.queries, p.keys};
  CheckTensor(function_, argument, tensor);
  const std::size_t rank = tensor.shape.size();
  bool fits = rank <= full.size();
  for (std::size_t axis = 0; fits && axis < rank; ++axis) {
    const std::int64_t size = tensor.shape[axis];
    fits = size == 1 || size == full[full.size() - rank + axis];
  }
  if (!fits) {
    ThrowInvalid(function_, argument, "a shape that broadcasts to " + ShapeString(full),
                 ShapeString(tensor.shape));
  }
  return BroadcastView<4>(tensor);
}

void Arguments::SetArrays(const AttentionArrays& arrays) {
  Problem& p = problem_;
  if (arrays.mask != nullptr) {
    CheckDType(function_, "mask", *arrays.mask, DType::boolean);
    p.mask = Broadcast("mask", *arrays.mask);
  }
  if (arrays.bias != nullptr) {
    CheckBesideQ("bias", *arrays.bias);
    p.bias = Broadcast("bias", *arrays.bias);
  }
  if (arrays.sinks != nullptr) {
    CheckShape(function_, "sinks", *arrays.sinks, std::array{p.heads});
    CheckBesideQ("sinks", *arrays.sinks);
    p.sinks = BroadcastView<1>(*arrays.sinks);
  }
  p.lengths_q = Lengths(function_, "lengths_q", arrays.lengths_q, p.batch, p.queries);
  p.lengths_k = Lengths(function_, "lengths_k", arrays.lengths_k, p.batch, p.keys);
}

void Arguments::SetScore(const AttentionArrays& arrays, std::string_view formula) {
  const std::size_t count = arrays.score_args.size();
  if (arrays.score_names.size() != count) {
    ThrowInvalid(function_, "score_names", Text("a name for each of ", count, " score_args"),
                 Text(arrays.score_names.size()));
  }
  if (formula.empty()) {
    if (count != 0) ThrowInvalid(function_, "score_args", "none without a score", Text(count));
    return;
  }
  score_ = std::make_unique<const Score>(formula, arrays.score_names, arrays.score_args, problem_);
  problem_.score = score_.get();
}

}  // namespace logsum::attend
