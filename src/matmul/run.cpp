// Forward products and means: pack one operand for all, stream the other past it, repair what is
// not certain.
#include "matmul/run.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "gemm/panel.hpp"
#include "matmul/deep.hpp"
#include "matmul/gauge.hpp"
#include "matmul/kernels.hpp"
#include "matmul/repair.hpp"

namespace logsum::matmul {
namespace {

// Elements to which arrays in one memory are aligned.
constexpr std::int64_t kAligned = 32;

// One operand's part in the work. `lines` to a panel, panels to a group.
struct Side {
  bool is_left;
  std::int64_t lines, panel_lines, padded_depth, group_panels = 1;

  std::int64_t Panels() const { return CeilDiv(lines, panel_lines); }
  std::int64_t Groups() const { return CeilDiv(Panels(), group_panels); }
  std::int64_t PaddedLines() const { return Panels() * panel_lines; }
  std::int64_t PanelSize() const { return panel_lines * padded_depth; }

  Span GroupLines(std::int64_t group) const {
    const std::int64_t begin = group * group_panels * panel_lines;
    return {begin, std::min(group_panels * panel_lines, lines - begin)};
  }
  template <class Real>
  std::size_t MemoryFor(std::int64_t panels) const {
    const std::int64_t facts = Lines<Real>::kArrays * panels * panel_lines;
    return static_cast<std::size_t>(panels * PanelSize() + CeilDiv(facts, kAligned) * kAligned);
  }
};

// Elements of a group of streamed panels: with the panel that it meets, a part of a second level
// cache.
constexpr std::int64_t kGroupElements = 1 << 15;
// Groups that there should be at least.
constexpr std::int64_t kGroups = 16;
// Batch entries whose operands have fewer elements than this are one task each.
constexpr std::int64_t kSmallEntry = 1 << 16;
// Work, in multiply-adds or so, that is worth waking another thread for.
constexpr double kWorthThread = 1e6;

template <class Real>
class Product {
 public:
  Product(const Plan& plan, int threads)
      : plan_(plan),
        kernels_(Kernels<Real>()),
        bias_(BiasFor<Real>(plan.depth)),
        left_{.is_left = true,
              .lines = plan.rows,
              .panel_lines = kernels_.left_lines,
              .padded_depth = gemm::PaddedDepth(plan.depth)},
        right_{.is_left = false,
               .lines = plan.columns,
               .panel_lines = kernels_.right_lines,
               .padded_depth = gemm::PaddedDepth(plan.depth)},
        shared_(plan.rows >= plan.columns ? right_ : left_),
        streamed_(plan.rows >= plan.columns ? left_ : right_),
        gauge_(plan) {
    streamed_.group_panels = GroupPanels(streamed_);
    shared_.group_panels = GroupPanels(shared_);
    const double work = static_cast<double>(plan.batch) * static_cast<double>(plan.depth + 32) *
                        (static_cast<double>(plan.rows) * static_cast<double>(plan.columns) +
                         32 * static_cast<double>(plan.rows + plan.columns));
    threads_ = work < 2 * kWorthThread ? 1 : threads;
  }

  void Run() {
    const std::int64_t elements =
        (plan_.rows + plan_.columns) * plan_.depth + plan_.rows * plan_.columns;
    std::vector<TileId> uncertain = elements <= kSmallEntry ? RunSmallEntries()
                                    : IsDeep<Real>(plan_)
                                        ? RunDeep<Real>(plan_, bias_, gauge_, threads_)
                                        : RunLargeEntries();
    if (!uncertain.empty()) Repair<Real>(plan_, bias_, uncertain, threads_);
  }

 private:
  // As many panels as stay in the cache, but several groups for threads to share.
  static std::int64_t GroupPanels(const Side& side) {
    const std::int64_t fit = kGroupElements / std::max<std::int64_t>(1, side.PanelSize());
    return std::clamp<std::int64_t>(CeilDiv(side.Panels(), kGroups), 1,
                                    std::max<std::int64_t>(1, fit));
  }

  // A group of panels in `memory`, packed.
  PanelGroup<Real> Pack(const Side& side, std::int64_t batch, const Gauge<Real>& gauge, Span lines,
                        Real* scratch, Real* panels, const Lines<Real>& facts) const {
    const PanelGroup<Real> group{lines, panels, facts};
    kernels_.prepare(MakePacking(plan_, side.is_left, batch, bias_, gauge), scratch, group);
    return group;
  }

  void Multiply(std::int64_t batch, const PanelGroup<Real>& shared,
                const PanelGroup<Real>& streamed, std::vector<TileId>& uncertain) const {
    const bool left_is_shared = shared_.is_left;
    kernels_.multiply(plan_, bias_, batch, left_is_shared ? shared : streamed,
                      left_is_shared ? streamed : shared, uncertain);
  }

  // Streams one group of a batch entry past the shared panels.
  void Stream(std::int64_t batch, std::int64_t group, const Gauge<Real>& gauge,
              const PanelGroup<Real>& shared, Real* memory, std::vector<TileId>& uncertain) const {
    Real* const panels = memory + kernels_.scratch;
    const Lines<Real> facts =
        Lines<Real>::In(panels + streamed_.group_panels * streamed_.PanelSize(),
                        streamed_.group_panels * streamed_.panel_lines);
    const PanelGroup<Real> streamed =
        Pack(streamed_, batch, gauge, streamed_.GroupLines(group), memory, panels, facts);
    Multiply(batch, shared, streamed, uncertain);
  }
  std::size_t StreamMemory() const {
    return static_cast<std::size_t>(kernels_.scratch) +
           streamed_.MemoryFor<Real>(streamed_.group_panels);
  }

