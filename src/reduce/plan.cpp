#include "reduce/plan.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace logsum::reduce {
namespace {

// Of values of pairs. A little more than a first-level cache: fewer, larger tiles cost less than
// what they miss.
constexpr std::int64_t kTileBytes = 40 << 10;
// Of values of i or j: a part of a second-level cache.
constexpr std::int64_t kBlockBytes = 256 << 10;
// Where vectors are so long that a tile would have fewer pairs than these, it may take more memory.
constexpr std::int64_t kLeastTile = 256, kMostTileBytes = 1 << 20;
constexpr std::int64_t kTileRows = 16, kTileColumns = 256;
constexpr std::int64_t kBlockRows = 256;
constexpr std::int64_t kMostTileColumns = 2048;
constexpr std::int64_t kMostOwnColumns = 1024;  // whose states a task of columns holds
// Tasks for any number of threads that is likely, each worth starting.
constexpr std::int64_t kTasks = 32;
constexpr std::int64_t kLeastPairs = 32 << 10;
constexpr std::int64_t kSharedBytes = 2 << 20;  // of states that are copied for each task
constexpr std::int64_t kBandBytes = 2 << 20;    // of states of a band

std::int64_t RoundUp(std::int64_t x, std::int64_t unit) { return (x + unit - 1) / unit * unit; }
std::int64_t DivideUp(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

Blocking MakeBlocking(const Program& program, std::int64_t num_rows, std::int64_t element_size) {
  const std::int64_t run = 64 / element_size;
  const std::int64_t planes = std::max(program.tile.planes, 1);
  const std::int64_t tile =
      std::max(kTileBytes / element_size / planes,
               std::clamp(kMostTileBytes / element_size / planes, run, kLeastTile));
  Blocking blocking;
  blocking.tile_rows = std::clamp<std::int64_t>(tile / kTileColumns,
                                                std::min<std::int64_t>(tile / run, 4), kTileRows);
  blocking.tile_rows = std::min(blocking.tile_rows, num_rows);
  std::int64_t columns = tile / blocking.tile_rows;
  if (num_rows >= kTileRows) columns = std::min(columns, kTileColumns);
  std::int64_t column_planes = program.column.planes, row_planes = program.row.planes;
  for (const PackedValue& packed : program.packed) {
    (packed.stage == Dependence::i ? row_planes : column_planes) +=
        static_cast<int>(packed.location.dim);
  }
  columns =
      std::min(columns, kBlockBytes / element_size / std::max<std::int64_t>(column_planes, 1));
  blocking.block_columns = std::clamp<std::int64_t>(columns / run * run, run, kMostTileColumns);
  const std::int64_t rows = kBlockBytes / element_size / std::max<std::int64_t>(row_planes, 1);
  blocking.block_rows = RoundUp(std::clamp(std::min(rows, num_rows), std::int64_t{1}, kBlockRows),
                                blocking.tile_rows);
  return blocking;
}

// Bytes of what a group keeps, roughly.
std::int64_t KeptBytes(const Program& program, FormulaIndex kept, std::int64_t count,
                       std::int64_t element_size) {
  std::int64_t bytes = 0;
  for (const Push& push : program.pushes) {
    const auto group = static_cast<std::size_t>(push.group);
    if (program.sources[group].kept != kept) continue;
    bytes += count * program.groups[group].dim * 2 * element_size;
  }
  return bytes;
}

}  // namespace

Plan MakePlan(const Program& program, std::int64_t num_rows, std::int64_t num_columns,
              std::int64_t entries, std::int64_t element_size) {
  const std::int64_t run = 64 / element_size;
  Plan plan;
  plan.num_rows = num_rows;
  plan.num_columns = num_columns;
  plan.blocking = MakeBlocking(program, num_rows, element_size);
  bool keeps_rows = false, keeps_columns = false;
  for (const Push& push : program.pushes) {
    const FormulaIndex kept = program.sources[static_cast<std::size_t>(push.group)].kept;
    keeps_rows |= kept == FormulaIndex::i;
    keeps_columns |= kept == FormulaIndex::j;
  }
  const std::int64_t pairs = num_rows * num_columns;
  // Tasks that one entry of the batch should make.
  const std::int64_t tasks =
      std::clamp(pairs / kLeastPairs, std::int64_t{1}, DivideUp(kTasks, entries));
  plan.rows = {num_rows, num_rows};
  plan.columns = {num_columns, num_columns};
  if (keeps_rows && keeps_columns) {
    const std::int64_t of_rows = KeptBytes(program, FormulaIndex::i, num_rows, element_size);
    const std::int64_t of_columns = KeptBytes(program, FormulaIndex::j, num_columns, element_size);
    plan.main = of_rows >= of_columns ? FormulaIndex::i : FormulaIndex::j;
    if (std::min(of_rows, of_columns) * tasks > kSharedBytes) {
      // P parts of a band and of the other axis, P^2 cells.
      std::int64_t parts = std::clamp<std::int64_t>(tasks / 2, 1, 16);
      while (parts > 1 && pairs / (parts * parts) < kLeastPairs) parts /= 2;
      const bool by_rows = plan.main == FormulaIndex::i;
      Cut& main = by_rows ? plan.rows : plan.columns;
      Cut& other = by_rows ? plan.columns : plan.rows;
      const std::int64_t main_unit = by_rows ? plan.blocking.tile_rows : run;
      const std::int64_t other_unit = by_rows ? run : plan.blocking.tile_rows;
      const std::int64_t bands = DivideUp(std::max(of_rows, of_columns), kBandBytes);
      plan.rounds = true;
      main.part = RoundUp(DivideUp(DivideUp(main.size, bands), parts), main_unit);
      other.part = RoundUp(DivideUp(other.size, parts), other_unit);
      plan.band = main.part * parts;
      return plan;
    }
  } else {
    plan.main = keeps_columns ? FormulaIndex::j : FormulaIndex::i;
  }
  Cut& main = plan.main == FormulaIndex::i ? plan.rows : plan.columns;
  Cut& other = plan.main == FormulaIndex::i ? plan.columns : plan.rows;
  const std::int64_t unit = plan.main == FormulaIndex::i ? plan.blocking.tile_rows : run;
  const std::int64_t most =
      plan.main == FormulaIndex::i ? plan.blocking.block_rows : kMostOwnColumns;
  main.part = std::min(RoundUp(DivideUp(main.size, tasks), unit), RoundUp(most, unit));
  const bool may_split = !(keeps_rows && keeps_columns);
  if (may_split && main.Count() * 2 <= tasks) {
    other.part = RoundUp(DivideUp(other.size, tasks / main.Count()),
                         plan.main == FormulaIndex::i ? run : plan.blocking.tile_rows);
  }
  return plan;
}

}  // namespace logsum::reduce
