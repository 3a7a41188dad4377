// An owning array for tests, seen by the library as a Tensor, and long double references.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <type_traits>
#include <vector>

#include "core/dtype.hpp"
#include "logsum/tensor.hpp"

namespace logsum::testing {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <class T>
constexpr DType DTypeOf() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, Half>) return DType::f16;
  if constexpr (std::is_same_v<T, BFloat16>) return DType::bf16;
  if constexpr (std::is_same_v<T, bool>) return DType::boolean;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
}

// A row major array; `order` permutes how its axes lie in memory.
template <class T>
class Array {
 public:
  explicit Array(std::vector<std::int64_t> shape, std::vector<int> order = {})
      : shape_(std::move(shape)), strides_(shape_.size()) {
    if (order.empty()) {
      for (std::size_t i = 0; i < shape_.size(); ++i) order.push_back(static_cast<int>(i));
    }
    std::int64_t count = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      strides_[static_cast<std::size_t>(order[i])] = count;
      count *= shape_[static_cast<std::size_t>(order[i])];
    }
    storage_ = std::vector<unsigned char>(static_cast<std::size_t>(count) * sizeof(T));
  }
  static Array Of(std::vector<std::int64_t> shape, const std::vector<double>& values) {
    Array array(std::move(shape));
    for (std::size_t i = 0; i < values.size(); ++i) {
      array.Set(static_cast<std::int64_t>(i), values[i]);
    }
    return array;
  }

  T* data() { return reinterpret_cast<T*>(storage_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(storage_.data()); }
  std::int64_t Size() const { return static_cast<std::int64_t>(storage_.size() / sizeof(T)); }
  operator Tensor() { return {data(), DTypeOf<T>(), Device::cpu, 0, shape_, strides_}; }

  // By row major index, whatever the memory order.
  double Get(std::int64_t index) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<double>(data()[Offset(index)]);
    else
      return ToFloat(data()[Offset(index)]);
  }
  void Set(std::int64_t index, double value) {
    if constexpr (std::is_same_v<T, bool>)
      data()[Offset(index)] = value != 0;
    else if constexpr (std::is_integral_v<T>)
      data()[Offset(index)] = static_cast<T>(value);
    else
      data()[Offset(index)] = FromDouble<T>(value);
  }
  template <class Draw>
  Array& Fill(const Draw& draw) {
    for (std::int64_t i = 0; i < Size(); ++i) Set(i, draw());
    return *this;
  }
  bool operator==(const Array& other) const { return storage_ == other.storage_; }

 private:
  std::int64_t Offset(std::int64_t index) const {
    std::int64_t offset = 0;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      offset += index % shape_[i] * strides_[i];
      index /= shape_[i];
    }
    return offset;
  }

  std::vector<std::int64_t> shape_, strides_;
  std::vector<unsigned char> storage_;
};

// log |sum b e^x| = max + log_rest and the sum's sign in long double, the largest term split off.
struct Reference {
  long double max = -kInf, log_rest = 0;
  int sign = 0;
  long double Value() const { return max + log_rest; }
};
inline Reference ReferenceLogSumExp(const std::vector<double>& x, const std::vector<double>& b) {
  Reference result;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (b[i] != 0) result.max = std::max<long double>(result.max, x[i]);
  }
  if (result.max == -kInf) return result;
  long double top = 0, rest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (b[i] == 0) continue;
    (x[i] == result.max ? top : rest) +=
        b[i] * std::exp(static_cast<long double>(x[i]) - result.max);
  }
  const long double total = top + rest;
  const bool dominated = std::fabs(rest) < std::fabs(top) / 2;
  result.log_rest =
      dominated ? std::log(std::fabs(top)) + std::log1p(rest / top) : std::log(std::fabs(total));
  result.sign = (total > 0) - (total < 0);
  return result;
}
inline Reference ReferenceLogSumExp(const std::vector<double>& x) {
  return ReferenceLogSumExp(x, std::vector<double>(x.size(), 1.0));
}

}  // namespace logsum::testing
