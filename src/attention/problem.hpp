// A call of attention after validation: sizes, views with every axis, and which pairs take part.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "logsum/tensor.hpp"

namespace logsum::attend {

class Score;  // score.hpp: a compiled score formula with its arrays

// An array seen with all axes of what it broadcasts to; strides in elements, 0 where it repeats.
template <int kAxes>
struct View {
  void* data = nullptr;  // null: absent
  DType dtype = DType::f32;
  std::array<std::int64_t, kAxes> strides{};

  explicit operator bool() const { return data != nullptr; }
};

struct Problem {
  bool is_double = false;  // arithmetic: double for f64, float for all others
  std::int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0, dim = 0, value_dim = 0;
  std::int64_t group = 1;  // heads / kv_heads

  View<4> q, k, v, out;                            // batch, head, row, component
  View<3> lse;                                     // batch, head, row
  View<4> mask, bias;                              // batch, head, query, key
  View<1> sinks;                                   // head
  std::vector<std::int64_t> lengths_q, lengths_k;  // one for each batch entry, always

  double scale = 1, softcap = 0;
  bool causal = false, bottom_right = false;
  std::int64_t window_left = -1, window_right = -1;
  const Score* score = nullptr;
};

}  // namespace logsum::attend
