// Runs a program over a cell.
#if defined(LOGSUM_REDUCE_INTERPRET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_REDUCE_INTERPRET_INL_H_
#undef LOGSUM_REDUCE_INTERPRET_INL_H_
#else
#define LOGSUM_REDUCE_INTERPRET_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hwy/highway.h"
#include "reduce/elementwise-inl.h"
#include "reduce/elementwise_vectors-inl.h"
#include "reduce/fold-inl.h"
#include "reduce/kernels.hpp"
#include "reduce/operation.hpp"
#include "reduce/pack-inl.h"
#include "reduce/vectors-inl.h"
#include "reduce/weighted-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduce::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
void RunInstruction(Code code, const Operation<Real>& operation) {
  if (code >= Code::pair_dot && code <= Code::pair_negative_sqdist) {
    const std::int64_t dim = std::max(operation.dims[0], operation.dims[1]);
    const auto run = code == Code::pair_dot      ? DotTile<Real>
                     : code == Code::pair_sqdist ? SqDistTile<Real>
                                                 : NegativeSqDistTile<Real>;
    const TileSpan span{0, 0, operation.rows, operation.columns};
    run(operation.operands[0], operation.operands[1], dim, span, operation.result);
  } else if (code < Code::add) {
    MapUnary(code, operation);
  } else if (code < Code::clamp && code != Code::copy) {
    MapBinary(code, operation);
  } else if (code < Code::copy) {
    MapTernary(code, operation);
  } else if (code == Code::copy) {
    MapUnary(code, operation);
  } else {
    MapVectors(code, operation);
  }
}

template <class Real>
bool AllFinite(const Real* values, std::int64_t count) {
  const hn::ScalableTag<Real> d;
  auto sum = hn::Zero(d);  // of zeros; whatever is not finite makes it NaN
  for (std::int64_t i = 0; i < count; i += static_cast<std::int64_t>(hn::Lanes(d))) {
    sum = hn::MulAdd(hn::Load(d, values + i), hn::Zero(d), sum);
  }
  return hn::AllTrue(d, hn::Eq(sum, hn::Zero(d)));
}

template <class Real>
class CellRun {
 public:
  explicit CellRun(const Cell<Real>& cell) : cell_(cell), program_(cell.program) {
    Real* free = cell.memory;
    const Blocking& blocking = cell.blocking;
    const auto take = [&](Dependence stage, int planes) {
      const std::int64_t plane = PlaneSize<Real>(stage, blocking);
      Of(stage) = {free, plane};
      free += planes * plane;
    };
    take(Dependence::parameter, program_.parameter.planes);
    take(Dependence::i, program_.row.planes);
    take(Dependence::j, program_.column.planes);
    take(Dependence::ij, program_.tile.planes);
    for (const PackedValue& value : program_.packed) {
      const std::int64_t stride = PackedStride<Real>(value.location.dim);
      packed_.push_back({free, stride, false});
      free +=
          stride * (value.stage == Dependence::i ? blocking.block_rows : blocking.block_columns);
    }
    tile_values_.resize(program_.tile.values.size());
  }

  void Run() {
    rows_ = cell_.rows;
    columns_ = cell_.columns;
    RunStage(program_.parameter, Dependence::parameter, {0, 1});
    for (std::int64_t row = cell_.rows.begin; row < cell_.rows.end;
         row += cell_.blocking.block_rows) {
      rows_ = {row, std::min(row + cell_.blocking.block_rows, cell_.rows.end)};
      RunStage(program_.row, Dependence::i, rows_);
      Pack(Dependence::i, rows_);
      for (std::int64_t column = cell_.columns.begin; column < cell_.columns.end;
           column += cell_.blocking.block_columns) {
        columns_ = {column, std::min(column + cell_.blocking.block_columns, cell_.columns.end)};
        RunStage(program_.column, Dependence::j, columns_);
        Pack(Dependence::j, columns_);
        RunTiles();
      }
    }
  }

 private:
  struct Stage {
    Real* memory = nullptr;
    std::int64_t plane = 0;
  };
  struct Packed {
    Real* vectors;
    std::int64_t stride;
    bool is_finite;
  };

  Stage& Of(Dependence stage) { return stages_[static_cast<std::size_t>(stage)]; }

