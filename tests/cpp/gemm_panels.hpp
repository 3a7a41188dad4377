// What the tests of src/gemm share: panels, tiles, and a walk over all shapes on all CPU targets.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "core/exp_constants.hpp"
#include "core/float_mode.hpp"
#include "gemm/panel.hpp"
#include "gemm_kernels.hpp"

namespace logsum::gemm {

template <class T>
using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;

template <class T>
inline constexpr Wide<T> kUnit = std::numeric_limits<T>::epsilon() / 2;

template <class T>
inline constexpr T kInf = std::numeric_limits<T>::infinity();
template <class T>
inline constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();

// Relative to the sum of magnitudes: 31 additions in a chain and a product's own rounding where
// there is no FMA, 7 additions of chunks; the rest is compensated.
inline constexpr int kUnitsLost = 31 + 1 + 7;

inline constexpr std::int64_t kDepths[] = {0, 1, 31, 32, 33, 255, 256, 257, 513, 1024};

template <class T>
class Aligned {
 public:
  Aligned(std::int64_t size, T value) : lines_(static_cast<std::size_t>(size / kLine + 1)) {
    std::fill(data(), data() + static_cast<std::ptrdiff_t>(lines_.size()) * kLine, value);
  }
  T* data() { return lines_[0].elements; }
  const T* data() const { return lines_[0].elements; }
  T& operator[](std::int64_t i) { return data()[i]; }
  const T& operator[](std::int64_t i) const { return data()[i]; }

 private:
  static constexpr int kLine = kPanelAlign / sizeof(T);
  struct alignas(kPanelAlign) Line {
    T elements[kLine];
  };
  std::vector<Line> lines_;
};

struct Shape {
  int rows, vectors, width;
  std::int64_t depth;

  std::string Name() const {
    return std::to_string(rows) + " rows, " + std::to_string(vectors) + " vectors, depth " +
           std::to_string(depth);
  }
};

// What is beside the panel stays as it is: poison that any use would show.
template <class E>
inline constexpr E kPoison =
    std::is_floating_point_v<E> ? std::numeric_limits<E>::quiet_NaN() : E(kInfiniteExponent);

template <class E>
struct Panels {
  Shape shape;
  Aligned<E> left, right;

  explicit Panels(const Shape& s)
      : shape(s),
        left(LeftSize(s.rows, s.depth), kPoison<E>),
        right(RightSize(s.width, s.depth), kPoison<E>) {}

  template <class Draw>
  void Fill(Draw draw) {
    for (std::int64_t k = 0; k < shape.depth; ++k) {
      for (int r = 0; r < shape.rows; ++r) Left(r, k) = draw();
      for (int c = 0; c < shape.width; ++c) Right(k, c) = draw();
    }
  }

  E& Left(int r, std::int64_t k) { return left[LeftOffset(shape.rows, r, k)]; }
  E& Right(std::int64_t k, int c) { return right[RightOffset(shape.width, k, c)]; }
};

template <class T>
class GemmFixture : public testing::Test {
 protected:
  using I = IntegerOf<T>;

  // All shapes of panels on all targets, f(kernels, shape).
  template <class F>
  void ForEachShape(F f) {
    for (const Target& target : Targets()) {
      const Kernels<T>& kernels = target.template Get<T>();
      for (int rows = 1; rows <= kernels.rows; ++rows) {
        for (int vectors = 1; vectors <= kernels.vectors; ++vectors) {
          for (const std::int64_t depth : kDepths) {
            const Shape shape{rows, vectors, vectors * kernels.lanes, depth};
            SCOPED_TRACE(target.name + ": " + shape.Name());
            f(kernels, shape);
            if (this->HasFailure()) return;
          }
        }
      }
    }
  }

  static Aligned<T> Tile(const Kernels<T>& kernels, T value = kNaN<T>) {
    return {kernels.rows * kernels.stride, value};
  }

  // f(row, column, offset in the tile)
  template <class F>
  static void ForEachEntry(const Kernels<T>& kernels, const Shape& shape, F f) {
    for (int r = 0; r < shape.rows; ++r) {
      for (int c = 0; c < shape.width; ++c) f(r, c, r * kernels.stride + c);
    }
  }

  static void ExpectUntouchedBeyond(const Kernels<T>& kernels, const Shape& shape,
                                    const Aligned<T>& tile) {
    for (int r = 0; r < kernels.rows; ++r) {
      for (int c = 0; c < kernels.stride; ++c) {
        if (r < shape.rows && c < shape.width) continue;
        ASSERT_TRUE(std::isnan(tile[r * kernels.stride + c])) << "row " << r << ", column " << c;
      }
    }
  }

  T Uniform(double from, double to) {
    return static_cast<T>(std::uniform_real_distribution<double>(from, to)(generator_));
  }
  I Whole(std::int64_t from, std::int64_t to) {
    return static_cast<I>(std::uniform_int_distribution<std::int64_t>(from, to)(generator_));
  }

  const FloatModeGuard flush_;
  std::mt19937_64 generator_{20};
};

using Floats = testing::Types<float, double>;

}  // namespace logsum::gemm
