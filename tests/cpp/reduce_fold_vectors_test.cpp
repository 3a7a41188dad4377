// Products and squared distances of all pairs of a tile, on every CPU target.
#include "reduce_fold.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFoldVectors : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFoldVectors, Reals);

template <class Real>
struct Pairs {
  PairValues<Real> x, y;
};

template <class Real>
Pairs<Real> Random() {
  return {{[](auto d, auto r, auto) { return Real(Scattered(d, r, 1) - 0.5); }, true, false},
          {[](auto d, auto, auto c) { return Real(Scattered(d, c, 2) - 0.5); }, false, true}};
}

template <class Real>
Pairs<Real> Constant() {
  return {{[](auto, auto, auto) { return Real(0.9); }, true, false},
          {[](auto, auto, auto) { return Real(0.2); }, false, true}};
}

// Far from the origin and near one another, where |x|^2 + |y|^2 - 2 x y would have no digit.
template <class Real>
Pairs<Real> Near() {
  return {{[](auto d, auto r, auto) { return Real(4096) + Real(0.25) * Real((d + r) % 5); }, true,
           false},
          {[](auto d, auto, auto c) { return Real(4096) + Real(0.25) * Real((d * c) % 7); }, false,
           true}};
}

// Of the sum of sizes: 32 additions in a chain, 32 of chains, 2 for a difference squared.
constexpr int kUnitsLost = 32 + 32 + 2;

template <class Real>
void Check(const FoldKernels<Real>& kernels, const Pairs<Real>& pairs, std::int64_t dim,
           const TileSpan& span) {
  const TileOf<Real> x(pairs.x, dim, span), y(pairs.y, dim, span);
  const TileOf<Real> out({[](auto, auto, auto) { return Real(7); }}, 1, span);
  for (const bool squares : {false, true}) {
    (squares ? kernels.sqdist : kernels.dot)(x.value, y.value, dim, span, out.value);
    for (std::int64_t r = 0; r < span.rows; ++r) {
      for (std::int64_t c = 0; c < span.columns; ++c) {
        long double exact = 0, sizes = 0;
        for (std::int64_t d = 0; d < dim; ++d) {
          const long double a = pairs.x.at(d, r, 0), b = pairs.y.at(d, 0, c);
          const long double term = squares ? (a - b) * (a - b) : a * b;
          exact += term;
          sizes += std::fabs(term);
        }
        const Real got = out.value.data[r * out.value.row + c];
        ASSERT_LE(std::fabs(got - exact), HalfUlp(got) + kUnitsLost * kUnit<Real> * sizes)
            << "dimension " << dim << " at " << r << ", " << c;
      }
    }
  }
}

TYPED_TEST(ReduceFoldVectors, EveryDimension) {
  using Real = TypeParam;
  for (const FoldTarget& target : FoldTargets()) {
    SCOPED_TRACE(target.name);
    for (const std::int64_t dim : {1, 2, 3, 5, 16, 31, 32, 33, 64, 65, 200, 1024, 1025, 3000}) {
      for (const Pairs<Real>& pairs : {Random<Real>(), Constant<Real>(), Near<Real>()}) {
        Check(target.Get<Real>(), pairs, dim, {0, 0, 9, 35});
      }
    }
  }
}

TYPED_TEST(ReduceFoldVectors, EveryTile) {
  using Real = TypeParam;
  for (const FoldTarget& target : FoldTargets()) {
    SCOPED_TRACE(target.name);
    for (const std::int64_t rows : {1, 2, 3, 4, 7, 8, 11, 16, 33}) {
      for (const std::int64_t columns : {1, 2, 8, 15, 16, 17, 31, 48, 100}) {
        Check(target.Get<Real>(), Random<Real>(), 5, {0, 0, rows, columns});
      }
    }
  }
}

// An infinity stays one, also where sums are compensated; 0 times infinity is NaN.
TYPED_TEST(ReduceFoldVectors, SpecialValues) {
  using Real = TypeParam;
  for (const FoldTarget& target : FoldTargets()) {
    SCOPED_TRACE(target.name);
    for (const std::int64_t dim : {3, 40, 2500}) {
      const TileSpan span{0, 0, 3, 20};
      const TileOf<Real> x({[](auto, auto r, auto) { return Real(r); }, true, false}, dim, span);
      const TileOf<Real> y(
          {[](auto d, auto, auto c) {
             return c == 5 && d == 1 ? kInf<Real> : c == 6 && d == 2 ? kNan<Real> : Real(1);
           },
           false, true},
          dim, span);
      const TileOf<Real> out({[](auto, auto, auto) { return Real(7); }}, 1, span);
      const Real* const got = out.value.data;
      target.Get<Real>().sqdist(x.value, y.value, dim, span, out.value);
      for (std::int64_t r = 0; r < 3; ++r) {
        EXPECT_EQ(got[r * out.value.row + 5], kInf<Real>);
        EXPECT_TRUE(std::isnan(got[r * out.value.row + 6]));
        EXPECT_EQ(got[r * out.value.row + 7], Real(dim) * Real((r - 1) * (r - 1)));
      }
      target.Get<Real>().dot(x.value, y.value, dim, span, out.value);
      EXPECT_TRUE(std::isnan(got[5]));
      EXPECT_EQ(got[out.value.row + 5], kInf<Real>);
      EXPECT_EQ(got[out.value.row + 7], Real(dim));
    }
  }
}

}  // namespace
}  // namespace logsum::reduce
