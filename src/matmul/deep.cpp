#include "matmul/deep.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/buffer.hpp"
#include "core/dtype.hpp"
#include "core/parallel.hpp"
#include "gemm/panel.hpp"
#include "matmul/packing.hpp"

namespace logsum::matmul {
namespace {

// Parts of the depth at most, the least depth of a part, and tiles at most.
constexpr std::int64_t kParts = 32, kLeastPart = 4096, kMostTiles = 64;
// Elements of both operands that are packed at a time.
constexpr std::int64_t kStageElements = std::int64_t{1} << 17;

Source From(Source source, std::int64_t begin) {
  if (!source.Exists()) return source;
  const auto bytes = source.inner(begin) * static_cast<std::int64_t>(SizeOf(source.dtype));
  source.data = static_cast<std::byte*>(source.data) + bytes;
  return source;
}

bool IsEven(const Operand& operand) {
  const auto even = [](const Source& source) { return !source.Exists() || source.inner.IsEven(); };
  return even(operand.value) && even(operand.residual) && even(operand.weight);
}

template <class Real>
class DeepProduct {
 public:
  DeepProduct(const Plan& plan, int bias, std::int64_t batch, const Gauge<Real>& gauge, int threads)
      : plan_(plan),
        kernels_(Kernels<Real>()),
        bias_(bias),
        batch_(batch),
        gauge_(gauge),
        threads_(threads),
        parts_(std::min(kParts, CeilDiv(plan.depth, kLeastPart))),
        part_depth_(gemm::PaddedDepth(CeilDiv(plan.depth, parts_))),
        left_{plan.left, plan.rows, kernels_.left_lines, true},
        right_{plan.right, plan.columns, kernels_.right_lines, false},
        sums_size_(2 * left_.Panels() * right_.Panels() * kernels_.tile_size),
        facts_size_(Lines<Real>::kArrays * (left_.Padded() + right_.Padded()) + kPadding),
        facts_(static_cast<std::size_t>(parts_ * facts_size_)),
        sums_(static_cast<std::size_t>(parts_ * sums_size_)) {}

  std::vector<TileId> Run() {
    ForEachPart([&](std::int64_t part) { Survey(part); });
    MergeFacts(left_);
    MergeFacts(right_);
    ForEachPart([&](std::int64_t part) { Multiply(part); });
    for (std::int64_t part = 1; part < parts_; ++part) AddSums(part);
    std::vector<TileId> uncertain;
    kernels_.finish(plan_, bias_, batch_, Group(left_, 0, nullptr), Group(right_, 0, nullptr),
                    sums_.get(), uncertain);
    return uncertain;
  }

 private:
  // Facts are read to whole vectors.
  static constexpr std::int64_t kPadding = 32;

  struct Side {
    const Operand& operand;
    std::int64_t lines, panel_lines;
    bool is_left;
    std::int64_t Panels() const { return CeilDiv(lines, panel_lines); }
    std::int64_t Padded() const { return Panels() * panel_lines; }
  };

  template <class Body>
  void ForEachPart(const Body& body) const {
    ParallelFor(parts_, threads_, body);
  }

  Span PartDepth(std::int64_t part) const {
    const std::int64_t begin = std::min(plan_.depth, part * part_depth_);
    return {begin, std::min(part_depth_, plan_.depth - begin)};
  }
  Lines<Real> Facts(const Side& side, std::int64_t part) const {
    Real* const memory = facts_.get() + part * facts_size_;
    return Lines<Real>::In(side.is_left ? memory : memory + Lines<Real>::kArrays * left_.Padded(),
                           side.Padded());
  }
  PanelGroup<Real> Group(const Side& side, std::int64_t part, Real* panels) const {
    return {{0, side.lines}, panels, Facts(side, part)};
  }
  Packing<Real> PackingOf(const Side& side, const Operand& operand, Span depth) const {
    const Gauge<Real> gauge =
        gauge_.Exists() ? Gauge<Real>{gauge_.shift + depth.begin, gauge_.cut + depth.begin}
                        : Gauge<Real>{};
    return {&operand, TermKind(operand), batch_,       depth.count, bias_,
            gauge,    side.is_left,      plan_.is_mean};
  }
  static Operand From(const Operand& operand, std::int64_t begin) {
    using matmul::From;
    return {matmul::From(operand.value, begin), matmul::From(operand.residual, begin),
            matmul::From(operand.weight, begin), operand.negated};
  }

  void Survey(std::int64_t part) const {
    const TaskMemory<Real> scratch(static_cast<std::size_t>(kernels_.scratch));
    const Span depth = PartDepth(part);
    for (const Side* const side : {&left_, &right_}) {
      const Operand operand = From(side->operand, depth.begin);
      kernels_.survey(PackingOf(*side, operand, depth), scratch.get(), Group(*side, part, nullptr));
    }
  }

