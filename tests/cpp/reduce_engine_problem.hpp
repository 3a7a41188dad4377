// Reductions of expressions made by hand, run by the engine and by brute force.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "array.hpp"
#include "formula/expression.hpp"
#include "formula_evaluate.hpp"
#include "reduce/body.hpp"
#include "reduce/program.hpp"
#include "reduce/run.hpp"

namespace logsum::testing {

using formula::Dependence;
using formula::Expression;
using formula::Op;
using reduce::Fold;
using reduce::Result;

inline Expression Make(Op op, std::vector<Expression> operands, std::int64_t dim,
                       std::int64_t first = 0) {
  auto node = std::make_shared<formula::Node>();
  node->op = op;
  for (const auto& operand : operands) node->dependence = node->dependence | operand->dependence;
  node->operands = std::move(operands);
  node->dim = dim;
  node->first = first;
  return node;
}
inline Expression Number(double number) {
  auto node = std::make_shared<formula::Node>();
  node->op = Op::number;
  node->number = number;
  return node;
}
inline Expression Leaf(Op op, Dependence dependence, std::int64_t dim = 1, std::int64_t first = 0) {
  auto node = std::make_shared<formula::Node>();
  node->op = op;
  node->dependence = dependence;
  node->dim = dim;
  node->first = first;
  return node;
}

// Elementwise, of the larger dimension.
inline Expression E(Op op, std::vector<Expression> operands, std::int64_t first = 0) {
  std::int64_t dim = 1;
  for (const auto& operand : operands) dim = std::max(dim, operand->dim);
  return Make(op, std::move(operands), dim, first);
}
inline Expression operator+(Expression x, Expression y) { return E(Op::add, {x, y}); }
inline Expression operator-(Expression x, Expression y) { return E(Op::subtract, {x, y}); }
inline Expression operator*(Expression x, Expression y) { return E(Op::multiply, {x, y}); }
inline Expression operator-(Expression x) { return E(Op::negate, {x}); }
inline Expression Exp(Expression x) { return E(Op::exp, {x}); }
inline Expression Square(Expression x) { return E(Op::square, {x}); }
inline Expression SqDist(Expression x, Expression y) { return Make(Op::sqdist, {x, y}, 1); }
inline Expression Dot(Expression x, Expression y) { return Make(Op::dot, {x, y}, 1); }

using formula::Vector;

// Arguments of one dtype, of sizes rows, columns or 1, and groups over them.
class Problem {
 public:
  Problem(std::int64_t rows, std::int64_t columns, bool is_double = false, std::int64_t entries = 1)
      : rows(rows), columns(columns), entries(entries), is_double(is_double) {}

  // A new variable, filled by `draw`, whose entries lie in a (entries, index, dim) array.
  template <class Draw>
  Expression Variable(FormulaIndex index, std::int64_t dim, Draw draw) {
    const std::int64_t slot = static_cast<std::int64_t>(body.slots.size());
    body.slots.push_back({std::string("v") + std::to_string(slot), index, dim});
    const std::int64_t size = SizeOf(index);
    Vector& of = values.emplace_back(static_cast<std::size_t>(entries * size * dim));
    for (double& x : of) x = is_double ? draw() : static_cast<double>(static_cast<float>(draw()));
    const auto dependence = index == FormulaIndex::i   ? Dependence::i
                            : index == FormulaIndex::j ? Dependence::j
                                                       : Dependence::parameter;
    return Leaf(Op::variable, dependence, dim, slot);
  }
  // An i64 argument for match.
  Expression Match(FormulaIndex index, std::int64_t dim, const std::vector<std::int64_t>& of) {
    const Expression slot = Variable(index, dim, [] { return 0.0; });
    body.slots.back().integer = true;
    for (std::size_t i = 0; i < of.size(); ++i) values.back()[i] = static_cast<double>(of[i]);
    return Leaf(Op::match, Dependence::ij, dim, slot->first);
  }

  void Fold(reduce::Fold fold, Expression formula, FormulaIndex kept,
            std::vector<Result> results = {Result::value}, Expression weight = nullptr,
            std::int64_t count = 0) {
    const int group = static_cast<int>(body.groups.size());
    body.groups.push_back({fold, formula, weight, kept, count});
    for (const Result result : results) body.targets.push_back({group, result});
  }

