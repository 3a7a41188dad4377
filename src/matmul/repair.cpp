#include "matmul/repair.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "gemm/panel.hpp"
#include "matmul/gauge.hpp"
#include "matmul/packing.hpp"

namespace logsum::matmul {
namespace {

// Panels of either side that are repaired together: enough to make up for splitting their terms.
constexpr std::int64_t kBlockPanels = 8;
// Bytes beyond which a block is not packed a second time.
constexpr std::int64_t kMostPacked = std::int64_t{64} << 20;

// Tiles that share their lines.
struct Block {
  std::int64_t batch;
  Span left, right;
  std::vector<TileId> tiles;
};

Span LinesOf(std::int64_t block, std::int64_t panel_lines, std::int64_t lines) {
  const std::int64_t begin = block * kBlockPanels * panel_lines;
  return {begin, std::min(kBlockPanels * panel_lines, lines - begin)};
}

template <class Real>
std::vector<Block> BlocksOf(const Plan& plan, const std::vector<TileId>& tiles) {
  const KernelTable<Real>& kernels = Kernels<Real>();
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  std::map<Key, std::vector<TileId>> grouped;
  for (const TileId& tile : tiles) {
    grouped[{tile.batch, tile.left / kBlockPanels, tile.right / kBlockPanels}].push_back(tile);
  }
  std::vector<Block> blocks;
  for (auto& [key, members] : grouped) {
    const auto [batch, left, right] = key;
    blocks.push_back({batch, LinesOf(left, kernels.left_lines, plan.rows),
                      LinesOf(right, kernels.right_lines, plan.columns), std::move(members)});
  }
  return blocks;
}

// Gauges of the batch entries that have tiles to repair.
template <class Real>
class Gauges {
 public:
  Gauges(const Plan& plan, const std::vector<Block>& blocks, int threads) {
    std::vector<std::int64_t> entries;
    for (const Block& block : blocks) {
      if (entries.empty() || entries.back() != block.batch) entries.push_back(block.batch);
    }
    const std::size_t size = GaugeSize(plan.depth);
    memory_ = Buffer<Real>(size * entries.size());
    for (const std::int64_t entry : entries) gauges_[entry] = {};
    ParallelFor(static_cast<std::int64_t>(entries.size()), threads, [&](std::int64_t task) {
      const auto index = static_cast<std::size_t>(task);
      gauges_.at(entries[index]) = Equilibrate(plan, entries[index], memory_.get() + size * index);
    });
  }
  const Gauge<Real>& Of(std::int64_t batch) const { return gauges_.at(batch); }

 private:
  Buffer<Real> memory_;
  std::map<std::int64_t, Gauge<Real>> gauges_;
};

// The scaled product of a block's tiles with equilibrated operands. The tiles still uncertain.
template <class Real>
std::vector<TileId> MultiplyEquilibrated(const Plan& plan, int bias, const Block& block,
                                         const Gauge<Real>& gauge) {
  const KernelTable<Real>& kernels = Kernels<Real>();
  const std::int64_t padded = gemm::PaddedDepth(plan.depth);
  const std::int64_t left = CeilDiv(block.left.count, kernels.left_lines) * kernels.left_lines;
  const std::int64_t right = CeilDiv(block.right.count, kernels.right_lines) * kernels.right_lines;
  const std::int64_t size = (left + right) * padded;
  if (size * static_cast<std::int64_t>(sizeof(Real)) > kMostPacked) return block.tiles;
  const Buffer<Real> panels(static_cast<std::size_t>(size));
  const Buffer<Real> facts(static_cast<std::size_t>(Lines<Real>::kArrays * (left + right)));
  const Buffer<Real> scratch(static_cast<std::size_t>(kernels.scratch));
  const PanelGroup<Real> left_group{block.left, panels.get(), Lines<Real>::In(facts.get(), left)};
  const PanelGroup<Real> right_group{
      block.right, panels.get() + left * padded,
      Lines<Real>::In(facts.get() + Lines<Real>::kArrays * left, right)};
  for (const bool is_left : {true, false}) {
    kernels.prepare(MakePacking(plan, is_left, block.batch, bias, gauge), scratch.get(),
                    is_left ? left_group : right_group);
  }
  std::vector<TileId> uncertain;
  for (const TileId& tile : block.tiles) {
    const TileId within{tile.batch, tile.left - block.left.begin / kernels.left_lines,
                        tile.right - block.right.begin / kernels.right_lines};
    if (kernels.multiply_tile(plan, bias, within, left_group, right_group)) {
      uncertain.push_back(tile);
    }
  }
  return uncertain;
}

}  // namespace

template <class Real>
void Repair(const Plan& plan, int bias, const std::vector<TileId>& tiles, int threads) {
  const std::vector<Block> blocks = BlocksOf<Real>(plan, tiles);
  const auto repair = [&](const Block& block, const std::vector<TileId>& remaining) {
    if (remaining.empty()) return;
    Kernels<Real>().repair(plan, block.batch, block.left, block.right, remaining);
  };
  const auto for_each_block = [&](const auto& body) {
    ParallelFor(static_cast<std::int64_t>(blocks.size()), threads,
                [&](std::int64_t task) { body(blocks[static_cast<std::size_t>(task)]); });
  };
  if (plan.is_mean) {
    for_each_block([&](const Block& block) { repair(block, block.tiles); });
    return;
  }
  const Gauges<Real> gauges(plan, blocks, threads);
  for_each_block([&](const Block& block) {
    const Gauge<Real>& gauge = gauges.Of(block.batch);
    repair(block, gauge.Exists() ? MultiplyEquilibrated(plan, bias, block, gauge) : block.tiles);
  });
}

template void Repair<float>(const Plan&, int, const std::vector<TileId>&, int);
template void Repair<double>(const Plan&, int, const std::vector<TileId>&, int);

}  // namespace logsum::matmul
