// The passes of attention, forward mode and the products they are made of, without Python.
//
//   Attention/128/2048/causal   B 1, H 8, M = N 2048, D = Dv 128, on one thread; float32
//   Tangent/64/2048             the same along a direction of q, k and v
//   Backward/64/2048            the gradients of q, k and v
//   BackwardTangent/64/2048     their derivatives along a direction of q, k and v
//   Decode/128/65536            one query of eight heads against 65536 keys
//   Product/scores/128          the three products of a tile, by what their left operand is, on
//                               AVX-512 or what is best here
//
// `cycles` is cycles per multiply-add (per byte read in Decode).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention_bench.cpp"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gemm/product-inl.h"
#include "measure.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::attend::HWY_NAMESPACE {
namespace {

using gemm::HWY_NAMESPACE::Product;
using gemm::HWY_NAMESPACE::Step;

// A tile of 128 keys by 32 queries.
void RegisterProducts() {
  constexpr std::int64_t kKeys = 128, kQueries = 32, kMost = 144;
  for (const std::int64_t dim : {64, 128}) {
    const auto add = [dim](const char* name, auto multiply) {
      const std::string full = std::string("Product/") + name + "/" + std::to_string(dim);
      benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
        const auto wide = hwy::AllocateAligned<float>(kKeys * kMost);
        const auto narrow = hwy::AllocateAligned<float>(kMost * kQueries);
        const auto tile = hwy::AllocateAligned<float>(kKeys * kQueries);
        std::fill_n(wide.get(), kKeys * kMost, 1.0F);
        std::fill_n(narrow.get(), kMost * kQueries, 1.0F);
        std::fill_n(tile.get(), kKeys * kQueries, 1.0F);
        const std::int64_t terms = kKeys * kQueries * dim;
        bench::Measure(state, static_cast<std::size_t>(terms), static_cast<std::size_t>(terms),
                       [&] { multiply(wide.get(), narrow.get(), tile.get()); });
      });
    };
    add("scores", [dim](float* keys, float* queries, float* tile) {
      Product<float>(keys, dim, Step<1>(), kKeys, queries, kQueries, kQueries, dim, tile, kQueries,
                     false);
    });
    add("values", [dim](float* values, float* out, float* tile) {
      Product<float>(tile, Step<1>(), Step<kQueries>(), kQueries, values, dim, dim, kKeys, out, dim,
                     false);
    });
    add("gradients", [dim](float* gradients, float* queries, float* tile) {
      Product<float>(tile, Step<kQueries>(), Step<1>(), kKeys, queries, dim, dim, kQueries,
                     gradients, dim, false);
    });
  }
}

}  // namespace
}  // namespace logsum::attend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "logsum/attention.hpp"

namespace logsum::attend {
namespace {

HWY_EXPORT(RegisterProducts);

struct Rows {
  Rows(std::int64_t heads, std::int64_t rows, std::int64_t dim)
      : shape{1, heads, rows, dim},
        strides{heads * rows * dim, rows * dim, dim, 1},
        values(static_cast<std::size_t>(heads * rows * dim)) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& value : values) value = uniform(random);
  }
  Tensor View() { return {.data = values.data(), .shape = shape, .strides = strides}; }
  // Of one number each.
  Tensor OfRows() {
    return {.data = values.data(),
            .shape = std::span(shape).first(3),
            .strides = std::span(strides).first(3)};
  }

  std::array<std::int64_t, 4> shape, strides;
  std::vector<float> values;
};

struct Work {
  std::int64_t queries, keys, dim;
  bool causal;
};

// Arguments and results of a call.
struct Call {
  static constexpr std::int64_t kHeads = 8;

  explicit Call(const Work& work)
      : q(kHeads, work.queries, work.dim),
        k(kHeads, work.keys, work.dim),
        v(kHeads, work.keys, work.dim),
        out(kHeads, work.queries, work.dim),
        lse(kHeads, work.queries, 1) {
    if (work.causal) options.causal = AttentionOptions::Causal::top_left;
  }
  void Run() {
    Tensor out_view = out.View(), lse_view = lse.OfRows();
    attention(q.View(), k.View(), v.View(), {}, out_view, lse_view, options, {.threads = 1});
  }

