#include "formula/derivatives.hpp"

#include <limits>
#include <numbers>

#include "formula/op_traits.hpp"

namespace logsum::formula {
namespace {

// An elementwise function of one operand has a factor, f'(x), given x and f(x).
using Factor = Term (*)(const Term& x, const Term& value);
// Any other operation says what it sends to whom.
using Rule = void (*)(Pull& pull);

struct Derivative {
  Op op;
  Factor factor = nullptr;
  Rule rule = nullptr;
};

// Leaves, and what is constant wherever it is differentiable.
void Constant(Pull&) {}

void PullAdd(Pull& pull) {
  pull.To(0, pull.adjoint());
  pull.To(1, pull.adjoint());
}

void PullSubtract(Pull& pull) {
  pull.To(0, pull.adjoint());
  if (pull.Wants(1)) pull.To(1, -pull.adjoint());
}

void PullMultiply(Pull& pull) {
  if (pull.Wants(0)) pull.To(0, Product(pull.adjoint(), pull.y()));
  if (pull.Wants(1)) pull.To(1, Product(pull.adjoint(), pull.x()));
}

void PullDivide(Pull& pull) {
  const Term share = Product(pull.adjoint(), Apply(Op::inverse, pull.y()));
  pull.To(0, share);
  if (pull.Wants(1)) pull.To(1, -Product(share, pull.value()));
}

// x^y: y x^(y-1), which is 0 for y = 0 whatever x is; x^y log x, which is 0 for x = 0.
void PullPower(Pull& pull) {
  const Term x = pull.x(), y = pull.y();
  if (pull.Wants(0)) {
    const Term slope = Keep(y, y * Apply(Op::power, x, y - y.Number(1)));
    pull.To(0, Product(pull.adjoint(), slope));
  }
  if (pull.Wants(1)) {
    pull.To(1, Product(pull.adjoint(), Keep(x, pull.value() * Apply(Op::log, x))));
  }
}

// An operand's share of the sum; two infinite ones share equally.
void PullLogAddExp(Pull& pull) {
  const Term infinity = pull.x().Number(std::numeric_limits<double>::infinity());
  const Term residual =
      Keep(pull.x() == infinity, Keep(pull.y() == infinity, infinity.Number(std::numbers::ln2)));
  for (std::size_t k : {0, 1}) {
    if (!pull.Wants(k)) continue;
    const Term share = Apply(Op::probability, pull.operand(k), pull.value(), residual);
    pull.To(k, Product(pull.adjoint(), share));
  }
}

void PullKeep(Pull& pull) { pull.ToMasked(1, pull.x().expression, pull.adjoint()); }

void PullRatio(Pull& pull) {
  const Term adjoint = Product(pull.adjoint(), pull.value());
  pull.To(0, adjoint);
  if (pull.Wants(1)) pull.To(1, -adjoint);
}

// min(max(x, y), z), with a bound's own value counted as x's.
void PullClamp(Pull& pull) {
  const Term x = pull.x(), low = pull.y(), high = pull.z();
  if (pull.Wants(0)) pull.To(0, Keep(low <= x, Keep(x <= high, pull.adjoint())));
  if (pull.Wants(1)) pull.To(1, Keep(x < low, Keep(low <= high, pull.adjoint())));
  if (pull.Wants(2)) pull.To(2, Keep((high < x) + (high < low), pull.adjoint()));
}

// What is not chosen takes no part, even where its derivative is infinite.
void PullIfElse(Pull& pull) {
  const Term zero = pull.x().Number(0), chosen = zero <= pull.x();
  pull.ToMasked(1, chosen.expression, pull.adjoint());
  if (pull.Wants(2)) pull.ToMasked(2, (chosen == zero).expression, pull.adjoint());
}

// The clamp at one guards a value against rounding; the derivative is the exponential's.
void PullProbability(Pull& pull) {
  const Term adjoint = Product(pull.adjoint(), pull.value());
  pull.To(0, adjoint);
  if (pull.Wants(1)) pull.To(1, -adjoint);
  if (pull.Wants(2)) pull.To(2, -adjoint);
}

void PullSum(Pull& pull) {
  pull.To(0, pull.adjoint().Make(Op::broadcast, {pull.adjoint().expression}, 0, pull.x().dim()));
}

void PullDot(Pull& pull) {
  if (pull.node().operands[0] == pull.node().operands[1]) {
    const Term two = pull.adjoint().Number(2);
    pull.To(0, Product(Product(pull.adjoint(), two), pull.x()));
    return;
  }
  if (pull.Wants(0)) pull.To(0, Product(pull.adjoint(), pull.y()));
  if (pull.Wants(1)) pull.To(1, Product(pull.adjoint(), pull.x()));
}

void PullSqDist(Pull& pull) {
  const Term adjoint = Product(pull.adjoint(), pull.adjoint().Number(2));
  const Term share = Product(adjoint, pull.x() - pull.y());
  pull.To(0, share);
  if (pull.Wants(1)) pull.To(1, -share);
}

void PullBroadcast(Pull& pull) { pull.To(0, SumOf(pull.adjoint())); }

void PullExtract(Pull& pull) {
  pull.To(0, pull.adjoint().Make(Op::pad, {pull.adjoint().expression}, pull.node().first,
                                 pull.x().dim()));
}

void PullPad(Pull& pull) {
  pull.To(0, pull.adjoint().Make(Op::extract, {pull.adjoint().expression}, pull.node().first,
                                 pull.x().dim()));
}

void PullConcat(Pull& pull) {
  std::int64_t begin = 0;
  for (std::size_t k = 0; k < pull.node().operands.size(); ++k) {
    const std::int64_t dim = pull.operand(k).dim();
    if (pull.Wants(k)) {
      pull.To(k, pull.adjoint().Make(Op::extract, {pull.adjoint().expression}, begin, dim));
    }
    begin += dim;
  }
}

void PullMatVec(Pull& pull) {
  if (pull.Wants(0)) pull.To(0, Apply(Op::tensor_product, pull.adjoint(), pull.y()));
  if (pull.Wants(1)) pull.To(1, Apply(Op::vecmat, pull.adjoint(), pull.x()));
}

void PullVecMat(Pull& pull) {
  if (pull.Wants(0)) pull.To(0, Apply(Op::matvec, pull.y(), pull.adjoint()));
  if (pull.Wants(1)) pull.To(1, Apply(Op::tensor_product, pull.x(), pull.adjoint()));
}

void PullTensorProduct(Pull& pull) {
  if (pull.Wants(0)) pull.To(0, Apply(Op::matvec, pull.adjoint(), pull.y()));
  if (pull.Wants(1)) pull.To(1, Apply(Op::vecmat, pull.x(), pull.adjoint()));
}

// A norm: of squares that are all 0 its derivative is infinite times 0, and the mean of all
// directions, 0, is the subgradient that people want.
bool IsSumOfSquares(const Expression& x) {
  return x->op == Op::sqdist || (x->op == Op::dot && x->operands[0] == x->operands[1]) ||
         x->op == Op::square;
}

Term SqrtFactor(const Term& x, const Term&) {
  const Term factor = Apply(Op::rsqrt, x);
  return 0.5 * (IsSumOfSquares(x.expression) ? Keep(x, factor) : factor);
}

Term PowerOfFactor(const Term& x, const Term& value) {
  const std::int64_t n = value.expression->first;
  return static_cast<double>(n) * x.Make(Op::power_of, {x.expression}, n - 1);
}

constexpr std::array<Derivative, kOpCount> kDerivatives = {{
    {Op::variable, nullptr, Constant},
    {Op::number, nullptr, Constant},
    {Op::index_i, nullptr, Constant},
    {Op::index_j, nullptr, Constant},
    {Op::size_i, nullptr, Constant},
    {Op::size_j, nullptr, Constant},
    {Op::match, nullptr, Constant},
    {Op::negate, [](const Term& x, const Term&) { return x.Number(-1); }},
    {Op::exp, [](const Term&, const Term& value) { return value; }},
    {Op::log, [](const Term& x, const Term&) { return Apply(Op::inverse, x); }},
    {Op::square, [](const Term& x, const Term&) { return 2 * x; }},
    {Op::sqrt, SqrtFactor},
    {Op::rsqrt,
     [](const Term& x, const Term& value) { return -0.5 * (value * Apply(Op::inverse, x)); }},
    {Op::inverse, [](const Term&, const Term& value) { return -(value * value); }},
    {Op::abs, [](const Term& x, const Term&) { return Apply(Op::sign, x); }},
    {Op::sign, nullptr, Constant},
    {Op::step, nullptr, Constant},
    {Op::relu, [](const Term& x, const Term&) { return x.Number(0) < x; }},
    {Op::sin, [](const Term& x, const Term&) { return Apply(Op::cos, x); }},
    {Op::cos, [](const Term& x, const Term&) { return -Apply(Op::sin, x); }},
    {Op::atan, [](const Term& x, const Term&) { return Apply(Op::inverse, 1 + x * x); }},
    {Op::tanh, [](const Term&, const Term& value) { return 1 - value * value; }},
    {Op::sigmoid, [](const Term& x, const Term& value) { return value * Apply(Op::sigmoid, -x); }},
    {Op::softplus, [](const Term& x, const Term&) { return Apply(Op::sigmoid, x); }},
    {Op::log1p, [](const Term& x, const Term&) { return Apply(Op::inverse, 1 + x); }},
    {Op::expm1, [](const Term& x, const Term&) { return Apply(Op::exp, x); }},
    {Op::xlogx, [](const Term& x, const Term&) { return 1 + Apply(Op::log, x); }},
    {Op::power_of, PowerOfFactor},
    {Op::add, nullptr, PullAdd},
    {Op::subtract, nullptr, PullSubtract},
    {Op::multiply, nullptr, PullMultiply},
    {Op::divide, nullptr, PullDivide},
    {Op::power, nullptr, PullPower},
    {Op::logaddexp, nullptr, PullLogAddExp},
    {Op::equal, nullptr, Constant},
    {Op::not_equal, nullptr, Constant},
    {Op::less, nullptr, Constant},
    {Op::less_equal, nullptr, Constant},
    {Op::keep, nullptr, PullKeep},
    {Op::ratio, nullptr, PullRatio},
    {Op::clamp, nullptr, PullClamp},
    {Op::if_else, nullptr, PullIfElse},
    {Op::probability, nullptr, PullProbability},
    {Op::sum, nullptr, PullSum},
    {Op::dot, nullptr, PullDot},
    {Op::sqdist, nullptr, PullSqDist},
    {Op::broadcast, nullptr, PullBroadcast},
    {Op::extract, nullptr, PullExtract},
    {Op::pad, nullptr, PullPad},
    {Op::concat, nullptr, PullConcat},
    {Op::one_hot, nullptr, Constant},
    {Op::matvec, nullptr, PullMatVec},
    {Op::vecmat, nullptr, PullVecMat},
    {Op::tensor_product, nullptr, PullTensorProduct},
}};

constexpr bool EachHasOne() {
  for (const Derivative& row : kDerivatives) {
    if ((row.factor == nullptr) == (row.rule == nullptr)) return false;
  }
  return true;
}
static_assert(IsByOp(kDerivatives) && EachHasOne());

}  // namespace

void PullBack(Builder& builder, const Expression& node, Pull::Adjoints& adjoints) {
  Pull pull(builder, node, adjoints);
  const Derivative& derivative = kDerivatives[static_cast<std::size_t>(node->op)];
  if (derivative.rule != nullptr) {
    derivative.rule(pull);
  } else {
    pull.To(0, Product(pull.adjoint(), derivative.factor(pull.x(), pull.value())));
  }
}

}  // namespace logsum::formula
