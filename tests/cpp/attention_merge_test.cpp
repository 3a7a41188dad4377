// Attention to parts of the keys, merged, is attention to all of them: values, and gradients
// through out and lse of the parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "attention_case.hpp"
#include "logsum/attention.hpp"
#include "logsum/config.hpp"
#include "logsum/logsumexp.hpp"

namespace logsum::testing {
namespace {

// The rows [begin, end) of axis 2.
class Rows {
 public:
  Rows(const Tensor& whole, std::int64_t begin, std::int64_t end) : tensor_(whole) {
    std::copy(whole.shape.begin(), whole.shape.end(), shape_.begin());
    shape_[2] = end - begin;
    const auto bytes = static_cast<std::int64_t>(SizeOf(whole.dtype));
    tensor_.data = static_cast<char*>(whole.data) + begin * whole.strides[2] * bytes;
  }
  operator Tensor() const {  // NOLINT(google-explicit-constructor)
    Tensor tensor = tensor_;
    tensor.shape = shape_;
    return tensor;
  }

 private:
  Tensor tensor_;
  std::array<std::int64_t, 4> shape_{};
};

template <class T>
class Parts {
 public:
  struct Part {
    std::int64_t begin, end;
    Array<T> out;
    Array<WideOf<T>> lse;
  };

  // Cuts the keys at random places, some of them the same.
  Parts(std::mt19937& random, AttentionCase<T>& whole, int count) : whole_(whole) {
    const AttentionInput& input = whole.input();
    std::vector<std::int64_t> cuts = {0, input.keys};
    while (std::ssize(cuts) <= count) {
      cuts.push_back(random() % 4 == 0 ? cuts.back()
                                       : static_cast<std::int64_t>(random()) % (input.keys + 1));
    }
    std::sort(cuts.begin(), cuts.end());
    for (std::size_t p = 0; p + 1 < cuts.size(); ++p) {
      parts.push_back({cuts[p], cuts[p + 1],
                       Array<T>({input.batch, input.heads, input.queries, input.value_dim}),
                       Array<WideOf<T>>({input.batch, input.heads, input.queries})});
      Part& part = parts.back();
      Tensor out = part.out, lse = part.lse;
      attention(whole.q, Rows(whole.k, part.begin, part.end), Rows(whole.v, part.begin, part.end),
                {}, out, lse, input.options);
    }
  }

  // Of the parts that are chosen, in that order.
  void Merge(const std::vector<std::size_t>& chosen, Array<T>& out, Array<WideOf<T>>& lse) {
    std::vector<Tensor> outs, sums;
    for (const std::size_t p : chosen) {
      outs.push_back(parts[p].out);
      sums.push_back(parts[p].lse);
    }
    Tensor merged_out = out, merged_lse = lse;
    merge(sums, outs, merged_lse, &merged_out);
  }

  // Adds a part's gradients for those of the merged result (out, lse).
  void Backward(Part& part, const Array<T>& out, const Array<WideOf<T>>& lse, Array<T>& grad_q) {
    const std::int64_t dim = whole_.input().value_dim;
    Array<T> grad_out = part.out;
    Array<WideOf<T>> grad_lse = part.lse;
    for (std::int64_t row = 0; row < lse.Size(); ++row) {
      const double share =
          part.lse.Get(row) == -kInf ? 0 : std::exp(part.lse.Get(row) - lse.Get(row));
      double sum = whole_.grad_lse.Get(row);
      for (std::int64_t c = row * dim; c < (row + 1) * dim; ++c) {
        grad_out.Set(c, share * whole_.grad_out.Get(c));
        sum += whole_.grad_out.Get(c) * (part.out.Get(c) - out.Get(c));
      }
      grad_lse.Set(row, share * sum);
    }
    Array<T> part_q = grad_q;
    const Tensor incoming = grad_lse;
    const Rows k_rows(whole_.grad_k, part.begin, part.end);
    const Rows v_rows(whole_.grad_v, part.begin, part.end);
    Tensor of_q = part_q, of_k = k_rows, of_v = v_rows;
    AttentionGradients gradients;
    gradients.q = &of_q;
    gradients.k = &of_k;
    gradients.v = &of_v;
    attention_backward(grad_out, &incoming, whole_.q, Rows(whole_.k, part.begin, part.end),
                       Rows(whole_.v, part.begin, part.end), {}, part.out, part.lse, gradients,
                       whole_.input().options);
    for (std::int64_t i = 0; i < grad_q.Size(); ++i) grad_q.Set(i, grad_q.Get(i) + part_q.Get(i));
  }

  std::vector<Part> parts;

 private:
  AttentionCase<T>& whole_;
};

AttentionInput DrawInput(std::mt19937& random) {
  AttentionInput input;
  input.batch = 2;
  input.heads = 4;
  input.kv_heads = 2;
  input.queries = 1 + random() % 40;
  input.keys = 1 + random() % 400;
  input.dim = 1 + random() % 40;
  input.value_dim = 1 + random() % 40;
  FillNormal(random, input, 3);
  return input;
}

class AttentionParts : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

// As in attention_test.cpp, and one merge more.
constexpr double kForward = 16, kBackward = 32;

template <class T>
void CheckMerged(std::mt19937& random) {
  for (const int count : {1, 2, 3, 7}) {
    AttentionCase<T> whole(DrawInput(random));
    Parts<T> parts(random, whole, count);
    std::vector<std::size_t> order(parts.parts.size());
    for (std::size_t p = 0; p < order.size(); ++p) order[p] = p;
    std::shuffle(order.begin(), order.end(), random);
    parts.Merge(order, whole.out, whole.lse);
    whole.Check(kForward);
    std::fill_n(whole.grad_q.data(), whole.grad_q.Size(), T(0));
    for (auto& part : parts.parts) parts.Backward(part, whole.out, whole.lse, whole.grad_q);
    whole.CheckBackward(kBackward);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(AttentionParts, MergeToTheWhole) {
  std::mt19937 random(23);
  CheckMerged<float>(random);
  CheckMerged<double>(random);
}

TEST_P(AttentionParts, MergeInAnyGroups) {
  std::mt19937 random(24);
  AttentionCase<double> whole(DrawInput(random));
  Parts<double> parts(random, whole, 4);
  // ((0, 1), (2, 3)): merged states take the places of 0 and 2.
  for (const std::size_t p : {0, 2}) {
    auto& part = parts.parts[p];
    Array<double> out = part.out, lse = part.lse;
    parts.Merge({p, p + 1}, out, lse);
    part.out = out;
    part.lse = lse;
  }
  parts.Merge({2, 0}, whole.out, whole.lse);
  whole.Check(kForward);
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionParts, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
