// Runs a score program on a tile.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/score_arrays.hpp"
#include "attention/score_body.hpp"
#include "attention/score_kernels.hpp"
#include "attention/score_program.hpp"
#include "reduce/operation.hpp"

namespace logsum::attend {

// Tiles that a program's variables stand for; those that it does not have may be null.
template <class Real>
struct ScoreTiles {
  const Real *s = nullptr, *gradient = nullptr;
  const Real *s_tangent = nullptr, *gradient_tangent = nullptr;

  const Real* At(std::int64_t slot) const {
    switch (slot) {
      case kScoreSlot:
        return s;
      case kGradientSlot:
        return gradient;
      case kScoreTangentSlot:
        return s_tangent;
      default:
        return gradient_tangent;
    }
  }
};

template <class Real>
class ScoreRun {
 public:
  // views: of the slots from kFirstUseSlot on. scratch: ScoreMemory<Real>(program) elements.
  ScoreRun(const ScoreProgram& program, std::span<const View<4>> views, const Problem& problem,
           const TilePlace& place, Real* scratch)
      : program_(program),
        problem_(problem),
        views_(views),
        place_(place),
        instruction_(reduce::Kernels<Real>().instruction),
        values_(program.stages.tile.values.size()) {
    const auto take = [&](Dependence stage, const Schedule& schedule) {
      planes_[static_cast<std::size_t>(stage)] = scratch;
      scratch += schedule.planes * ScorePlane<Real>(stage);
    };
    take(Dependence::parameter, program.stages.parameter);
    take(Dependence::i, program.stages.row);
    take(Dependence::j, program.stages.column);
    take(Dependence::ij, program.stages.tile);
  }

  // Calls use(k, value, first, keys) with the values of output k for `keys` keys from `first` on,
  // of all outputs but the last, which is written to `last`: one of the tiles may be there. What no
  // later output depends on may be overwritten by `use`.
  template <class Use>
  void Run(const ScoreTiles<Real>& tiles, Real* last, const Use& use) {
    RunStages();
    for (int first = 0; first < place_.keys; first += kScoreKeys) {
      const int keys = std::min(kScoreKeys, place_.keys - first);
      RunKeys(tiles, first, keys, last + std::int64_t{first} * kTileQueries, use);
    }
  }

  // Whether the only output, of no tiles, is other than 0 for a pair. tile: memory for it.
  bool IsAnywhere(Real* tile) {
    RunStages();
    for (int first = 0; first < place_.keys; first += kScoreKeys) {
      const int keys = std::min(kScoreKeys, place_.keys - first);
      RunKeys({}, first, keys, tile, [](auto&&...) {});
      for (int j = 0; j < keys; ++j) {
        int count = 0;  // not an early end, so that compilers make vectors of it
        for (int i = 0; i < place_.queries; ++i) count += tile[j * kTileQueries + i] != 0;
        if (count > 0) return true;
      }
    }
    return false;
  }

  // A value of any stage as a tile.
  void Copy(const reduce::TileValue<Real>& value, int keys, Real* to) const {
    reduce::Operation<Real> copy{};
    copy.result = {to, 0, kTileQueries, true};
    copy.operands[0] = value;
    copy.dims[0] = 1;
    copy.rows = keys;
    copy.columns = kTileQueries;
    instruction_(reduce::Code::copy, copy);
  }

 private:
  using Dependence = formula::Dependence;
  using Instruction = reduce::Instruction;
  using Schedule = reduce::Schedule;
  using Value = reduce::TileValue<Real>;

  void RunStages() {
    RunStage(program_.stages.parameter, Dependence::parameter, 1);
    RunStage(program_.stages.row, Dependence::i, place_.keys);
    RunStage(program_.stages.column, Dependence::j, kTileQueries);
  }

  template <class Use>
  void RunKeys(const ScoreTiles<Real>& tiles, int first, int keys, Real* last, const Use& use) {
    Open(first);
    OpenLast(last);
    int done = 0;
    for (std::size_t k = 0; k < program_.outputs.size(); ++k) {
      const ScoreOutput& output = program_.outputs[k];
      for (; done < output.after; ++done) {
        RunInTile(program_.stages.tile.instructions[static_cast<std::size_t>(done)], tiles, first,
                  keys);
      }
      const Value& value = At(output.value);
      if (k + 1 < program_.outputs.size()) {
        use(static_cast<int>(k), value, first, keys);
      } else if (value.data != last) {
        Copy(value, keys, last);
      }
    }
  }

  Value& At(int value) { return values_[static_cast<std::size_t>(value)]; }

  // A value as instructions of `stage` see it; of a key's value in tiles that of the first key.
  Value See(const reduce::Location& location, Dependence stage) const {
    const std::int64_t plane = ScorePlane<Real>(location.stage);
    Value value{planes_[static_cast<std::size_t>(location.stage)] + location.plane * plane,
                location.repeated ? 0 : plane, 0, true};
    if (location.stage == Dependence::ij) {
      value.row = kTileQueries;
    } else if (location.stage != stage && location.stage != Dependence::j) {
      value.per_column = false;
      value.row = location.stage == Dependence::i ? 1 : 0;
    }
    return value;
  }