  // A value as instructions of `stage` see it; of an i value in tiles the block's first row's.
  TileValue<Real> See(const Location& location, Dependence stage) {
    const Stage& home = Of(location.stage);
    TileValue<Real> value{home.memory + location.plane * home.plane,
                          location.repeated ? 0 : home.plane, 0, true};
    if (location.stage == Dependence::ij) {
      value.row = cell_.blocking.block_columns;
    } else if (location.stage != stage && location.stage != Dependence::j) {
      value.per_column = false;
      value.row = location.stage == Dependence::i ? 1 : 0;
    }
    return value;
  }

  // One row of all values of a stage.
  void RunStage(const Schedule& schedule, Dependence stage, const Extent& indices) {
    const std::int64_t padded = PaddedToRun<Real>(indices.Size());
    for (const Instruction& instruction : schedule.instructions) {
      Operation<Real> operation = OperationOf<Real>(instruction, schedule, [&](int value) {
        return See(schedule.values[static_cast<std::size_t>(value)], stage);
      });
      if (instruction.code <= Code::size_j) {
        RunLeaf(instruction, indices, padded, operation.dim, operation.result);
        continue;
      }
      operation.rows = 1;
      operation.columns = padded;
      RunInstruction(instruction.code, operation);
    }
  }

  void RunLeaf(const Instruction& instruction, const Extent& indices, std::int64_t padded,
               std::int64_t dim, const TileValue<Real>& to) {
    const auto fill = [&](auto number) { std::fill_n(to.data, padded, static_cast<Real>(number)); };
    switch (instruction.code) {
      case Code::variable:
        return LoadBlock(cell_.arguments[static_cast<std::size_t>(instruction.first)],
                         indices.begin, indices.Size(), padded, dim, to);
      case Code::number:
        return fill(instruction.number);
      case Code::size_i:
        return fill(cell_.num_rows);
      case Code::size_j:
        return fill(cell_.num_columns);
      default:
        for (std::int64_t i = 0; i < padded; ++i) {
          to.data[i] = static_cast<Real>(indices.begin + i);
        }
    }
  }

  // The vectors that weighted sums want row by row.
  void Pack(Dependence stage, const Extent& indices) {
    for (std::size_t i = 0; i < packed_.size(); ++i) {
      const PackedValue& value = program_.packed[i];
      if (value.stage != stage) continue;
      Packed& packed = packed_[i];
      const TileValue<Real> from = See(value.location, stage);
      PackVectors<Real>(from.data, from.component, value.location.dim, indices.Size(),
                        packed.vectors);
      packed.is_finite = AllFinite(packed.vectors, indices.Size() * packed.stride);
    }
  }

  void RunTiles() {
    const Schedule& schedule = program_.tile;
    for (std::size_t i = 0; i < schedule.values.size(); ++i) {
      tile_values_[i] = See(schedule.values[i], Dependence::ij);
    }
    TileSpan span{rows_.begin, columns_.begin, 0, columns_.Size()};
    for (; span.row < rows_.end; span.row += span.rows) {
      span.rows = std::min(cell_.blocking.tile_rows, rows_.end - span.row);
      int done = 0;
      for (auto push = program_.pushes.begin(); push != program_.pushes.end();) {
        for (; done < push->after; ++done) {
          RunTileInstruction(schedule.instructions[static_cast<std::size_t>(done)], span);
        }
        const auto next = push + push->sharing;
        PushGroups({push, next}, span);
        push = next;
      }
      for (std::size_t i = 0; i < schedule.values.size(); ++i) {
        if (schedule.values[i].stage == Dependence::i) tile_values_[i].data += span.rows;
      }
    }
  }

  const TileValue<Real>& InTile(int value) const {
    return tile_values_[static_cast<std::size_t>(value)];
  }

  void RunTileInstruction(const Instruction& instruction, const TileSpan& span) {
    const hn::ScalableTag<Real> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    if (instruction.code == Code::match) {
      return Match(instruction, span, InTile(instruction.result));
    }
    Operation<Real> operation =
        OperationOf<Real>(instruction, program_.tile, [&](int value) { return InTile(value); });
    operation.rows = span.rows;
    operation.columns = (span.columns + lanes - 1) / lanes * lanes;
    RunInstruction(instruction.code, operation);
  }

