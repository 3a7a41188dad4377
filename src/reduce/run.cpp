#include "reduce/run.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "reduce/bind.hpp"
#include "reduce/kernels.hpp"
#include "reduce/plan.hpp"

namespace logsum::reduce {
namespace {

template <class Real>
FoldShape ShapeOf(const Program& program, std::size_t group) {
  const Group& source = program.sources[group];
  const GroupShape& shape = program.groups[group];
  return {source.fold, source.kept, shape.dim, source.count, shape.weighted};
}

constexpr std::size_t Aligned(std::size_t bytes) {
  return (bytes + kStateAlign - 1) / kStateAlign * kStateAlign;
}

// States of all groups, each over its own extent of kept indices; none for an empty one.
template <class Real>
class States {
 public:
  States(const Program& program, std::vector<Extent> extents)
      : program_(program), extents_(std::move(extents)) {}

  std::size_t Bytes() const {
    std::size_t bytes = 0;
    for (std::size_t g = 0; g < extents_.size(); ++g) {
      if (extents_[g].Size() > 0) bytes += Aligned(StateBytes<Real>(Shape(g), extents_[g].Size()));
    }
    return bytes;
  }

  // The states in this memory, with nothing in them unless they are `filled`.
  std::vector<StateSpan<Real>> In(std::byte* memory, bool filled = false) const {
    std::vector<StateSpan<Real>> spans(extents_.size());
    for (std::size_t g = 0; g < extents_.size(); ++g) {
      if (extents_[g].Size() == 0) continue;
      spans[g] = {{Shape(g), extents_[g].Size(), memory}, extents_[g].begin};
      memory += Aligned(StateBytes<Real>(Shape(g), extents_[g].Size()));
      if (!filled) InitState(spans[g].state);
    }
    return spans;
  }

 private:
  FoldShape Shape(std::size_t group) const { return ShapeOf<Real>(program_, group); }

  const Program& program_;
  std::vector<Extent> extents_;
};

// One call.
template <class Real>
class Runner {
 public:
  Runner(const Program& program, const Binding& binding, int threads)
      : program_(program),
        binding_(binding),
        threads_(threads),
        plan_(MakePlan(program, std::max<std::int64_t>(binding.NumRows(), 1),
                       std::max<std::int64_t>(binding.NumColumns(), 1),
                       std::max<std::int64_t>(binding.NumEntries(), 1), sizeof(Real))),
        is_empty_(binding.NumRows() == 0 || binding.NumColumns() == 0),
        has_pushes_(program.groups.size(), false) {
    if (is_empty_) return;
    for (const Push& push : program.pushes)
      has_pushes_[static_cast<std::size_t>(push.group)] = true;
  }

  void Run() const {
    const std::int64_t entries = binding_.NumEntries();
    WriteUnits(entries);
    if (is_empty_ || program_.pushes.empty()) return;
    if (!plan_.rounds && IsSimple()) {
      const std::int64_t parts = plan_.Main().Count();
      ParallelFor(entries * parts, threads_,
                  [&](std::int64_t task) { RunPart(task / parts, task % parts); });
      return;
    }
    const auto run = [&](std::int64_t entry) {
      plan_.rounds ? RunRounds(entry) : RunMerged(entry);
    };
    // Within a task the calls below run on its thread.
    if (entries >= kManyEntries) return ParallelFor(entries, threads_, run);
    for (std::int64_t entry = 0; entry < entries; ++entry) run(entry);
  }

 private:
  static constexpr std::int64_t kManyEntries = 16;
  static constexpr std::int64_t kUnitsAtOnce = 1024;

  FormulaIndex Kept(std::size_t group) const { return program_.sources[group].kept; }
  std::int64_t KeptSize(std::size_t group) const {
    return Kept(group) == FormulaIndex::i   ? binding_.NumRows()
           : Kept(group) == FormulaIndex::j ? binding_.NumColumns()
                                            : 1;
  }

  // Whether a task's results are its own.
  bool IsSimple() const {
    if (plan_.Other().Count() > 1) return false;
    for (std::size_t g = 0; g < has_pushes_.size(); ++g) {
      if (has_pushes_[g] && Kept(g) != plan_.main && plan_.Main().Count() > 1) return false;
    }
    return true;
  }

