// softmax, log_softmax, logaddexp, merge and all gradients against long double, on every CPU
// target.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "logsum/config.hpp"
#include "logsum/logsumexp.hpp"

namespace logsum::testing {
namespace {

class OnEveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { set_cpu_target(GetParam()); }
  void TearDown() override { set_cpu_target(""); }
};

// A probability or a gradient: a few roundings of it, plus what |lse| 2^-p makes of a stored lse.
template <class T>
double Epsilon() {
  if (std::is_same_v<T, Half>) return 0x1p-11;
  if (std::is_same_v<T, BFloat16>) return 0x1p-8;
  return std::is_same_v<T, float> ? 0x1p-24 : 0x1p-53;
}

struct Slices {
  std::int64_t kept, depth;
  int axis;
  std::int64_t Index(std::int64_t slice, std::int64_t k) const {
    return axis == 0 ? k * kept + slice : slice * depth + k;
  }
};

std::vector<long double> Probabilities(const std::vector<double>& x, const Reference& lse) {
  std::vector<long double> p;
  for (const double value : x) p.push_back(std::exp((value - lse.max) - lse.log_rest));
  return p;
}

template <class T>
void CheckAll(std::int64_t rows, std::int64_t columns, double sigma, double mean) {
  SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns));
  std::mt19937 random(17);
  std::normal_distribution<double> normal(mean, sigma), standard;
  for (const int axis : {0, 1}) {
    const Slices slices{axis == 0 ? columns : rows, axis == 0 ? rows : columns, axis};
    Array<T> a({rows, columns}), g({rows, columns}), out({rows, columns}), log_out({rows, columns});
    Array<T> lse({slices.kept}), lse_grad({slices.kept});
    Array<T> grads[3] = {Array<T>({rows, columns}), Array<T>({rows, columns}),
                         Array<T>({rows, columns})};
    a.Fill([&] { return normal(random); });
    g.Fill([&] { return standard(random); });
    lse_grad.Fill([&] { return standard(random); });
    Tensor out_tensor = out, log_tensor = log_out, lse_tensor = lse, g_tensor = g, dl = lse_grad;
    Tensor grad_tensors[3] = {grads[0], grads[1], grads[2]};
    softmax(a, axis, out_tensor, lse_tensor);
    log_softmax(a, axis, log_tensor, lse_tensor);
    logsumexp_backward(dl, a, lse_tensor, std::array{axis}, grad_tensors[0]);
    softmax_backward(&g_tensor, &dl, a, lse_tensor, axis, grad_tensors[1]);
    log_softmax_backward(&g_tensor, &dl, a, lse_tensor, axis, grad_tensors[2]);

    const double eps = Epsilon<T>();
    for (std::int64_t s = 0; s < slices.kept; ++s) {
      std::vector<double> x;
      for (std::int64_t k = 0; k < slices.depth; ++k) x.push_back(a.Get(slices.Index(s, k)));
      const Reference reference = ReferenceLogSumExp(x);
      const long double exact = reference.Value();
      const auto p = Probabilities(x, reference);
      long double dot = 0, total = 0, absolute = 0;
      for (std::int64_t k = 0; k < slices.depth; ++k) {
        const double gk = g.Get(slices.Index(s, k));
        dot += p[static_cast<std::size_t>(k)] * gk;
        total += gk;
        absolute += std::abs(gk);
      }
      const double dlse = lse_grad.Get(s);
      const double stored = eps * (4 + 2 * std::abs(static_cast<double>(exact)));
      for (std::int64_t k = 0; k < slices.depth; ++k) {
        const std::int64_t i = slices.Index(s, k);
        const long double pk = p[static_cast<std::size_t>(k)], gk = g.Get(i);
        const auto near = [&](double got, long double expected, double bound, const char* what) {
          ASSERT_LE(std::abs(static_cast<double>(got - expected)), bound + 1e-37)
              << what << " slice " << s << " element " << k << ": " << got << " for "
              << static_cast<double>(expected);
        };
        const auto magnitude = [](long double v) { return static_cast<double>(std::fabs(v)); };
        near(out.Get(i), pk, 6 * eps * magnitude(pk) + (sizeof(T) == 2 ? 0x1p-25 : 0), "softmax");
        const long double log_p =
            (x[static_cast<std::size_t>(k)] - reference.max) - reference.log_rest;
        near(log_out.Get(i), log_p, 4 * eps * magnitude(log_p), "log_softmax");
        near(grads[0].Get(i), pk * dlse, stored * magnitude(pk * dlse) + 0x1p-25 * (sizeof(T) == 2),
             "logsumexp_backward");
        const double p_scale =
            magnitude(pk) * (magnitude(gk) + magnitude(dlse) + static_cast<double>(absolute));
        near(grads[1].Get(i), pk * (gk - dot + dlse), stored * p_scale + 0x1p-25 * (sizeof(T) == 2),
             "softmax_backward");
        near(grads[2].Get(i), gk - pk * (total - dlse),
             stored * p_scale + 2 * eps * magnitude(gk) + 0x1p-25 * (sizeof(T) == 2),
             "log_softmax_backward");
      }
    }
  }
}