  // The facts of all of the depth, in part 0's place.
  void MergeFacts(const Side& side) const {
    const Lines<Real> all = Facts(side, 0);
    for (std::int64_t part = 1; part < parts_; ++part) {
      const Lines<Real> more = Facts(side, part);
      for (std::int64_t i = 0; i < side.Padded(); ++i) {
        all.top[i] = std::max(all.top[i], more.top[i]);
        all.bottom[i] = std::min(all.bottom[i], more.bottom[i]);
        all.mass[i] += more.mass[i];
        all.peak[i] = std::max(all.peak[i], more.peak[i]);
      }
    }
    kernels_.describe(PackingOf(side, side.operand, {0, plan_.depth}), side.Padded(), all);
  }

  void Multiply(std::int64_t part) const {
    const Span all = PartDepth(part);
    const std::int64_t lines = left_.Padded() + right_.Padded();
    const std::int64_t stage = std::max<std::int64_t>(256, kStageElements / lines / 256 * 256);
    const TaskMemory<Real> memory(static_cast<std::size_t>(kernels_.scratch + lines * stage));
    Real* const left_panels = memory.get() + kernels_.scratch;
    Real* const right_panels = left_panels + left_.Padded() * stage;
    Real* const sums = sums_.get() + part * sums_size_;
    std::int64_t k = 0;
    do {  // at least once, so that every part has sums
      const Span depth{all.begin + k, std::min(stage, all.count - k)};
      const PanelGroup<Real> left = PackPart(left_, depth, memory.get(), left_panels);
      const PanelGroup<Real> right = PackPart(right_, depth, memory.get(), right_panels);
      kernels_.accumulate(depth.count, left, right, sums, k == 0);
      k += stage;
    } while (k < all.count);
  }

  PanelGroup<Real> PackPart(const Side& side, Span depth, Real* scratch, Real* panels) const {
    const PanelGroup<Real> group = Group(side, 0, panels);
    const Operand operand = From(side.operand, depth.begin);
    kernels_.pack(PackingOf(side, operand, depth), scratch, group);
    return group;
  }

  // Adds a part's sums to those of part 0, keeping what rounds off.
  void AddSums(std::int64_t part) const {
    const std::int64_t size = kernels_.tile_size;
    const Real* from = sums_.get() + part * sums_size_;
    Real* to = sums_.get();
    for (std::int64_t at = 0; at < sums_size_; at += 2 * size, from += 2 * size, to += 2 * size) {
      for (std::int64_t i = 0; i < size; ++i) {
        const Real sum = to[i] + from[i];
        const Real seen = sum - to[i];
        const Real error = (to[i] - (sum - seen)) + (from[i] - seen);
        to[i] = sum;
        to[size + i] += error + from[size + i];
      }
    }
  }

  const Plan& plan_;
  const KernelTable<Real>& kernels_;
  const int bias_;
  const std::int64_t batch_;
  const Gauge<Real> gauge_;
  const int threads_;
  const std::int64_t parts_, part_depth_;
  const Side left_, right_;
  const std::int64_t sums_size_, facts_size_;
  const Buffer<Real> facts_, sums_;
};

}  // namespace

template <class Real>
bool IsDeep(const Plan& plan) {
  const KernelTable<Real>& kernels = Kernels<Real>();
  const std::int64_t tiles =
      CeilDiv(plan.rows, kernels.left_lines) * CeilDiv(plan.columns, kernels.right_lines);
  return plan.depth >= 2 * kLeastPart && tiles <= kMostTiles &&
         plan.depth >= 16 * std::max(plan.rows, plan.columns) && IsEven(plan.left) &&
         IsEven(plan.right);
}

template <class Real>
std::vector<TileId> RunDeep(const Plan& plan, int bias, const MeanGauge<Real>& mean_gauge,
                            int threads) {
  std::vector<TileId> uncertain;
  const Buffer<Real> memory(mean_gauge.Size());
  for (std::int64_t b = 0; b < plan.batch; ++b) {
    const Gauge<Real> gauge = mean_gauge.MakeParallel(b, memory.get(), threads);
    const std::vector<TileId> some = DeepProduct<Real>(plan, bias, b, gauge, threads).Run();
    uncertain.insert(uncertain.end(), some.begin(), some.end());
  }
  return uncertain;
}

template bool IsDeep<float>(const Plan&);
template bool IsDeep<double>(const Plan&);
template std::vector<TileId> RunDeep<float>(const Plan&, int, const MeanGauge<float>&, int);
template std::vector<TileId> RunDeep<double>(const Plan&, int, const MeanGauge<double>&, int);

}  // namespace logsum::matmul