  Rows q, k, v, out, lse;
  AttentionOptions options;
};

std::size_t PairsOf(const Work& work) {
  return static_cast<std::size_t>(Call::kHeads * work.queries * work.keys / (work.causal ? 2 : 1));
}
std::size_t BytesOf(const Work& work) {
  return static_cast<std::size_t>(Call::kHeads * work.keys * work.dim * 2 * 4);
}

void RunAttention(benchmark::State& state, const Work& work) {
  Call call(work);
  const auto terms = PairsOf(work) * static_cast<std::size_t>(2 * work.dim);
  bench::Measure(state, work.queries == 1 ? BytesOf(work) : terms, BytesOf(work),
                 [&] { call.Run(); });
}

void RunTangent(benchmark::State& state, const Work& work) {
  Call call(work), along(work);
  call.Run();
  const Tensor q = along.q.View(), k = along.k.View(), v = along.v.View();
  Tensor out = along.out.View(), lse = along.lse.OfRows();
  bench::Measure(state, PairsOf(work) * static_cast<std::size_t>(5 * work.dim), 2 * BytesOf(work),
                 [&] {
                   attention_tangent(call.q.View(), call.k.View(), call.v.View(), {},
                                     call.out.View(), call.lse.OfRows(), {&q, &k, &v}, &out, &lse,
                                     call.options, {.threads = 1});
                 });
}

// is_tangent: the derivative of gradients, of twice the products.
void RunGradients(benchmark::State& state, const Work& work, bool is_tangent) {
  Call call(work), along(work), to(work);
  call.Run();
  const Tensor q = call.q.View(), k = call.k.View(), v = call.v.View();
  const Tensor q_moves = along.q.View(), k_moves = along.k.View(), v_moves = along.v.View();
  const Tensor out = call.out.View(), lse = call.lse.OfRows(), grad_out = along.out.View();
  Tensor out_tangent = to.out.View(), lse_tangent = to.lse.OfRows();
  const AttentionTangents moves{&q_moves, &k_moves, &v_moves};
  attention_tangent(q, k, v, {}, out, lse, moves, &out_tangent, &lse_tangent, call.options);
  Tensor q_to = to.q.View(), k_to = to.k.View(), v_to = to.v.View();
  AttentionGradients gradients{&q_to, &k_to, &v_to};
  const Context context{.threads = 1};
  const int products = is_tangent ? 10 : 5;
  const auto terms = PairsOf(work) * static_cast<std::size_t>(products * work.dim);
  bench::Measure(state, terms, 2 * BytesOf(work), [&] {
    if (is_tangent) {
      attention_backward_tangent(grad_out, nullptr, q, k, v, {}, out, lse, moves, out_tangent,
                                 lse_tangent, gradients, call.options, context);
    } else {
      attention_backward(grad_out, nullptr, q, k, v, {}, out, lse, gradients, call.options,
                         context);
    }
  });
}
void RunBackward(benchmark::State& state, const Work& work) { RunGradients(state, work, false); }
void RunBackwardTangent(benchmark::State& state, const Work& work) {
  RunGradients(state, work, true);
}

void Register(const std::string& name, void (*run)(benchmark::State&, const Work&),
              const Work& work) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, work); });
}

// Before main, which is Google Benchmark's.
[[maybe_unused]] const bool registered = [] {
  for (const std::int64_t dim : {64, 128}) {
    const std::string size = std::to_string(dim) + "/2048";
    for (const bool causal : {false, true}) {
      const std::string name = size + (causal ? "/causal" : "");
      Register("Attention/" + name, RunAttention, {2048, 2048, dim, causal});
      Register("Tangent/" + name, RunTangent, {2048, 2048, dim, causal});
      Register("Backward/" + name, RunBackward, {2048, 2048, dim, causal});
      Register("BackwardTangent/" + name, RunBackwardTangent, {2048, 2048, dim, causal});
    }
  }
  Register("Decode/128/65536", RunAttention, {1, 65536, 128, false});
  hwy::GetChosenTarget().Update(hwy::SupportedTargets() & HWY_TARGETS);
  HWY_DYNAMIC_DISPATCH(RegisterProducts)();
  return true;
}();

}  // namespace
}  // namespace logsum::attend
#endif