TEST_P(OnEveryTarget, SoftmaxAndGradients) {
  for (const auto& [rows, columns] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 5}, {130, 17}, {7, 1000}, {40, 64}}) {
    for (const double mean : {0.0, -500.0}) {
      CheckAll<float>(rows, columns, 3, mean);
      CheckAll<double>(rows, columns, 3, mean);
    }
  }
  CheckAll<Half>(20, 70, 2, 0);
  CheckAll<BFloat16>(20, 70, 2, 0);
  CheckAll<float>(2, 70001, 1, 0);  // several segments
  CheckAll<float>(70001, 2, 1, 0);
}

TEST_P(OnEveryTarget, LogSoftmaxOfACertainClassKeepsItsDigits) {
  // What a cross entropy loss is made of: -log(1 + e^-20), 2e-9, far below one ulp of the logits.
  auto a = Array<float>::Of({2}, {20, 0});
  Array<float> out({2}), lse({});
  Tensor out_tensor = out, lse_tensor = lse;
  log_softmax(a, 0, out_tensor, lse_tensor);
  EXPECT_NEAR(out.Get(0), -std::log1p(std::exp(-20.0)), 3e-9 * 0x1p-22);
}

TEST_P(OnEveryTarget, SpecialSlices) {
  auto a = Array<float>::Of({4, 3}, {-kInf, -kInf, -kInf, kInf, 0, kInf, 1, kNaN, 2, -kInf, 0, 0});
  auto ones = Array<float>::Of({4}, {1, 1, 1, 1});
  Array<float> p({4, 3}), log_p({4, 3}), lse({4}), grad({4, 3});
  Tensor p_tensor = p, log_tensor = log_p, lse_tensor = lse, one = ones, grad_tensor = grad;
  softmax(a, 1, p_tensor, lse_tensor);
  log_softmax(a, 1, log_tensor, lse_tensor);
  logsumexp_backward(one, a, lse_tensor, std::array{1}, grad_tensor);
  const double expected[] = {0, 0, 0, 0.5, 0, 0.5, kNaN, kNaN, kNaN, 0, 0.5, 0.5};
  for (int i = 0; i < 12; ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(p.Get(i)) && std::isnan(log_p.Get(i)) && std::isnan(grad.Get(i)));
    } else {
      EXPECT_NEAR(p.Get(i), expected[i], 1e-7) << i;
      EXPECT_NEAR(grad.Get(i), expected[i], 1e-7) << i;
      EXPECT_NEAR(std::exp(log_p.Get(i)), expected[i], 1e-7) << i;
    }
  }
}

TEST_P(OnEveryTarget, ZerosTakeNoPartInAGradient) {
  auto a = Array<float>::Of({4}, {-kInf, 0, 1, -kInf});
  auto g = Array<float>::Of({4}, {kNaN, 1, 2, kInf});
  Array<float> lse({}), grad({4});
  Tensor g_tensor = g, lse_tensor = lse, grad_tensor = grad;
  logsumexp(a, std::array{0}, nullptr, nullptr, lse_tensor, nullptr);
  softmax_backward(&g_tensor, nullptr, a, lse_tensor, 0, grad_tensor);
  const double p = 1 / (1 + std::exp(1.0));
  EXPECT_EQ(grad.Get(0), 0);
  EXPECT_EQ(grad.Get(3), 0);
  EXPECT_NEAR(grad.Get(1), p * (1 - (p + 2 * (1 - p))), 1e-7);
  log_softmax_backward(&g_tensor, nullptr, a, lse_tensor, 0, grad_tensor);
  EXPECT_EQ(grad.Get(0), 0);
  EXPECT_NEAR(grad.Get(2), 2 - 3 * (1 - p), 1e-6);
}