  std::int64_t SizeOf(FormulaIndex index) const {
    return index == FormulaIndex::i ? rows : index == FormulaIndex::j ? columns : 1;
  }
  // The arguments as a pair sees them.
  formula::Point PointAt(std::int64_t entry, std::int64_t i, std::int64_t j) const {
    formula::Point point;
    for (std::size_t k = 0; k < values.size(); ++k) {
      const auto& slot = body.slots[k];
      const std::int64_t at = slot.index == FormulaIndex::i   ? i
                              : slot.index == FormulaIndex::j ? j
                                                              : 0;
      const auto first = values[k].begin() + (entry * SizeOf(slot.index) + at) * slot.dim;
      point.slots.emplace_back(first, first + slot.dim);
      point.matched.push_back(static_cast<double>(slot.index == FormulaIndex::i ? j : i));
    }
    point.i = static_cast<double>(i), point.j = static_cast<double>(j);
    point.M = static_cast<double>(rows), point.N = static_cast<double>(columns);
    return point;
  }
  std::int64_t DimOf(const reduce::Target& target) const {
    const auto& group = body.groups[static_cast<std::size_t>(target.group)];
    if (target.result == Result::lse || target.result == Result::residual) return 1;
    return group.weight != nullptr ? group.weight->dim : group.formula->dim;
  }

  // What the engine makes of it: for each target (entries, kept, [K,] dim) in order. `transposed`
  // arrays have their axes the other way round in memory.
  template <class T>
  std::vector<Vector> Run(int threads = 1, bool transposed = false) {
    std::vector<int> order;
    const auto shaped = [&](FormulaIndex index, std::int64_t count, std::int64_t dim) {
      std::vector<std::int64_t> shape{entries};
      if (index != FormulaIndex::parameter) shape.push_back(SizeOf(index));
      if (count > 0) shape.push_back(count);
      shape.push_back(dim);
      order.clear();
      for (int axis = static_cast<int>(shape.size()); transposed && axis-- > 0;) {
        order.push_back(axis);
      }
      return shape;
    };
    std::deque<Array<T>> arrays;
    std::deque<Array<std::int64_t>> integers;
    std::vector<Tensor> arguments, outputs;
    const auto add = [&](FormulaIndex index, std::int64_t count, std::int64_t dim, bool integer) {
      const auto shape = shaped(index, count, dim);
      return integer ? Tensor(integers.emplace_back(shape, order))
                     : Tensor(arrays.emplace_back(shape, order));
    };
    for (std::size_t i = 0; i < body.slots.size(); ++i) {
      const auto& slot = body.slots[i];
      arguments.push_back(add(slot.index, 0, slot.dim, slot.integer));
      for (std::size_t k = 0; k < values[i].size(); ++k) {
        const auto at = static_cast<std::int64_t>(k);
        slot.integer ? integers.back().Set(at, values[i][k]) : arrays.back().Set(at, values[i][k]);
      }
    }
    for (const auto& target : body.targets) {
      const auto& group = body.groups[static_cast<std::size_t>(target.group)];
      outputs.push_back(
          add(group.kept, group.count, DimOf(target), target.result == Result::argument));
    }
    const auto program = reduce::Compile(body.groups, body.slots);
    reduce::Run(*program, body, arguments, outputs, {threads});
    std::vector<Vector> results;
    std::size_t next = arrays.size(), next_integers = integers.size();
    for (const Tensor& output : outputs) (output.dtype == DType::i64 ? next_integers : next)--;
    for (const Tensor& output : outputs) {
      Vector& result = results.emplace_back();
      const auto read = [&](const auto& array) {
        for (std::int64_t i = 0; i < array.Size(); ++i) result.push_back(array.Get(i));
      };
      output.dtype == DType::i64 ? read(integers[next_integers++]) : read(arrays[next++]);
    }
    return results;
  }

  std::int64_t rows, columns, entries;
  bool is_double;
  Reduction::Body body;
  std::vector<Vector> values;  // of each slot
};

// Lets std::mt19937 draw standard normal numbers.
class Normal {
 public:
  explicit Normal(unsigned seed, double scale = 1) : random_(seed), scale_(scale) {}
  double operator()() { return scale_ * normal_(random_); }

 private:
  std::mt19937 random_;
  std::normal_distribution<double> normal_;
  double scale_;
};

}  // namespace logsum::testing
