// The primitives of src/core as loops over arrays, one table per CPU target that is compiled in and
// runs here, so that tests and benchmarks can go through all targets in one process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace logsum::primitives {

enum class Op {
  kExp,             // x
  kExpNonPositive,  // x
  kExpReduced,      // r
  kExpScaled,       // x, N
  kFraction,        // x, N -> fraction, power
  kExponentOf,      // x
  kInScaleDomain,   // x -> 1 or 0
  kReduceByLn2,     // x, n
  kSplitExp,        // x -> fraction, exponent
  kInSplitDomain,   // x -> 1 or 0
  kLog,             // x
  kLogScaled,       // x, n
  kLogScaledOfSum,  // x, n
  kLogWithRest,     // x, n -> result, rest
  kLog1p,           // x
  kMul,             // f, n, f, n -> f, n
  kAdd,             // f, n, f, n -> f, n
  kMulAdd,          // f, n, f, n, f, n -> f, n
  kNormalize,       // f, n -> f, n
  kToLog,           // f, n
  kCount
};

enum class Width { kOne, kTwo, kFour, kFull, kCount };

// Every loop runs over a multiple of this many elements.
inline constexpr std::size_t kStep = 16;

// Exponents, too, are passed as floats: those that appear are exact.
template <class T>
struct Arrays {
  std::array<const T*, 6> in;
  std::array<T*, 2> out;
  std::size_t count;
};

template <class T>
using Loop = void (*)(const Arrays<T>&);

template <class T>
using Table = std::array<std::array<Loop<T>, std::size_t(Width::kCount)>, std::size_t(Op::kCount)>;

// The largest error of `got` in units of the float32 spacing at `expected`, and where. An infinity
// counts as the next power of two beyond the finite numbers; NaN must meet NaN.
struct Worst {
  double ulp = 0;
  std::size_t index = 0;
};

struct Target {
  std::string name;
  bool has_fma;
  Table<float> f32;
  Table<double> f64;
  Worst (*worst_ulp)(const float* got, const double* expected, std::size_t count);

  template <class T>
  Loop<T> Get(Op op, Width width = Width::kFull) const {
    const auto row = static_cast<std::size_t>(op), column = static_cast<std::size_t>(width);
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32[row][column];
    } else {
      return f64[row][column];
    }
  }

  // The first output for one x (and a second argument), all lanes alike.
  template <class T>
  T One(Op op, T x, T y = 0) const {
    const std::vector<T> in(kStep, x), other(kStep, y);
    std::vector<T> out(kStep), second(kStep);
    Get<T>(op)({{in.data(), other.data()}, {out.data(), second.data()}, kStep});
    return out[0];
  }

  template <class T>
  void Map(Op op, const T* x, T* out, std::size_t count) const {
    Get<T>(op)({{x}, {out}, count});
  }
};

// Best first.
const std::vector<Target>& Targets();

}  // namespace logsum::primitives