TEST_P(OnEveryTarget, LogAddExp) {
  const std::vector<double> values = {-kInf, kInf, kNaN,  0,    -0.0,  1,    -1,  1e-9, 88,
                                      -104,  1e38, -1e38, 12.5, 12.25, -3e5, 3e5, 700,  -17};
  const auto n = static_cast<std::int64_t>(values.size());
  Array<double> a({n, n}), b({n, n}), out({n, n});
  for (std::int64_t i = 0; i < n * n; ++i) {
    a.Set(i, values[static_cast<std::size_t>(i / n)]);
    b.Set(i, values[static_cast<std::size_t>(i % n)]);
  }
  Tensor out_tensor = out;
  logaddexp(a, b, out_tensor);
  for (std::int64_t i = 0; i < n * n; ++i) {
    const double x = a.Get(i), y = b.Get(i);
    const double max = std::max(x, y);
    const double expected = std::isnan(x + y) && !std::isinf(x) ? kNaN
                            : std::isnan(x) || std::isnan(y)    ? kNaN
                            : std::isinf(max) ? max
                                              : max + std::log1p(std::exp(std::min(x, y) - max));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(out.Get(i))) << x << " " << y;
    } else if (std::isinf(expected)) {
      EXPECT_EQ(out.Get(i), expected) << x << " " << y;
    } else {
      EXPECT_NEAR(out.Get(i), expected, 4 * 0x1p-53 * (1 + std::abs(expected))) << x << " " << y;
    }
  }
}

TEST(Merge, PartsGiveTheWhole) {
  std::mt19937 random(23);
  std::normal_distribution<double> normal(0, 4);
  const std::int64_t rows = 300, columns = 3;
  Array<double> whole_lse({rows}), whole_out({rows, columns});
  std::vector<Array<double>> lse(4, Array<double>({rows})), out(4, Array<double>({rows, columns}));
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<double> all;
    std::vector<std::vector<double>> values;
    for (std::size_t part = 0; part < 4; ++part) {
      std::vector<double> x;
      for (unsigned n = random() % 6; n > 0; --n) {
        x.push_back(normal(random));
        values.push_back({normal(random), normal(random), normal(random)});
      }
      const long double part_lse = ReferenceLogSumExp(x).Value();
      lse[part].Set(r, static_cast<double>(part_lse));
      for (std::int64_t c = 0; c < columns; ++c) {
        long double mean = x.empty() ? kNaN : 0;  // an empty part's values must not be read
        for (std::size_t i = 0; i < x.size(); ++i) {
          mean += std::exp(x[i] - part_lse) *
                  values[values.size() - x.size() + i][static_cast<std::size_t>(c)];
        }
        out[part].Set(r * columns + c, static_cast<double>(mean));
      }
      all.insert(all.end(), x.begin(), x.end());
    }
    const long double total = ReferenceLogSumExp(all).Value();
    whole_lse.Set(r, static_cast<double>(total));
    for (std::int64_t c = 0; c < columns; ++c) {
      long double mean = 0;
      for (std::size_t i = 0; i < all.size(); ++i) {
        mean += std::exp(all[i] - total) * values[i][static_cast<std::size_t>(c)];
      }
      whole_out.Set(r * columns + c, static_cast<double>(mean));
    }
  }
  Array<double> merged_lse({rows}), merged_out({rows, columns});
  Tensor lse_tensor = merged_lse, out_tensor = merged_out;
  merge(std::vector<Tensor>(lse.begin(), lse.end()), std::vector<Tensor>(out.begin(), out.end()),
        lse_tensor, &out_tensor);
  for (std::int64_t r = 0; r < rows; ++r) {
    if (std::isinf(whole_lse.Get(r))) {
      EXPECT_EQ(merged_lse.Get(r), whole_lse.Get(r));
      continue;
    }
    EXPECT_NEAR(merged_lse.Get(r), whole_lse.Get(r), 1e-14);
    for (std::int64_t c = 0; c < columns; ++c) {
      EXPECT_NEAR(merged_out.Get(r * columns + c), whole_out.Get(r * columns + c), 1e-13);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, OnEveryTarget, ::testing::ValuesIn(config().cpu_targets),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace logsum::testing