  // Extents of all groups' states for a part of the main axis.
  std::vector<Extent> ExtentsOf(std::int64_t part) const {
    std::vector<Extent> extents(has_pushes_.size());
    for (std::size_t g = 0; g < extents.size(); ++g) {
      if (!has_pushes_[g]) continue;
      extents[g] = Kept(g) == plan_.main ? plan_.Main().Part(part) : Extent{0, KeptSize(g)};
    }
    return extents;
  }

  std::size_t CellBytes() const {
    return Aligned(sizeof(Real) *
                   static_cast<std::size_t>(CellMemory<Real>(program_, plan_.blocking)));
  }

  void RunCell(std::int64_t entry, const Extent& rows, const Extent& columns,
               std::span<const StateSpan<Real>> states, std::byte* memory) const {
    std::vector<ArgumentView> arguments;
    binding_.ArgumentsOf(entry, arguments);
    Kernels<Real>().run({program_, arguments, plan_.num_rows, plan_.num_columns, rows, columns,
                         plan_.blocking, states, reinterpret_cast<Real*>(memory)});
  }

  void RunCell(std::int64_t entry, std::int64_t part, std::int64_t other,
               std::span<const StateSpan<Real>> states, std::byte* memory) const {
    const Extent main = plan_.Main().Part(part), across = plan_.Other().Part(other);
    const bool by_rows = plan_.main == FormulaIndex::i;
    RunCell(entry, by_rows ? main : across, by_rows ? across : main, states, memory);
  }

  void Write(std::int64_t entry, std::size_t group, const StateSpan<Real>& span) const {
    const auto targets = binding_.Targets();
    for (std::size_t t = 0; t < targets.size(); ++t) {
      if (targets[t].group != static_cast<int>(group)) continue;
      WriteState(span.state, targets[t].result, 0, span.state.size,
                 binding_.OutputOf(entry, t, span.begin));
    }
  }

  void WriteUnits(std::int64_t entries) const {
    for (std::size_t g = 0; g < has_pushes_.size(); ++g) {
      if (has_pushes_[g]) continue;
      const Cut kept{KeptSize(g), kUnitsAtOnce};
      ParallelFor(entries * kept.Count(), threads_, [&](std::int64_t task) {
        std::vector<Extent> extents(has_pushes_.size());
        extents[g] = kept.Part(task % kept.Count());
        const States<Real> states(program_, std::move(extents));
        const TaskMemory<std::byte> memory(states.Bytes());
        Write(task / kept.Count(), g, states.In(memory.get())[g]);
      });
    }
  }

  // A part of the main axis against all of the other, with states of its own.
  void RunPart(std::int64_t entry, std::int64_t part) const {
    const States<Real> states(program_, ExtentsOf(part));
    const TaskMemory<std::byte> memory(CellBytes() + states.Bytes());
    const auto spans = states.In(memory.get() + CellBytes());
    RunCell(entry, part, 0, spans, memory.get());
    for (std::size_t g = 0; g < spans.size(); ++g) {
      if (spans[g].state.size > 0) Write(entry, g, spans[g]);
    }
  }

  // Parts against parts, with states that are merged in the order of their numbers.
  void RunMerged(std::int64_t entry) const {
    const std::int64_t parts = plan_.Main().Count(), others = plan_.Other().Count();
    const auto layout = [&](std::int64_t task) {
      return States<Real>(program_, ExtentsOf(task / others));
    };
    const std::size_t stride = layout(0).Bytes();  // the first part is the largest
    const Buffer<std::byte> memory(stride * static_cast<std::size_t>(parts * others));
    const auto at = [&](std::int64_t task) {
      return memory.get() + stride * static_cast<std::size_t>(task);
    };
    ParallelFor(parts * others, threads_, [&](std::int64_t task) {
      const TaskMemory<std::byte> cell(CellBytes());
      RunCell(entry, task / others, task % others, layout(task).In(at(task)), cell.get());
    });
    std::vector<std::vector<StateSpan<Real>>> all;
    for (std::int64_t task = 0; task < parts * others; ++task) {
      all.push_back(layout(task).In(at(task), true));
    }
    const auto merge = [&](std::size_t g, std::int64_t begin, std::int64_t end) {
      const auto first = static_cast<std::size_t>(begin);
      for (auto i = first + 1; i < static_cast<std::size_t>(end); ++i) {
        MergeStates(all[first][g].state, all[i][g].state);
      }
      Write(entry, g, all[first][g]);
    };
    for (std::size_t g = 0; g < has_pushes_.size(); ++g) {
      if (!has_pushes_[g]) continue;
      if (Kept(g) != plan_.main) {
        merge(g, 0, parts * others);
        continue;
      }
      ParallelFor(parts, threads_,
                  [&](std::int64_t part) { merge(g, part * others, (part + 1) * others); });
    }
  }

