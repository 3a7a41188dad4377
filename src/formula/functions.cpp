#include "formula/functions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "core/text.hpp"
#include "formula/differentiate.hpp"

namespace logsum::formula {
namespace {

template <Op op>
Term One(const CallArguments& a) {
  return Apply(op, a[0]);
}
template <Op op>
Term Two(const CallArguments& a) {
  return Apply(op, a[0], a[1]);
}
template <Op op>
Term Three(const CallArguments& a) {
  return Apply(op, a[0], a[1], a[2]);
}

Term SqNorm2(const Term& x) { return Apply(Op::dot, x, x); }

// With a weight for all components, for each, or for each pair of them.
Term WeightedSqNorm(const Term& weight, const Term& x) {
  if (weight.dim() == 1) return weight * SqNorm2(x);
  if (weight.dim() == x.dim()) return Apply(Op::dot, weight, x * x);
  if (weight.dim() == x.dim() * x.dim()) {
    return Apply(Op::dot, x, Apply(Op::matvec, weight, x));
  }
  throw Refusal(Text("a weight of dimension 1, ", x.dim(), " or ", x.dim(), "^2"),
                Text("dimension ", weight.dim()));
}

Term SqDist(const CallArguments& a) {
  if (a[0].dim() == a[1].dim()) return Apply(Op::sqdist, a[0], a[1]);
  return SqNorm2(a[0] - a[1]);
}

Term Norm2(const CallArguments& a) {
  return a[0].dim() == 1 ? Apply(Op::abs, a[0]) : Apply(Op::sqrt, SqNorm2(a[0]));
}

// 0 for the vector 0, whose direction is none.
Term Normalize(const CallArguments& a) {
  const Term norm = SqNorm2(a[0]);
  return Keep(norm, Apply(Op::rsqrt, norm)) * a[0];
}

bool IsComparison(const Term& x) {
  const Op op = x.expression->op;
  return op == Op::equal || op == Op::not_equal || op == Op::less || op == Op::less_equal;
}

// A comparison, which is 0 or 1, is seen to be true by one operation less.
Term Where(const CallArguments& a) {
  const Term condition = IsComparison(a[0]) ? a[0] - a[0].Number(1) : -(a[0] == a[0].Number(0));
  return Apply(Op::if_else, condition, a[1], a[2]);
}

Term Concat(const CallArguments& a) { return a[0].Make(Op::concat, a.operands); }

Term Extract(const Term& x, std::int64_t first, std::int64_t dim) {
  return x.Make(Op::extract, {x.expression}, first, dim);
}

Term OneHot(const CallArguments& a) {
  if (a.integers[0] < 1) throw Refusal("a length of at least 1", Text(a.integers[0]));
  return a[0].Make(Op::one_hot, {a[0].expression}, 0, a.integers[0]);
}

Term Grad(const CallArguments& a) {
  if (a[2].dim() != a[0].dim()) {
    throw Refusal(Text("e of F's dimension, ", a[0].dim()), Text("dimension ", a[2].dim()));
  }
  const Root root[] = {{a.operands[0], a.operands[2]}};
  const Expression gradient = Gradient(a.builder, root, std::span(&a.operands[1], 1))[0];
  return {&a.builder, gradient ? gradient : a.builder.Zero(a[1].dim())};
}

Term IntCst(const CallArguments& a) {
  return {&a.builder, a.builder.Number(static_cast<double>(a.integers[0]))};
}

Term Zero(const CallArguments& a) {
  if (a.integers[0] < 1) throw Refusal("a dimension of at least 1", Text(a.integers[0]));
  return {&a.builder, a.builder.Zero(a.integers[0])};
}

constexpr std::string_view kSame = "D -> D";
constexpr std::string_view kPair = "D, D -> D; 1 is repeated";

constexpr auto kFunctions = std::to_array<Function>({
    // arithmetic
    {"Add", "xx", "x + y, Add(x, y)", kPair, "sum of two", Two<Op::add>},
    {"Subtract", "xx", "x - y, Subtract(x, y)", kPair, "difference", Two<Op::subtract>},
    {"Mult", "xx", "x * y, Mult(x, y)", kPair, "product, by component", Two<Op::multiply>},
    {"Divide", "xx", "x / y, Divide(x, y)", kPair, "quotient, by component", Two<Op::divide>},
    {"Minus", "x", "-x, Minus(x)", kSame, "negative", One<Op::negate>},
    {"Inv", "x", "Inv(x)", kSame, "1 / x", One<Op::inverse>},
    {"Square", "x", "Square(x)", kSame, "x^2", One<Op::square>},
    {"Sqrt", "x", "Sqrt(x)", kSame, "square root", One<Op::sqrt>},
    {"Rsqrt", "x", "Rsqrt(x)", kSame, "1 / square root", One<Op::rsqrt>},
    {"Pow", "xn", "x ** n, Pow(x, n)", kSame, "x^n for an integer n",
     [](const CallArguments& a) {
       return a[0].Make(Op::power_of, {a.operands[0]}, a.integers[0]);
     }},
    {"Powf", "xx", "x ** y, Powf(x, y)", kPair, "x^y for any y, NaN where x < 0 has no power",
     Two<Op::power>},
    // functions of numbers
    {"Exp", "x", "Exp(x)", kSame, "e^x", One<Op::exp>},
    {"Expm1", "x", "Expm1(x)", kSame, "e^x - 1, exact near 0", One<Op::expm1>},
    {"Log", "x", "Log(x)", kSame, "natural logarithm", One<Op::log>},
    {"Log1p", "x", "Log1p(x)", kSame, "log(1 + x), exact near 0", One<Op::log1p>},
    {"XLogX", "x", "XLogX(x)", kSame, "x log x, 0 at 0", One<Op::xlogx>},
    {"LogAddExp", "xx", "LogAddExp(x, y)", kPair, "log(e^x + e^y)", Two<Op::logaddexp>},
    {"Sin", "x", "Sin(x)", kSame, "sine", One<Op::sin>},
    {"Cos", "x", "Cos(x)", kSame, "cosine", One<Op::cos>},
    {"Atan", "x", "Atan(x)", kSame, "arc tangent", One<Op::atan>},
    {"Tanh", "x", "Tanh(x)", kSame, "hyperbolic tangent", One<Op::tanh>},
    {"Sigmoid", "x", "Sigmoid(x)", kSame, "1 / (1 + e^-x)", One<Op::sigmoid>},
    {"Softplus", "x", "Softplus(x)", kSame, "log(1 + e^x)", One<Op::softplus>},
    {"Abs", "x", "Abs(x)", kSame, "absolute value; derivative 0 at 0", One<Op::abs>},
    {"Sign", "x", "Sign(x)", kSame, "-1, 0 or 1", One<Op::sign>},
    {"Step", "x", "Step(x)", kSame, "1 where x >= 0, else 0", One<Op::step>},
    {"ReLU", "x", "ReLU(x)", kSame, "x where x > 0, else 0; derivative 0 at 0", One<Op::relu>},
    {"Clamp", "xxx", "Clamp(x, a, b)", "D, D, D -> D; 1 is repeated", "min(max(x, a), b)",
     Three<Op::clamp>},
    // choices
    {"IfElse", "xxx", "IfElse(x, a, b)", "D, D, D -> D; 1 is repeated",
     "a where x >= 0, else b; what is not chosen takes no part", Three<Op::if_else>},
    {"Where", "xxx", "Where(x, a, b)", "D, D, D -> D; 1 is repeated",
     "a where x is not 0, else b; what is not chosen takes no part", Where},
    {"LessThan", "xx", "x < y, y > x, LessThan(x, y)", kPair, "1 where true, else 0",
     Two<Op::less>},
    {"LessOrEqual", "xx", "x <= y, y >= x, LessOrEqual(x, y)", kPair, "1 where true, else 0",
     Two<Op::less_equal>},
    {"Equal", "xx", "x == y, Equal(x, y)", kPair, "1 where true, else 0", Two<Op::equal>},
    {"NotEqual", "xx", "x != y, NotEqual(x, y)", kPair, "1 where true, else 0", Two<Op::not_equal>},
    // vectors
    {"Sum", "x", "Sum(x)", "D -> 1", "sum of the components", One<Op::sum>},
    {"Scalprod", "xx", "x | y, Scalprod(x, y)", "D, D -> 1; 1 is repeated", "scalar product",
     [](const CallArguments& a) { return Dot(a[0], a[1]); }},
    {"SqNorm2", "x", "SqNorm2(x)", "D -> 1", "|x|^2",
     [](const CallArguments& a) { return SqNorm2(a[0]); }},
    {"Norm2", "x", "Norm2(x)", "D -> 1", "|x|; derivative 0 at 0", Norm2},
    {"Normalize", "x", "Normalize(x)", kSame, "x / |x|, 0 for 0", Normalize},
    {"SqDist", "xx", "SqDist(x, y)", "D, D -> 1; 1 is repeated", "|x - y|^2, from differences",
     SqDist},
    {"WeightedSqNorm", "xx", "WeightedSqNorm(w, x)", "1, D or D^2; D -> 1",
     "w |x|^2, the sum of w x^2, or (x | W x)",
     [](const CallArguments& a) { return WeightedSqNorm(a[0], a[1]); }},
    {"WeightedSqDist", "xxx", "WeightedSqDist(w, x, y)", "1, D or D^2; D, D -> 1",
     "WeightedSqNorm(w, x - y)",
     [](const CallArguments& a) { return WeightedSqNorm(a[0], a[1] - a[2]); }},
    {"Elem", "xn", "Elem(x, n)", "D -> 1", "component n, from 0",
     [](const CallArguments& a) { return Extract(a[0], a.integers[0], 1); }},
    {"Extract", "xnn", "Extract(x, n, d)", "D -> d", "d components from n on",
     [](const CallArguments& a) { return Extract(a[0], a.integers[0], a.integers[1]); }},
    {"Concat", "xx*", "Concat(x, y, ...)", "D, E, ... -> D + E + ...", "one after another", Concat},
    {"OneHot", "xn", "OneHot(x, d)", "1 -> d", "1 at component x, rounded, else 0", OneHot},
    {"MatVecMult", "xx", "MatVecMult(A, x)", "n m, m -> n", "A x, A row by row", Two<Op::matvec>},
    {"VecMatMult", "xx", "VecMatMult(x, A)", "n, n m -> m", "x A, A row by row", Two<Op::vecmat>},
    {"TensorProd", "xx", "TensorProd(x, y)", "n, m -> n m", "x[a] y[b] at a m + b",
     Two<Op::tensor_product>},
    // constants, as KeOps writes them
    {"IntCst", "n", "IntCst(n)", "1", "the number n", IntCst},
    {"Zero", "n", "Zero(d)", "d", "d zeros", Zero},
    // derivatives
    {"Grad", "xvx", "Grad(F, v, e)", "D, V, D -> V",
     "gradient of (F | e) with respect to the variable v, with e held fixed", Grad},
});

}  // namespace

std::span<const Function> Functions() { return kFunctions; }

const Function* FindFunction(std::string_view name) {
  const auto place = std::ranges::find(kFunctions, name, &Function::name);
  return place == kFunctions.end() ? nullptr : &*place;
}

Term Raise(const Term& x, const Term& y) {
  // Beyond, repeated multiplication is no better than a logarithm.
  constexpr double kLargest = 1024;
  if (IsNumber(y.expression)) {
    const double n = y.expression->number;
    if (std::abs(n) <= kLargest && n == std::trunc(n)) {
      return x.Make(Op::power_of, {x.expression}, static_cast<std::int64_t>(n));
    }
  }
  return Apply(Op::power, x, y);
}

}  // namespace logsum::formula
