// The micro-kernels of src/gemm as functions, one table per CPU target that is compiled in and runs
// here, so that tests can go through all targets in one process.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace logsum::gemm {

template <class T>
using IntegerOf = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T>
struct Kernels {
  using I = IntegerOf<T>;
  int rows, vectors, lanes, stride;
  void (*multiply)(const T* left, int rows, const T* right, int vectors, std::int64_t depth,
                   T* high, T* low, bool first);
  void (*extended)(const T* left_fraction, const I* left_exponent, int rows,
                   const T* right_fraction, const I* right_exponent, int vectors,
                   std::int64_t depth, T* high, T* low, I* exponent, bool first);
  void (*extended_at)(const T* left_fraction, const I* left_exponent, int rows,
                      const T* right_fraction, const I* right_exponent, int vectors,
                      std::int64_t depth, const I* exponent, T* high, T* low, bool first);
  void (*max)(const T* left, int rows, const T* right, int vectors, std::int64_t depth, T* best,
              bool first);
  void (*argmax)(const T* left, int rows, const T* right, int vectors, std::int64_t depth, T* best,
                 I* argmax, I k0, bool first);
};

struct Target {
  std::string name;
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& Get() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Best first.
const std::vector<Target>& Targets();

}  // namespace logsum::gemm
