// The results of folds from their states, each rounded once.
#include <cmath>

#include "core/dtype.hpp"
#include "reduce/states.hpp"

namespace logsum::reduce {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A result as high + low, |low| far below |high| unless high is not finite.
struct Exact {
  double high, low;

  double Rounded() const { return std::isfinite(high) ? high + low : high; }
};

template <class Real>
Exact Read(const Totals<Real>& total) {
  return {*total.high, kPairs<Real> ? *total.low : 0.0};
}

// max + log1p(rest), of a line whose total is the rest in units of e^reference. Where max is +inf,
// low is the logarithm of the number of infinite terms.
template <class Real>
Exact LogSumExp(Real max, Real reference, const Totals<Real>& rest) {
  const double sum = Read<Real>(rest).Rounded();
  if (sum != sum) return {sum, 0};
  if (max == -kInfinity) return {-kInfinity, 0};
  if (sum == 0) return {max, 0};
  const double scale = max == reference ? 1 : std::exp(double{reference} - double{max});
  return {max, std::log1p(sum * scale)};
}

// log(total) + reference.
template <class Real>
Exact LogOfTotal(Real reference, const Totals<Real>& total) {
  const double sum = Read<Real>(total).Rounded();
  const double log = std::log(sum);
  return std::isfinite(log) ? Exact{reference, log} : Exact{log, 0};
}

template <class Real>
double Mean(const StateView<Real>& view, std::int64_t kept, std::int64_t line) {
  const double rest = Read<Real>(view.rest + kept).Rounded();
  if (rest != rest) return rest;
  if (view.max[kept] == -kInfinity) return 0;
  const double own = view.max[kept] == view.reference[kept]
                         ? 1
                         : std::exp(double{view.max[kept]} - double{view.reference[kept]});
  return Read<Real>(view.total + line).Rounded() / (own + rest);
}

double RoundTo(DType dtype, double x) {
  return VisitFloating(dtype, [&](auto storage) {
    return static_cast<double>(ToFloat(FromDouble<decltype(storage)>(x)));
  });
}

// What `exact` has beyond its rounding. A value that only rounding made infinite has nothing.
double Residual(const Exact& exact, DType value_dtype) {
  if (exact.high == kInfinity) return exact.low;
  const double sum = exact.Rounded();
  const double kept = RoundTo(value_dtype, sum);
  if (!std::isfinite(kept)) return 0;
  // high - kept is exact where it is small: kept is high + low, rounded.
  return (exact.high - kept) + exact.low;
}

template <class Real>
Exact LseOf(const FoldState<Real>& state, const StateView<Real>& view, std::int64_t kept,
            std::int64_t component) {
  const std::int64_t line =
      state.shape.fold == Fold::softmax_weight ? kept : view.Line(kept, component);
  return LogSumExp<Real>(view.max[line], view.reference[line], view.rest + line);
}

// A floating result.
template <class Real>
double ResultOf(const FoldState<Real>& state, const StateView<Real>& view, Result result,
                std::int64_t kept, std::int64_t component, DType value_dtype) {
  if (result == Result::lse) return LseOf(state, view, kept, component).Rounded();
  if (result == Result::residual) return Residual(LseOf(state, view, kept, component), value_dtype);
  const std::int64_t line = view.Line(kept, component);
  switch (state.shape.fold) {
    case Fold::logsumexp:
      return LseOf(state, view, kept, component).Rounded();
    case Fold::logsumexp_weight:
      return LogOfTotal<Real>(view.reference[line], view.total + line).Rounded();
    case Fold::softmax_weight:
      return Mean(view, kept, line);
    default:
      return Read<Real>(view.total + line).Rounded();
  }
}

// f(element, line, kept, component) for all elements of the output.
template <class Storage, class Real, class F>
void ForElements(const FoldState<Real>& state, Result result, std::int64_t begin, std::int64_t end,
                 const FoldOutput& output, const F& f) {
  // The log-sum-exp that belongs to a mean is one for all its components.
  const bool one = state.shape.fold == Fold::softmax_weight && result != Result::value;
  const std::int64_t dim = one ? 1 : state.shape.dim;
  Storage* const data = static_cast<Storage*>(output.data);
  for (std::int64_t kept = begin; kept < end; ++kept) {
    Storage* const to = data + (kept - begin) * output.kept;
    for (std::int64_t d = 0; d < dim; ++d) f(to + d * output.component, kept, d);
  }
}

}  // namespace

template <class Real>
void WriteState(const FoldState<Real>& state, Result result, std::int64_t begin, std::int64_t end,
                const FoldOutput& output) {
  const StateView<Real> view(state);
  if (result == Result::argument) {
    return ForElements<std::int64_t>(
        state, result, begin, end, output,
        [&](std::int64_t* to, std::int64_t kept, std::int64_t component) {
          const std::int64_t* const from = view.index + view.Line(kept, component) * view.each;
          for (std::int64_t k = 0; k < view.each; ++k) to[k * output.count] = from[k];
        });
  }
  VisitFloating(output.dtype, [&](auto storage) {
    using Storage = decltype(storage);
    ForElements<Storage>(state, result, begin, end, output,
                         [&](Storage* to, std::int64_t kept, std::int64_t component) {
                           if (IsExtremum(state.shape.fold)) {
                             const Real* const from =
                                 view.value + view.Line(kept, component) * view.each;
                             for (std::int64_t k = 0; k < view.each; ++k) {
                               to[k * output.count] = FromDouble<Storage>(from[k]);
                             }
                           } else {
                             *to = FromDouble<Storage>(ResultOf(state, view, result, kept,
                                                                component, output.value_dtype));
                           }
                         });
  });
}

template void WriteState<float>(const FoldState<float>&, Result, std::int64_t, std::int64_t,
                                const FoldOutput&);
template void WriteState<double>(const FoldState<double>&, Result, std::int64_t, std::int64_t,
                                 const FoldOutput&);

}  // namespace logsum::reduce