  void RunStage(const Schedule& schedule, Dependence stage, int count) {
    const std::int64_t padded = reduce::PaddedToRun<Real>(count);
    for (const Instruction& instruction : schedule.instructions) {
      auto operation = reduce::OperationOf<Real>(instruction, schedule, [&](int value) {
        return See(schedule.values[static_cast<std::size_t>(value)], stage);
      });
      if (instruction.code <= reduce::Code::size_j) {
        RunLeaf(instruction, stage, padded, operation.result.data);
        continue;
      }
      operation.rows = 1;
      operation.columns = padded;
      instruction_(instruction.code, operation);
    }
  }

  void RunLeaf(const Instruction& instruction, Dependence stage, std::int64_t padded, Real* to) {
    const auto count_from = [&](std::int64_t first) {
      for (std::int64_t k = 0; k < padded; ++k) to[k] = static_cast<Real>(first + k);
    };
    switch (instruction.code) {
      case reduce::Code::index_i:
        return count_from(place_.key);
      case reduce::Code::index_j:
        return count_from(place_.query);
      case reduce::Code::number:
        std::fill_n(to, padded, static_cast<Real>(instruction.number));
        return;
      default:
        break;
    }
    if (instruction.first >= kFirstUseSlot) return LoadLine(instruction.first, stage, padded, to);
    const auto entry = static_cast<std::size_t>(place_.batch);
    const std::array<std::int64_t, 5> known = {
        0, place_.batch, place_.head, problem_.lengths_q[entry], problem_.lengths_k[entry]};
    std::fill_n(to, padded, static_cast<Real>(known[static_cast<std::size_t>(instruction.first)]));
  }

  // The array of a use from the tile's first pair on.
  View<4> FromTile(std::int64_t slot) const {
    View<4> view = views_[static_cast<std::size_t>(slot - kFirstUseSlot)];
    const std::int64_t offset =
        place_.batch * view.strides[kBatchAxis] + place_.head * view.strides[kHeadAxis] +
        place_.query * view.strides[kQueryAxis] + place_.key * view.strides[kKeyAxis];
    view.data = const_cast<void*>(Advanced(view.data, view.dtype, offset));
    return view;
  }

  // Elements of a use that knows one index or none.
  void LoadLine(std::int64_t slot, Dependence stage, std::int64_t padded, Real* to) const {
    const View<4> view = FromTile(slot);
    const int count = stage == Dependence::i   ? place_.keys
                      : stage == Dependence::j ? place_.queries
                                               : 1;
    const std::int64_t step = view.strides[stage == Dependence::i ? kKeyAxis : kQueryAxis];
    VisitElements(view.dtype, [&](auto storage) {
      const auto* const from = static_cast<const decltype(storage)*>(view.data);
      for (int k = 0; k < count; ++k) to[k] = AsReal<Real>(from[k * step]);
    });
    std::fill(to + count, to + padded, to[count - 1]);
  }

  void Open(int first) {
    const std::vector<reduce::Location>& locations = program_.stages.tile.values;
    for (std::size_t k = 0; k < values_.size(); ++k) {
      values_[k] = See(locations[k], Dependence::ij);
      if (locations[k].stage == Dependence::i) values_[k].data += first;
    }
  }

  // The last instruction writes the last output where it is wanted.
  void OpenLast(Real* last) {
    const std::vector<Instruction>& instructions = program_.stages.tile.instructions;
    if (!program_.in_place || instructions.empty()) return;
    const Instruction& instruction = instructions.back();
    const int value = program_.outputs.back().value;
    if (instruction.code != reduce::Code::variable && instruction.result == value) {
      At(value).data = last;
    }
  }

  void RunInTile(const Instruction& instruction, const ScoreTiles<Real>& tiles, int first,
                 int keys) {
    if (instruction.code == reduce::Code::variable) {
      return ReadTile(instruction, tiles, first, keys);
    }
    auto operation = reduce::OperationOf<Real>(instruction, program_.stages.tile,
                                               [&](int value) { return At(value); });
    operation.rows = keys;
    operation.columns = kTileQueries;
    instruction_(instruction.code, operation);
  }

  void ReadTile(const Instruction& instruction, const ScoreTiles<Real>& tiles, int first,
                int keys) {
    Value& value = At(instruction.result);
    if (instruction.first >= kFirstUseSlot) {
      View<4> view = FromTile(instruction.first);
      view.data =
          const_cast<void*>(Advanced(view.data, view.dtype, first * view.strides[kKeyAxis]));
      return kernels_.load_pairs(view, place_.queries, keys, value.data);
    }
    const Real* const given = tiles.At(instruction.first) + std::int64_t{first} * kTileQueries;
    if (program_.in_place) {
      value.data = const_cast<Real*>(given);  // an operand, which is only read
    } else {
      std::copy_n(given, keys * kTileQueries, value.data);
    }
  }

  const ScoreProgram& program_;
  const Problem& problem_;
  const std::span<const View<4>> views_;
  const TilePlace& place_;
  void (*const instruction_)(reduce::Code, const reduce::Operation<Real>&);
  const ScoreKernels<Real>& kernels_ = ScoreKernelsOfTarget<Real>();
  std::array<Real*, 4> planes_{};
  std::vector<Value> values_;  // of the tile
};

}  // namespace logsum::attend
