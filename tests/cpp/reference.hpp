// Tables of float64 arguments with results to 50 digits, and long double oracles.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "primitives.hpp"
#include "ulp.hpp"

namespace logsum::reference {

struct Row {
  double x;
  double n;
  double rounded;
  double remainder;  // exact = rounded + remainder * ulp(rounded)
};

#include "reference.inc"

// Values padded to a whole number of steps by repeating the last.
inline std::size_t Padded(std::size_t count) {
  return (count + primitives::kStep - 1) / primitives::kStep * primitives::kStep;
}

// A primitive of one or two arguments on a table, on every target.
inline void ExpectRows(primitives::Op op, const char* name, std::span<const Row> rows,
                       double bound) {
  const std::size_t count = Padded(rows.size());
  std::vector<double> x(count, rows.back().x), n(count, rows.back().n), got(count), second(count);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    x[i] = rows[i].x;
    n[i] = rows[i].n;
  }
  for (const primitives::Target& target : primitives::Targets()) {
    target.Get<double>(op)({{x.data(), n.data()}, {got.data(), second.data()}, count});
    ulp::Record record(std::string(name) + " f64 table", target.name);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double unit = static_cast<double>(ulp::Spacing<double>(rows[i].rounded));
      const double distance = got[i] == rows[i].rounded ? 0 : (got[i] - rows[i].rounded) / unit;
      // The table's precision, 1e-5 of an ulp, is below the digits that the bounds have.
      const double error = std::fabs(distance - rows[i].remainder);
      record.Add(std::isnan(error) ? std::numeric_limits<double>::infinity() : error, x[i]);
    }
    record.Expect(bound);
  }
}

// long double is a reference for float64 where it has 64 bits or more (x87, some Arm systems).
inline constexpr bool kHaveLongDouble = std::numeric_limits<long double>::digits >= 64;

// A unary float64 primitive on samples drawn by `draw`, against `oracle` in long double.
template <class Draw, class Oracle>
void ExpectSamples(primitives::Op op, const char* name, std::size_t count, Draw draw, Oracle oracle,
                   double bound) {
  count = Padded(count / ulp::Stride() + 1);
  std::mt19937_64 random(7);
  std::vector<double> x(count), got(count);
  std::vector<long double> exact(count);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = draw(random);
    exact[i] = oracle(static_cast<long double>(x[i]));
  }
  for (const primitives::Target& target : primitives::Targets()) {
    target.Map(op, x.data(), got.data(), count);
    ulp::Record record(std::string(name) + " f64", target.name);
    for (std::size_t i = 0; i < count; ++i) record.Add(ulp::Distance(got[i], exact[i]), x[i]);
    record.Expect(bound);
  }
}

// Uniform in [low, high).
inline auto Uniform(double low, double high) {
  return [low, high](std::mt19937_64& random) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
}

// base +- 2^e, e uniform in [low, high).
inline auto Around(double base, double low, double high) {
  return [=](std::mt19937_64& random) {
    const double size = std::exp2(std::uniform_real_distribution<double>(low, high)(random));
    return base + (random() & 1 ? size : -size);
  };
}

}  // namespace logsum::reference