  // Part g of a band meets part (g + r) mod P of the other axis in round r.
  void RunRounds(std::int64_t entry) const {
    const std::int64_t main_size = plan_.Main().size, others = plan_.Other().Count();
    const std::int64_t band_parts = plan_.band / plan_.Main().part;
    std::vector<Extent> whole(has_pushes_.size()), banded = whole, single = whole;
    for (std::size_t g = 0; g < has_pushes_.size(); ++g) {
      if (!has_pushes_[g]) continue;
      const bool by_band = Kept(g) == plan_.main;
      (by_band                              ? banded
       : Kept(g) == FormulaIndex::parameter ? single
                                            : whole)[g] = {0, by_band ? plan_.band : KeptSize(g)};
    }
    // Parameters have a state for each part of a band, which meets all others in order.
    const States<Real> across(program_, whole), parameters(program_, single);
    const std::size_t band_bytes = States<Real>(program_, banded).Bytes();
    const Buffer<std::byte> memory(across.Bytes() + band_bytes +
                                   parameters.Bytes() * static_cast<std::size_t>(band_parts));
    std::byte* const band_memory = memory.get() + across.Bytes();
    const auto of_whole = across.In(memory.get());
    std::vector<std::vector<StateSpan<Real>>> of_part;
    for (std::int64_t part = 0; part < band_parts; ++part) {
      of_part.push_back(parameters.In(band_memory + band_bytes +
                                      parameters.Bytes() * static_cast<std::size_t>(part)));
    }
    for (std::int64_t begin = 0; begin < main_size; begin += plan_.band) {
      const Extent band{begin, std::min(begin + plan_.band, main_size)};
      for (Extent& extent : banded) {
        if (extent.Size() > 0) extent = band;
      }
      const auto of_band = States<Real>(program_, banded).In(band_memory);
      for (auto& spans : of_part) {
        for (std::size_t g = 0; g < spans.size(); ++g) {
          if (whole[g].Size() > 0) spans[g] = of_whole[g];
          if (banded[g].Size() > 0) spans[g] = of_band[g];
        }
      }
      RunBand(entry, begin / plan_.Main().part, Cut{band.Size(), plan_.Main().part}.Count(), others,
              of_part);
      for (std::size_t g = 0; g < of_band.size(); ++g) {
        if (banded[g].Size() > 0) Write(entry, g, of_band[g]);
      }
    }
    for (std::size_t g = 0; g < of_whole.size(); ++g) {
      if (whole[g].Size() > 0) Write(entry, g, of_whole[g]);
      if (single[g].Size() == 0) continue;
      for (std::size_t part = 1; part < of_part.size(); ++part) {
        MergeStates(of_part[0][g].state, of_part[part][g].state);
      }
      Write(entry, g, of_part[0][g]);
    }
  }

  void RunBand(std::int64_t entry, std::int64_t first_part, std::int64_t band_parts,
               std::int64_t others,
               const std::vector<std::vector<StateSpan<Real>>>& of_part) const {
    const std::int64_t parts = std::max(band_parts, others);
    for (std::int64_t round = 0; round < parts; ++round) {
      ParallelFor(band_parts, threads_, [&](std::int64_t part) {
        const std::int64_t other = (part + round) % parts;
        if (other >= others) return;
        const TaskMemory<std::byte> cell(CellBytes());
        RunCell(entry, first_part + part, other, of_part[static_cast<std::size_t>(part)],
                cell.get());
      });
    }
  }

  const Program& program_;
  const Binding& binding_;
  const int threads_;
  const Plan plan_;
  const bool is_empty_;
  std::vector<bool> has_pushes_;
};

}  // namespace

void Run(const Program& program, const Reduction::Body& body, std::span<const Tensor> arguments,
         std::span<Tensor> outputs, Context context) {
  const Binding binding(body, arguments, outputs);
  if (binding.IsDouble()) {
    Runner<double>(program, binding, context.threads).Run();
  } else {
    Runner<float>(program, binding, context.threads).Run();
  }
}

}  // namespace logsum::reduce
