// What the functions of scan.hpp accept: graphs of both kinds, any strides; and what they refuse.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/scan.hpp"
#include "message.hpp"
#include "scan/graph.hpp"
#include "scan_problem.hpp"
#include "view.hpp"

namespace logsum::testing {
namespace {

TEST(ScanGraph, FromAnIndex) {
  IndexArray idx({3, 2}, {0, -1, 2, 0, -1, 1});
  const Graph graph = Graph::from_index(idx);
  EXPECT_EQ(graph.num_states(), 3);
  EXPECT_EQ(graph.num_slots(), 6);
  EXPECT_EQ(graph.num_arcs(), 4);
  EXPECT_EQ(graph.width(), 2);
  const Graph::Arcs& arcs = graph.arcs();
  EXPECT_EQ(arcs.into.begin, (Indices{0, 1, 3, 4}));
  EXPECT_EQ(arcs.out_of.begin, (Indices{0, 2, 3, 4}));
  EXPECT_EQ(arcs.out_of.arcs[1].state, 1);
  EXPECT_EQ(arcs.out_of.arcs[1].slot, 3);
  EXPECT_EQ(arcs.MaxDegree(), 2);

  const Graph none = Graph::from_index(IndexArray({0, 4}));
  EXPECT_EQ(none.num_slots(), 0);
}

// The same arcs as an index with padding, whose slots hold NaN, and as a list.
TEST(ScanGraph, PaddingIsNeverRead) {
  std::mt19937 random(31);
  std::normal_distribution<double> normal;
  const std::int64_t states = 6, width = 4, slots = states * width;
  IndexArray idx({states, width});
  ArcList arcs{states, {}, {}};
  Indices kept;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const std::int64_t from = static_cast<std::int64_t>(random() % 8) - 2;
    idx.values[static_cast<std::size_t>(slot)] = from < 0 ? -1 : from;
    if (from < 0) continue;
    kept.push_back(slot);
    arcs.source.push_back(from);
    arcs.target.push_back(slot / width);
  }
  for (const double sigma : {1.0, 500.0}) {
    for (const Semiring semiring : {Semiring::log, Semiring::max}) {
      ScanProblem<float> list(arcs, 9, 11);
      list.Fill([&] { return sigma * normal(random); });
      list.Run({.semiring = semiring});
      Array<float> Ms({9, 11, states, width}), grad({9, 11, states, width}), logZ({11});
      Ms.Fill([] { return kNaN; });
      grad.Fill([] { return 5; });
      for (std::int64_t tn = 0; tn < 99; ++tn) {
        for (std::size_t e = 0; e < kept.size(); ++e) {
          Ms.Set(tn * slots + kept[e],
                 list.Ms.Get(tn * arcs.Size() + static_cast<std::int64_t>(e)));
        }
      }
      Tensor out = logZ, of_Ms = grad;
      logsum::logZ(Ms, Graph::from_index(idx), list.v0, list.vT, nullptr, out, &of_Ms, nullptr,
                   nullptr, {.semiring = semiring});
      EXPECT_TRUE(logZ == list.logZ);
      for (std::int64_t tn = 0; tn < 99; ++tn) {
        std::size_t e = 0;
        for (std::int64_t slot = 0; slot < slots; ++slot) {
          const bool is_arc = e < kept.size() && kept[e] == slot;
          const double want =
              is_arc ? list.grad_Ms.Get(tn * arcs.Size() + static_cast<std::int64_t>(e)) : 0;
          ASSERT_EQ(grad.Get(tn * slots + slot), want);
          e += is_arc ? 1 : 0;
        }
      }
    }
  }
}

// Views of larger arrays, axes in another order or reversed, against contiguous copies.
template <class T>
void CheckViews() {
  std::mt19937 random(32);
  std::normal_distribution<double> normal;
  const std::int64_t states = 5, width = 3, steps = 8, sequences = 13;
  IndexArray idx({states, width}, {});
  for (std::int64_t& from : idx.values) from = static_cast<std::int64_t>(random() % 5);
  ArcList arcs{states, idx.values, {}};
  for (std::int64_t slot = 0; slot < states * width; ++slot) arcs.target.push_back(slot / width);
  Array<T> large_Ms({width, states, sequences, 2 * steps}), large_v({states, 2 * sequences});
  Array<T> large_grad({sequences, states, width, steps}), large_grad_v({states, sequences});
  large_Ms.Fill([&] { return normal(random); });
  large_v.Fill([&] { return normal(random); });
  const View Ms = View(large_Ms).EverySecond(3).Swap(0, 3).Swap(1, 2).Reverse(0).Reverse(2);
  const View v = View(large_v).Swap(0, 1).EverySecond(0).Reverse(1);
  const View grad = View(large_grad).Swap(0, 3).Swap(1, 3).Swap(2, 3).Reverse(1);
  const View grad_v = View(large_grad_v).Swap(0, 1);

  ScanProblem<T> copy(arcs, steps, sequences);
  for (std::int64_t i = 0; i < copy.Ms.Size(); ++i) {
    copy.Ms.Set(i, ToFloat(Ms.template At<T>(i)));
  }
  for (std::int64_t i = 0; i < copy.v0.Size(); ++i) {
    copy.v0.Set(i, ToFloat(v.template At<T>(i)));
    copy.vT.Set(i, ToFloat(v.template At<T>(i)));
  }
  using Wide = typename ScanProblem<T>::Wide;
  for (const Semiring semiring : {Semiring::log, Semiring::max}) {
    copy.Run({.semiring = semiring});
    Array<Wide> sums({2 * sequences});
    const View sums_view = View(sums).EverySecond(0).Reverse(0);
    Tensor out = sums_view, of_Ms = grad, of_v0 = grad_v;
    logsum::logZ(Ms, Graph::from_index(idx), v, v, nullptr, out, &of_Ms, &of_v0, nullptr,
                 {.semiring = semiring});
    for (std::int64_t n = 0; n < sequences; ++n) {
      EXPECT_EQ(sums.Get(2 * (sequences - 1 - n)), copy.logZ.Get(n));
    }
    for (std::int64_t i = 0; i < copy.grad_Ms.Size(); ++i) {
      ASSERT_EQ(ToFloat(grad.template At<T>(i)), copy.grad_Ms.Get(i)) << i;
    }
    for (std::int64_t i = 0; i < copy.grad_v0.Size(); ++i) {
      ASSERT_EQ(ToFloat(grad_v.template At<T>(i)), copy.grad_v0.Get(i)) << i;
    }
  }
}

TEST(ScanInterface, AnyStrides) {
  CheckViews<float>();
  CheckViews<double>();
  CheckViews<Half>();
}

TEST(ScanErrors, Graphs) {
  const auto index = [](IndexArray idx) { return MessageOf([&] { Graph::from_index(idx); }); };
  EXPECT_EQ(index(IndexArray({4}, {0, 1, 2, 3})),
            "Graph.from_index: idx: expected shape (C, nz), got (4,)");
  EXPECT_EQ(index(IndexArray({2, 1}, {0, 2})),
            "Graph.from_index: idx: expected states from -1 to 1, got 2");
  EXPECT_EQ(index(IndexArray({2, 1}, {-2, 0})),
            "Graph.from_index: idx: expected states from -1 to 1, got -2");
  Array<float> floats({2, 2});
  EXPECT_EQ(MessageOf([&] { Graph::from_index(floats); }),
            "Graph.from_index: idx: expected int32 or int64, got float32");
  const auto arcs = [](IndexArray source, IndexArray target, std::int64_t states) {
    return MessageOf([&] { Graph::from_arcs(source, target, states); });
  };
  EXPECT_EQ(arcs(IndexArray({2}, {0, 1}), IndexArray({1}, {0}), 2),
            "Graph.from_arcs: target: expected shape (2,), got (1,)");
  EXPECT_EQ(arcs(IndexArray({1}, {-1}), IndexArray({1}, {0}), 2),
            "Graph.from_arcs: source: expected states from 0 to 1, got -1");
  EXPECT_EQ(arcs(IndexArray({1}, {0}), IndexArray({1}, {2}), 2),
            "Graph.from_arcs: target: expected states from 0 to 1, got 2");
  EXPECT_EQ(arcs(IndexArray({1}, {0}), IndexArray({1}, {0}), -1),
            "Graph.from_arcs: num_states: expected 0 to 2^31 - 1, got -1");
}

TEST(ScanErrors, Operands) {
  ScanProblem<float> good({3, {0, 1}, {1, 2}}, 4, 2);
  good.grad_Ms.Fill([] { return 3; });
  Array<float> wrong({7});
  Array<double> wide({2, 3}), wide_sums({2});
  IndexArray wrong_count({3}, {1, 1, 1}), too_long({2}, {1, 5}), negative({2}, {-1, 2});
  IndexArray states({5, 2}), slots({4, 2}), few({4, 3});
  Tensor Ms = good.Ms, v0 = good.v0, vT = good.vT, sums = good.logZ, grad = good.grad_Ms;
  Tensor bad = wrong, bad_v = wide, bad_sums = wide_sums, path = states, arcs = slots,
         bad_arcs = few, floats = good.grad_v0;
  const auto sum = [&](const Tensor& m, const Tensor& first, const Tensor& last,
                       const Tensor* lengths, Tensor& out, Tensor* of_Ms,
                       ScanOptions options = {}) {
    return MessageOf(
        [&] { logZ(m, good.graph, first, last, lengths, out, of_Ms, nullptr, nullptr, options); });
  };
  EXPECT_EQ(sum(bad, v0, vT, nullptr, sums, &grad), "logZ: Ms: expected shape (T, N, 2), got (7,)");
  EXPECT_EQ(sum(path, v0, vT, nullptr, sums, &grad),
            "logZ: Ms: expected float16, bfloat16, float32 or float64, got int64");
  EXPECT_EQ(sum(Ms, bad, vT, nullptr, sums, &grad), "logZ: v0: expected shape (2, 3), got (7,)");
  EXPECT_EQ(sum(Ms, v0, bad_v, nullptr, sums, &grad), "logZ: vT: expected float32, got float64");
  EXPECT_EQ(sum(Ms, v0, vT, nullptr, bad, &grad), "logZ: logZ: expected shape (2,), got (7,)");
  EXPECT_EQ(sum(Ms, v0, vT, nullptr, bad_sums, &grad), "logZ: logZ: expected float32, got float64");
  EXPECT_EQ(sum(Ms, v0, vT, nullptr, sums, &bad),
            "logZ: grad_Ms: expected shape (4, 2, 2), got (7,)");
  EXPECT_EQ(sum(Ms, v0, vT, nullptr, sums, &grad, {.checkpoint = -2}),
            "logZ: checkpoint: expected -1, 0 or an interval, got -2");
  Tensor lengths = wrong_count;
  EXPECT_EQ(sum(Ms, v0, vT, &lengths, sums, &grad), "logZ: lengths: expected shape (2,), got (3,)");
  lengths = too_long;
  EXPECT_EQ(sum(Ms, v0, vT, &lengths, sums, &grad),
            "logZ: lengths: expected lengths in [0, 4], got 5 at 1");
  lengths = negative;
  EXPECT_EQ(sum(Ms, v0, vT, &lengths, sums, &grad),
            "logZ: lengths: expected lengths in [0, 4], got -1 at 0");
  // Nothing was written.
  for (std::int64_t i = 0; i < good.grad_Ms.Size(); ++i) EXPECT_EQ(good.grad_Ms.Get(i), 3);

  EXPECT_EQ(MessageOf([&] { viterbi(Ms, good.graph, v0, vT, nullptr, sums, path, bad_arcs); }),
            "viterbi: arcs: expected shape (4, 2), got (4, 3)");
  EXPECT_EQ(MessageOf([&] { viterbi(Ms, good.graph, v0, vT, nullptr, sums, floats, arcs); }),
            "viterbi: states: expected shape (5, 2), got (2, 3)");
  EXPECT_EQ(MessageOf([&] { forward_scores(Ms, good.graph, v0, nullptr, floats); }),
            "forward_scores: alpha: expected shape (5, 2, 3), got (2, 3)");
  EXPECT_EQ(MessageOf([&] { backward_scores(Ms, good.graph, bad, nullptr, floats); }),
            "backward_scores: vT: expected shape (2, 3), got (7,)");
  EXPECT_EQ(MessageOf([&] {
              logZ_covariance(Ms, good.graph, v0, vT, nullptr, {.Ms = &v0}, nullptr, &grad, nullptr,
                              nullptr);
            }),
            "logZ_covariance: direction.Ms: expected shape (4, 2, 2), got (2, 3)");
}

}  // namespace
}  // namespace logsum::testing
