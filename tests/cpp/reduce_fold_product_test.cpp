// Weighted folds that are matrix products, in both directions, on every CPU target.
#include "reduce_fold_weight.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
class ReduceFoldProduct : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ReduceFoldProduct, Reals);

// Vectors of an index, packed.
template <class Real>
class Packed {
 public:
  template <class At>
  Packed(const FoldKernels<Real>& kernels, std::int64_t dim, std::int64_t count, const At& at)
      : memory_(
            hwy::AllocateAligned<Real>(static_cast<std::size_t>(count * PackedStride<Real>(dim)))) {
    std::vector<Real> values(static_cast<std::size_t>(dim * count));
    for (std::int64_t d = 0; d < dim; ++d) {
      for (std::int64_t k = 0; k < count; ++k) {
        values[static_cast<std::size_t>(d * count + k)] = at(d, k);
      }
    }
    kernels.pack(values.data(), count, dim, count, memory_.get());
  }
  const Real* get() const { return memory_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<Real[]> memory_;
};

enum class Kind { vectors, difference, negative, softmax };

template <class Real, class Vector, class Own>
std::vector<Real> FoldProducts(const FoldKernels<Real>& kernels, Kind kind, bool rows,
                               std::int64_t dim, const Case& shape, const PairValues<Real>& weight,
                               const Vector& vector, const Own& own, bool keep) {
  const FloatModeGuard flush;
  const std::int64_t kept = rows ? shape.rows : shape.columns;
  const std::int64_t reduced = rows ? shape.columns : shape.rows;
  const std::int64_t stride = PackedStride<Real>(dim);
  const Packed<Real> v(kernels, dim, reduced, vector), u(kernels, dim, kept, own);
  const Fold fold = kind == Kind::softmax ? Fold::softmax_weight : Fold::sum;
  const StateOf<Real> state(ShapeOf(fold, rows, dim, true), kept);
  for (std::int64_t r = 0; r < shape.rows; r += shape.cut.rows) {
    for (std::int64_t c = 0; c < shape.columns; c += shape.cut.columns) {
      const TileSpan tile{r, c, std::min(shape.cut.rows, shape.rows - r),
                          std::min(shape.cut.columns, shape.columns - c)};
      const TileOf<Real> w(weight, 1, tile);
      const bool difference = kind == Kind::difference || kind == Kind::negative;
      kernels.push_weighted(state.state, rows ? r : c,
                            {.weight = w.value,
                             .vectors = v.get() + (rows ? c : r) * stride,
                             .kept = difference ? u.get() + (rows ? r : c) * stride : nullptr,
                             .stride = stride,
                             .factor = kind == Kind::negative ? Real(-1) : Real(1),
                             .keep = keep},
                            tile);
    }
  }
  return state.Write(Result::value);
}

TYPED_TEST(ReduceFoldProduct, Sums) {
  using Real = TypeParam;
  const PairValues<Real> weight = Formula<Real>(4);
  const auto vector = [](auto d, auto k) { return Real(Scattered(d, k, 5) - 0.3); };
  const auto own = [](auto d, auto k) { return Real(Scattered(d, k, 6) + 1); };
  for (const Kind kind : {Kind::vectors, Kind::difference, Kind::negative, Kind::softmax}) {
    for (const std::int64_t dim : {1, 3, 16, 17, 40, 64}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(kind)) + " of dimension " + std::to_string(dim));
      ForAll<Real>([&](const FoldKernels<Real>& kernels, bool rows, const Case& shape) {
        const std::int64_t kept = rows ? shape.rows : shape.columns;
        const std::int64_t reduced = rows ? shape.columns : shape.rows;
        const std::vector<Real> got =
            FoldProducts<Real>(kernels, kind, rows, dim, shape, weight, vector, own, false);
        for (std::int64_t k = 0; k < kept; k += 5) {
          const std::vector<Real> w = TermsOf(weight, rows, k, reduced, 0);
          for (std::int64_t d = 0; d < dim; ++d) {
            const Real value = got[static_cast<std::size_t>(k * dim + d)];
            std::vector<Real> v;
            long double exact = 0, sizes = 0;
            for (std::int64_t n = 0; n < reduced; ++n) {
              v.push_back(vector(d, n));
              const long double difference = static_cast<long double>(own(d, k)) - v.back();
              const long double term =
                  w[static_cast<std::size_t>(n)] * (kind == Kind::vectors      ? v.back()
                                                    : kind == Kind::difference ? difference
                                                                               : -difference);
              exact += term;
              sizes += std::fabs(term);
            }
            if (kind == Kind::softmax) {
              ExpectMean(value, ExactOf(w, v));
            } else {
              // 32 in a chain, 8 chains, a difference and a product.
              ASSERT_LE(std::fabs(value - exact), HalfUlp(value) + 42 * kUnit<Real> * sizes);
            }
          }
        }
      });
    }
  }
}

TYPED_TEST(ReduceFoldProduct, SpecialValues) {
  using Real = TypeParam;
  constexpr Real inf = kInf<Real>, nan = kNan<Real>;
  const Case shape{40, 40, {16, 16}};
  const auto own = [](auto, auto) { return Real(1); };
  // Vectors of reduced index 20 are not finite; the pairs that meet them have no weight, but one.
  const auto vector = [=](auto d, auto k) { return k != 20 ? Real(k) : d == 0 ? nan : inf; };
  for (const FoldTarget& target : FoldTargets()) {
    for (const bool rows : {true, false}) {
      SCOPED_TRACE(target.name + (rows ? " rows" : " columns"));
      const auto is_special = [&](auto r, auto c) { return (rows ? c : r) == 20; };
      const PairValues<Real> weight{[&](auto, auto r, auto c) {
        return is_special(r, c) ? Real((rows ? r : c) == 11) : Real(2);
      }};
      const PairValues<Real> formula{[&](auto, auto r, auto c) {
        return is_special(r, c) && (rows ? r : c) != 11 ? -inf : Real(2);
      }};
      const auto& kernels = target.Get<Real>();
      for (const Kind kind : {Kind::vectors, Kind::difference, Kind::softmax}) {
        const std::vector<Real> got =
            FoldProducts<Real>(kernels, kind, rows, 2, shape,
                               kind == Kind::softmax ? formula : weight, vector, own, true);
        const Real expected = kind == Kind::vectors      ? Real(2 * 760)
                              : kind == Kind::difference ? Real(2 * (39 - 760))
                                                         : Real(760) / 39;
        for (std::int64_t k = 0; k < 40; ++k) {
          const Real first = got[static_cast<std::size_t>(2 * k)];
          const Real second = got[static_cast<std::size_t>(2 * k + 1)];
          if (k == 11) {
            EXPECT_TRUE(std::isnan(first)) << first;
            EXPECT_EQ(second, kind == Kind::difference ? -inf : inf);
          } else {
            EXPECT_NEAR(first, expected, 100 * std::numeric_limits<Real>::epsilon() * 760);
            EXPECT_NEAR(second, expected, 100 * std::numeric_limits<Real>::epsilon() * 760);
          }
        }
      }
      // Without `keep`, zero times infinity is what it is.
      const std::vector<Real> plain =
          FoldProducts<Real>(kernels, Kind::vectors, rows, 2, shape, weight, vector, own, false);
      EXPECT_TRUE(std::isnan(plain[3])) << plain[3];
    }
  }
}

}  // namespace
}  // namespace logsum::reduce
