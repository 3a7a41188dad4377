// Instructions on vectors: sums and products over components, and rearrangements.
#if defined(LOGSUM_REDUCE_ELEMENTWISE_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_ELEMENTWISE_VECTORS_INL_H_
#undef LOGSUM_REDUCE_ELEMENTWISE_VECTORS_INL_H_
#else
#define LOGSUM_REDUCE_ELEMENTWISE_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "reduce/elementwise_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Terms that are added one after the other, before their sum joins a second accumulator.
inline constexpr std::int64_t kSumChain = 32;

// A vector of pairs of an operand's component.
template <class Real>
class OperandAt {
 public:
  using D = hn::ScalableTag<Real>;

  HWY_INLINE OperandAt(const TileValue<Real>& value, std::int64_t row, std::int64_t column)
      : at_(value.data + row * value.row + (value.per_column ? column : 0)),
        component_(value.component),
        per_column_(value.per_column) {}

  HWY_INLINE hn::Vec<D> operator[](std::int64_t component) const {
    const Real* const at = at_ + component * component_;
    return per_column_ ? hn::Load(D(), at) : hn::Set(D(), *at);
  }

 private:
  const Real* at_;
  std::int64_t component_;
  bool per_column_;
};

// Sum of term(0) ... term(count - 1).
template <class Real, class Term>
HWY_INLINE hn::Vec<hn::ScalableTag<Real>> ChainedSum(std::int64_t count, const Term& term) {
  const hn::ScalableTag<Real> d;
  auto total = hn::Zero(d);
  for (std::int64_t begin = 0; begin < count; begin += kSumChain) {
    auto chain = term(begin);
    for (std::int64_t k = begin + 1; k < std::min(begin + kSumChain, count); ++k) {
      chain = hn::Add(chain, term(k));
    }
    total = hn::Add(total, chain);
  }
  return total;
}

// Calls body(row, column, component) for every vector of the result and stores what it returns.
template <class Real, class Body>
HWY_NOINLINE void ForResult(const Operation<Real>& o, const Body& body) {
  const hn::ScalableTag<Real> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t row = 0; row < o.rows; ++row) {
    for (std::int64_t component = 0; component < o.dim; ++component) {
      Real* const out = o.result.data + component * o.result.component + row * o.result.row;
      for (std::int64_t column = 0; column < o.columns; column += lanes) {
        hn::Store(body(row, column, component), d, out + column);
      }
    }
  }
}

// Of the first two operands.
template <class Real>
HWY_INLINE void MapVectors(Code code, const Operation<Real>& o) {
  const hn::ScalableTag<Real> d;
  using At = OperandAt<Real>;
  const auto &x = o.operands[0], &y = o.operands[1];
  switch (code) {
    case Code::sum:
      return ForResult(o, [&](auto row, auto column, auto) HWY_ATTR {
        const At a(x, row, column);
        return ChainedSum<Real>(o.dims[0], [&](std::int64_t k) HWY_ATTR { return a[k]; });
      });
    case Code::dot:
      return ForResult(o, [&](auto row, auto column, auto) HWY_ATTR {
        const At a(x, row, column), b(y, row, column);
        return ChainedSum<Real>(std::max(o.dims[0], o.dims[1]),
                                [&](std::int64_t k) HWY_ATTR { return hn::Mul(a[k], b[k]); });
      });
    case Code::sqdist:
      return ForResult(o, [&](auto row, auto column, auto) HWY_ATTR {
        const At a(x, row, column), b(y, row, column);
        return ChainedSum<Real>(std::max(o.dims[0], o.dims[1]), [&](std::int64_t k) HWY_ATTR {
          const auto difference = hn::Sub(a[k], b[k]);
          return hn::Mul(difference, difference);
        });
      });
    case Code::pad:
      return ForResult(o, [&](auto row, auto column, auto component) HWY_ATTR {
        const std::int64_t from = component - o.first;
        if (from < 0 || from >= o.dims[0]) return hn::Zero(d);
        return At(x, row, column)[from];
      });
    case Code::one_hot:
      return ForResult(o, [&](auto row, auto column, auto component) HWY_ATTR {
        const auto number = hn::Set(d, static_cast<Real>(component));
        const auto rounded = hn::Round(At(x, row, column)[0]);
        const auto is_number = hn::Eq(rounded, rounded);
        const auto hot = hn::IfThenElseZero(hn::Eq(rounded, number), hn::Set(d, Real{1}));
        return hn::IfThenElse(is_number, hot, rounded);
      });
    case Code::matvec:
      return ForResult(o, [&](auto row, auto column, auto component) HWY_ATTR {
        const At a(x, row, column), b(y, row, column);
        const std::int64_t m = o.dims[1];
        return ChainedSum<Real>(m, [&, first = component * m](std::int64_t k)
                                       HWY_ATTR { return hn::Mul(a[first + k], b[k]); });
      });
    case Code::vecmat:
      return ForResult(o, [&](auto row, auto column, auto component) HWY_ATTR {
        const At a(x, row, column), b(y, row, column);
        return ChainedSum<Real>(o.dims[0], [&](std::int64_t k) HWY_ATTR {
          return hn::Mul(a[k], b[k * o.dim + component]);
        });
      });
    case Code::tensor_product:
      return ForResult(o, [&](auto row, auto column, auto component) HWY_ATTR {
        const std::int64_t m = o.dims[1];
        return hn::Mul(At(x, row, column)[component / m], At(y, row, column)[component % m]);
      });
    default:
      return;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