  // 1 at the pairs whose reduced index is the argument's: few, if any, in a tile.
  void Match(const Instruction& instruction, const TileSpan& span, const TileValue<Real>& result) {
    const auto slot = static_cast<std::size_t>(instruction.first);
    const ArgumentView& argument = cell_.arguments[slot];
    const std::int64_t dim = program_.tile.values[static_cast<std::size_t>(instruction.result)].dim;
    for (std::int64_t component = 0; component < dim; ++component) {
      Real* const to = result.data + component * result.component;
      for (std::int64_t row = 0; row < span.rows; ++row) {
        std::fill_n(to + row * result.row, PaddedToRun<Real>(span.columns), Real{0});
      }
      if (program_.slots[slot] == FormulaIndex::i) {
        for (std::int64_t row = 0; row < span.rows; ++row) {
          const std::int64_t column = argument.Integer(span.row + row, component) - span.column;
          if (column >= 0 && column < span.columns) to[row * result.row + column] = 1;
        }
      } else {
        for (std::int64_t column = 0; column < span.columns; ++column) {
          const std::int64_t row = argument.Integer(span.column + column, component) - span.row;
          if (row >= 0 && row < span.rows) to[row * result.row + column] = 1;
        }
      }
    }
  }

  FormulaIndex Kept(const reduce::Push& push) const {
    return program_.sources[static_cast<std::size_t>(push.group)].kept;
  }

  // The place of a tile in the state of a group.
  std::int64_t PlaceOf(const reduce::Push& push, const TileSpan& span) const {
    const std::int64_t begin = cell_.states[static_cast<std::size_t>(push.group)].begin;
    const FormulaIndex kept = Kept(push);
    return kept == FormulaIndex::i   ? span.row - begin
           : kept == FormulaIndex::j ? span.column - begin
                                     : 0;
  }

  // A value as folds read it: nothing where there is none.
  TileValue<Real> Folded(int value) const {
    if (value < 0) return {};
    TileValue<Real> folded = InTile(value);
    if (DimOf(value) == 1) folded.component = 0;
    return folded;
  }
  std::int64_t DimOf(int value) const {
    return program_.tile.values[static_cast<std::size_t>(value)].dim;
  }

  // Groups of the same terms, or one.
  void PushGroups(std::span<const reduce::Push> pushes, const TileSpan& span) {
    const reduce::Push& push = pushes.front();
    const bool is_sum =
        cell_.states[static_cast<std::size_t>(push.group)].state.shape.fold == Fold::sum;
    if (!is_sum || push.reduced_vectors >= 0) return PushGroup(push, span);
    SumTerms<Real> terms{Folded(push.formula), Folded(push.weight), Folded(push.row),
                         Folded(push.mask)};
    for (const int value : {push.formula, push.weight, push.row}) {
      if (value >= 0) terms.dim = std::max(terms.dim, DimOf(value));
    }
    sum_targets_.clear();
    for (const reduce::Push& of : pushes) {
      sum_targets_.push_back(TargetOf(cell_.states[static_cast<std::size_t>(of.group)].state,
                                      PlaceOf(of, span), Folded(of.scale)));
    }
    PushSums<Real>(Kept(push), sum_targets_, terms, span);
  }

  void PushGroup(const reduce::Push& push, const TileSpan& span) {
    const StateSpan<Real>& target = cell_.states[static_cast<std::size_t>(push.group)];
    const FormulaIndex kept = Kept(push);
    const std::int64_t begin = PlaceOf(push, span);
    if (push.reduced_vectors < 0) {
      PushTile<Real>(target.state, begin, InTile(push.formula),
                     push.weight < 0 ? TileValue<Real>{} : InTile(push.weight), span);
      return;
    }
    const bool rows_kept = kept == FormulaIndex::i;
    const std::int64_t row = span.row - rows_.begin;
    WeightedTile<Real> tile;
    tile.weight = InTile(push.formula);
    const Packed& reduced = packed_[static_cast<std::size_t>(push.reduced_vectors)];
    tile.vectors = reduced.vectors + (rows_kept ? 0 : row * reduced.stride);
    tile.stride = reduced.stride;
    tile.factor = static_cast<Real>(push.factor);
    bool is_finite = reduced.is_finite;
    if (push.kept_vectors >= 0) {
      const Packed& vectors = packed_[static_cast<std::size_t>(push.kept_vectors)];
      tile.kept = vectors.vectors + (rows_kept ? row * vectors.stride : 0);
      is_finite = is_finite && vectors.is_finite;
    }
    tile.keep = push.keep && !is_finite;
    PushWeighted<Real>(target.state, begin, tile, span);
  }

  const Cell<Real>& cell_;
  const Program& program_;
  std::array<Stage, 4> stages_;
  std::vector<Packed> packed_;
  std::vector<TileValue<Real>> tile_values_;
  std::vector<SumTarget<Real>> sum_targets_;
  Extent rows_, columns_;  // of the block
};

template <class Real>
void RunCell(const Cell<Real>& cell) {
  CellRun<Real>(cell).Run();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace logsum::reduce::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
