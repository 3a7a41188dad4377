// Writing one entry of the results, rounded once, with its residual and its bound.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/dtype.hpp"
#include "matmul/plan.hpp"

namespace logsum::matmul {

struct Entry {
  std::int64_t batch, row, column;
};

// Half the spacing of numbers, relative and at the low end. Results below the smallest normal
// number are flushed (half types keep their subnormals).
struct Rounding {
  double relative, absolute;
};

inline Rounding RoundingOf(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return {0x1p-11, 0x1p-25};
    case DType::bf16:
      return {0x1p-8, 0x1p-126};
    case DType::f64:
      return {0x1p-53, 0x1p-1022};
    default:
      return {0x1p-24, 0x1p-126};
  }
}

inline std::int64_t At(const Source& source, const Entry& entry) {
  return source.At(entry.batch, entry.row, entry.column);
}

// Stores x as the source's dtype, for any floating one.
inline void Store(const Source& source, const Entry& entry, double x) {
  VisitFloating(source.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    static_cast<Storage*>(source.data)[At(source, entry)] = FromDouble<Storage>(x);
  });
}

// As Store, never below x.
inline void StoreAbove(const Source& source, const Entry& entry, double x) {
  const Rounding rounding = RoundingOf(source.dtype);
  Store(source, entry, x * (1 + 2 * rounding.relative) + 2 * rounding.absolute);
}

inline double RoundTo(DType dtype, double x) {
  return VisitFloating(dtype, [&](auto storage) {
    return static_cast<double>(ToFloat(FromDouble<decltype(storage)>(x)));
  });
}

// The result high + low of the last rung; where high is +inf, low is the logarithm of the number of
// infinite terms. Beside its rounding it is right to one double's ulp for each exponential and for
// each addition on the way: 64 in a chunk, and one for each chunk.
inline void WriteCareful(const Plan& plan, const Entry& entry, double high, double low) {
  const double sum = std::isfinite(high) ? high + low : high;
  Store(plan.out, entry, sum);
  const double kept = RoundTo(plan.out.dtype, sum);
  const bool finite = std::isfinite(kept);
  if (plan.residual.Exists()) {
    // A C of +inf by its terms, not by rounding, keeps how many there are.
    const bool shares = kept > 0 && !finite && !std::isfinite(high);
    Store(plan.residual, entry, finite ? (high - kept) + low : shares ? low : 0.0);
  }
  if (plan.bound.Exists()) {
    const Rounding rounding = RoundingOf(plan.out.dtype);
    const double own = (80 + static_cast<double>(plan.depth) / 64) * 0x1p-52;
    const double bound = std::abs(kept) * rounding.relative + rounding.absolute + own;
    if (finite) {
      StoreAbove(plan.bound, entry, bound);
    } else {
      const bool overflowed = std::isfinite(high);
      Store(plan.bound, entry,
            std::isnan(kept) ? kept
            : overflowed     ? std::numeric_limits<double>::infinity()
                             : 0.0);
    }
  }
}

inline void WriteMean(const Plan& plan, const Entry& entry, double value) {
  Store(plan.out, entry, value);
}

}  // namespace logsum::matmul