  // Entries small enough to be a task whole, several to a task.
  std::vector<TileId> RunSmallEntries() const {
    const std::int64_t elements =
        std::max<std::int64_t>(1, (plan_.rows + plan_.columns) * plan_.depth);
    const std::int64_t entries = std::max<std::int64_t>(1, kSmallEntry / 4 / elements);
    const std::int64_t tasks = CeilDiv(plan_.batch, entries);
    std::vector<std::vector<TileId>> uncertain(static_cast<std::size_t>(tasks));
    ParallelFor(tasks, threads_, [&](std::int64_t task) {
      const std::size_t gauge_size = gauge_.Size();
      const std::size_t shared_size = shared_.MemoryFor<Real>(shared_.Panels());
      const TaskMemory<Real> memory(StreamMemory() + shared_size + gauge_size);
      Real* const shared_panels = memory.get() + StreamMemory();
      const std::int64_t end = std::min(plan_.batch, (task + 1) * entries);
      for (std::int64_t b = task * entries; b < end; ++b) {
        const Gauge<Real> gauge = gauge_.Make(b, memory.get(), shared_panels + shared_size);
        const Lines<Real> facts = Lines<Real>::In(
            shared_panels + shared_.Panels() * shared_.PanelSize(), shared_.PaddedLines());
        const PanelGroup<Real> shared =
            Pack(shared_, b, gauge, {0, shared_.lines}, memory.get(), shared_panels, facts);
        for (std::int64_t g = 0; g < streamed_.Groups(); ++g) {
          Stream(b, g, gauge, shared, memory.get(), uncertain[static_cast<std::size_t>(task)]);
        }
      }
    });
    return Joined(uncertain);
  }

  // Packs the shared operand of all entries, by groups, then streams the other.
  std::vector<TileId> RunLargeEntries() const {
    const std::size_t gauge_size = gauge_.Size();
    const std::size_t shared_size = shared_.MemoryFor<Real>(shared_.Panels());
    const Buffer<Real> gauges(gauge_size * static_cast<std::size_t>(plan_.batch));
    const Buffer<Real> panels(shared_size * static_cast<std::size_t>(plan_.batch));
    std::vector<Gauge<Real>> gauge(static_cast<std::size_t>(plan_.batch));
    if (gauge_size > 0) {
      ParallelFor(plan_.batch, threads_, [&](std::int64_t b) {
        const TaskMemory<Real> scratch(static_cast<std::size_t>(kernels_.scratch));
        gauge[static_cast<std::size_t>(b)] =
            gauge_.Make(b, scratch.get(), gauges.get() + gauge_size * static_cast<std::size_t>(b));
      });
    }
    const auto shared_of = [&](std::int64_t b) {
      Real* const memory = panels.get() + shared_size * static_cast<std::size_t>(b);
      return PanelGroup<Real>{
          {0, shared_.lines},
          memory,
          Lines<Real>::In(memory + shared_.Panels() * shared_.PanelSize(), shared_.PaddedLines())};
    };
    ParallelFor(plan_.batch * shared_.Groups(), threads_, [&](std::int64_t task) {
      const std::int64_t b = task / shared_.Groups(), g = task % shared_.Groups();
      const TaskMemory<Real> scratch(static_cast<std::size_t>(kernels_.scratch));
      const PanelGroup<Real> all = shared_of(b);
      const std::int64_t first = g * shared_.group_panels;
      Pack(shared_, b, gauge[static_cast<std::size_t>(b)], shared_.GroupLines(g), scratch.get(),
           all.panels + first * shared_.PanelSize(), all.facts.At(first * shared_.panel_lines));
    });
    const std::int64_t tasks = plan_.batch * streamed_.Groups();
    std::vector<std::vector<TileId>> uncertain(static_cast<std::size_t>(tasks));
    ParallelFor(tasks, threads_, [&](std::int64_t task) {
      const std::int64_t b = task / streamed_.Groups();
      const TaskMemory<Real> memory(StreamMemory());
      Stream(b, task % streamed_.Groups(), gauge[static_cast<std::size_t>(b)], shared_of(b),
             memory.get(), uncertain[static_cast<std::size_t>(task)]);
    });
    return Joined(uncertain);
  }

  static std::vector<TileId> Joined(const std::vector<std::vector<TileId>>& lists) {
    std::vector<TileId> all;
    for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
    return all;
  }

  const Plan& plan_;
  const KernelTable<Real>& kernels_;
  const int bias_;
  const Side left_, right_;
  Side shared_, streamed_;
  const MeanGauge<Real> gauge_;
  int threads_;
};

}  // namespace

void RunSums(const Plan& plan, int threads) {
  plan.out.dtype == DType::f64 ? Product<double>(plan, threads).Run()
                               : Product<float>(plan, threads).Run();
}

void RunMeans(const Plan& plan, int threads) {
  plan.left.value.dtype == DType::f64 ? Product<double>(plan, threads).Run()
                                      : Product<float>(plan, threads).Run();
}

}  // namespace logsum::matmul
