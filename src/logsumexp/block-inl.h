// Reading and writing tiles of an operand as contiguous blocks of Real.
//
// A block that lies in memory as the kernels want it (its own type, unit stride) is used in place;
// anything else (half types, strides, broadcasts, masks) is packed into scratch that stays in L1,
// so every kernel is written once, for contiguous blocks.
#if defined(LOGSUM_LOGSUMEXP_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_LOGSUMEXP_BLOCK_INL_H_
#undef LOGSUM_LOGSUMEXP_BLOCK_INL_H_
#else
#define LOGSUM_LOGSUMEXP_BLOCK_INL_H_
#endif

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <type_traits>

#include "core/convert-inl.h"
#include "core/dtype.hpp"
#include "core/transpose-inl.h"
#include "hwy/highway.h"
#include "logsumexp/plan.hpp"

HWY_BEFORE_NAMESPACE();
namespace logsum::reduction::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using logsum::HWY_NAMESPACE::Narrow;
using logsum::HWY_NAMESPACE::NarrowRun;
using logsum::HWY_NAMESPACE::Widen;
using logsum::HWY_NAMESPACE::WidenRun;

// A block of `depth` reduced indices by `width` kept indices. Element (k, lane) is
// data[k * row_stride + lane] by lanes, data[k] by rows (where width is 1).
template <class T>
struct Block {
  T* data;
  std::int64_t row_stride;
};

// Calls body(offset of the span in the block, first reduced index, length) for the parts of
// [begin, begin + depth) that are evenly spaced: those within the innermost reduced axis.
template <class Body>
HWY_INLINE void ForEachSpan(const Plan& plan, std::int64_t begin, std::int64_t depth,
                            const Body& body) {
  const std::int64_t inner = plan.space.reduced.Inner().size;
  for (std::int64_t done = 0; done < depth;) {
    const std::int64_t k = begin + done;
    const std::int64_t length = std::min(depth - done, inner - k % inner);
    body(done, k, length);
    done += length;
  }
}

template <class Storage>
const Storage* AddressOf(const Plan& plan, Slot slot, std::int64_t kept, std::int64_t reduced) {
  return reinterpret_cast<const Storage*>(plan.operands[slot].data) +
         plan.space.kept.Offset(kept, slot) + plan.space.reduced.Offset(reduced, slot);
}

// Calls body(pointer, step along k, step along lanes, offset in block, length) for every evenly
// spaced part of a block of an operand stored as Storage.
template <class Storage, class Body>
HWY_INLINE void ForEachPiece(const Plan& plan, Slot slot, std::int64_t kept, std::int64_t begin,
                             std::int64_t depth, const Body& body) {
  const std::int64_t k_step = plan.space.reduced.Inner().stride[slot];
  const std::int64_t lane_step = plan.space.kept.Inner().stride[slot];
  ForEachSpan(plan, begin, depth, [&](std::int64_t done, std::int64_t k, std::int64_t length) {
    body(AddressOf<Storage>(plan, slot, kept, k), k_step, lane_step, done, length);
  });
}

// Steps of a block and of the memory it is a copy of, along reduced indices (k) and lanes.
struct CopyShape {
  std::int64_t depth, width;
  std::int64_t block_row;          // block elements from one k to the next; lanes are neighbours
  std::int64_t k_step, lane_step;  // in memory
};

// run(block offset, block step, memory offset, memory step, count) for runs of evenly spaced
// elements, along the axis with the shorter step in memory.
template <class Run>
HWY_INLINE void ForEachRun(const CopyShape& shape, const Run& run) {
  if (shape.width > 1 && std::abs(shape.lane_step) <= std::abs(shape.k_step)) {
    for (std::int64_t k = 0; k < shape.depth; ++k) {
      run(k * shape.block_row, 1, k * shape.k_step, shape.lane_step, shape.width);
    }
  } else {
    for (std::int64_t lane = 0; lane < shape.width; ++lane) {
      run(lane, shape.block_row, lane * shape.lane_step, shape.k_step, shape.depth);
    }
  }
}

// One operand of a plan, read and written block by block.
template <class Real>
class BlockAccess {
 public:
  // `scratch` holds depth x Stride(width) elements of any block asked for, or is null when the
  // operand is absent.
  BlockAccess(const Plan& plan, Slot slot, Real* scratch)
      : plan_(plan), slot_(slot), scratch_(scratch) {}

  // The distance of rows in a packed block: a whole number of vectors.
  static std::int64_t Stride(std::int64_t width) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(hn::ScalableTag<Real>()));
    return width == 1 ? 1 : (width + lanes - 1) / lanes * lanes;
  }

  // Whether blocks of this width are used where they lie.
  bool InPlace(std::int64_t begin, std::int64_t depth, std::int64_t width) const {
    if (plan_.operands[slot_].dtype != NativeDType()) return false;
    if (slot_ == kInput && plan_.Has(kWhere)) return false;
    const Axis& reduced = plan_.space.reduced.Inner();
    if (begin % reduced.size + depth > reduced.size) return false;
    if (width == 1) return reduced.stride[slot_] == 1 || depth == 1;
    return plan_.space.kept.Inner().stride[slot_] == 1 && Stride(width) == width;
  }

  // A block to read, padded lanes of which hold `padding`.
  Block<const Real> Read(std::int64_t kept, std::int64_t begin, std::int64_t depth,
                         std::int64_t width, Real padding) const {
    if (InPlace(begin, depth, width)) return InPlaceBlock(kept, begin, width);
    const std::int64_t stride = Stride(width);
    VisitFloating(plan_.operands[slot_].dtype, [&](auto storage) {
      using Storage = decltype(storage);
      Pack<Storage>(kept, begin, depth, width, stride);
    });
    for (std::int64_t k = 0; k < depth && stride != width; ++k) {
      std::fill(scratch_ + k * stride + width, scratch_ + (k + 1) * stride, padding);
    }
    if (slot_ == kInput && plan_.Has(kWhere)) ApplyMask(kept, begin, depth, width, stride);
    return {scratch_, stride};
  }

  // Where to write a block; Commit() then moves it to memory unless it is there already.
  Block<Real> Open(std::int64_t kept, std::int64_t begin, std::int64_t depth,
                   std::int64_t width) const {
    if (InPlace(begin, depth, width)) {
      const Block<const Real> block = InPlaceBlock(kept, begin, width);
      return {const_cast<Real*>(block.data), block.row_stride};
    }
    return {scratch_, Stride(width)};
  }
  void Commit(std::int64_t kept, std::int64_t begin, std::int64_t depth, std::int64_t width) const {
    if (InPlace(begin, depth, width)) return;
    VisitFloating(plan_.operands[slot_].dtype, [&](auto storage) {
      using Storage = decltype(storage);
      Unpack<Storage>(kept, begin, depth, width, Stride(width));
    });
  }

 private:
  static constexpr DType NativeDType() {
    return sizeof(Real) == sizeof(double) ? DType::f64 : DType::f32;
  }

  Block<const Real> InPlaceBlock(std::int64_t kept, std::int64_t begin, std::int64_t width) const {
    return {AddressOf<Real>(plan_, slot_, kept, begin),
            width == 1 ? 1 : plan_.space.reduced.Inner().stride[slot_]};
  }

  template <class Storage>
  void Pack(std::int64_t kept, std::int64_t begin, std::int64_t depth, std::int64_t width,
            std::int64_t stride) const {
    ForEachPiece<Storage>(
        plan_, slot_, kept, begin, depth,
        [&](const Storage* from, std::int64_t k_step, std::int64_t lane_step, std::int64_t done,
            std::int64_t length) {
          Real* const HWY_RESTRICT to = scratch_ + done * stride;
          if constexpr (std::is_same_v<Storage, Real>) {
            if (k_step == 1 && width > 1) {  // short rows into lanes
              return logsum::HWY_NAMESPACE::Transpose(from, lane_step, width, length, to, stride);
            }
          }
          ForEachRun({length, width, stride, k_step, lane_step},
                     [&](std::int64_t block, std::int64_t block_step, std::int64_t memory,
                         std::int64_t memory_step, std::int64_t count) HWY_ATTR {
                       if (memory_step == 1 && block_step == 1) {
                         return WidenRun(from + memory, to + block, count);
                       }
                       for (std::int64_t i = 0; i < count; ++i) {
                         to[block + i * block_step] = Widen<Real>(from[memory + i * memory_step]);
                       }
                     });
        });
  }

  template <class Storage>
  void Unpack(std::int64_t kept, std::int64_t begin, std::int64_t depth, std::int64_t width,
              std::int64_t stride) const {
    ForEachPiece<Storage>(
        plan_, slot_, kept, begin, depth,
        [&](const Storage* memory, std::int64_t k_step, std::int64_t lane_step, std::int64_t done,
            std::int64_t length) {
          Storage* const to = const_cast<Storage*>(memory);
          const Real* const HWY_RESTRICT from = scratch_ + done * stride;
          if constexpr (std::is_same_v<Storage, Real>) {
            if (k_step == 1 && width > 1) {
              return logsum::HWY_NAMESPACE::Transpose(from, stride, length, width, to, lane_step);
            }
          }
          ForEachRun({length, width, stride, k_step, lane_step},
                     [&](std::int64_t block, std::int64_t block_step, std::int64_t memory,
                         std::int64_t memory_step, std::int64_t count) HWY_ATTR {
                       if (memory_step == 1 && block_step == 1) {
                         return NarrowRun(from + block, to + memory, count);
                       }
                       for (std::int64_t i = 0; i < count; ++i) {
                         to[memory + i * memory_step] =
                             Narrow<Storage>(from[block + i * block_step]);
                       }
                     });
        });
  }

  // A term that `where` leaves out is a zero of the sum, whatever its value.
  void ApplyMask(std::int64_t kept, std::int64_t begin, std::int64_t depth, std::int64_t width,
                 std::int64_t stride) const {
    ForEachPiece<bool>(plan_, kWhere, kept, begin, depth,
                       [&](const bool* mask, std::int64_t k_step, std::int64_t lane_step,
                           std::int64_t done, std::int64_t length) {
                         Real* const to = scratch_ + done * stride;
                         const Real zero = -std::numeric_limits<Real>::infinity();
                         ForEachRun(
                             {length, width, stride, k_step, lane_step},
                             [&](std::int64_t block, std::int64_t block_step, std::int64_t memory,
                                 std::int64_t memory_step, std::int64_t count) HWY_ATTR {
                               for (std::int64_t i = 0; i < count; ++i) {
                                 Real& element = to[block + i * block_step];
                                 element = mask[memory + i * memory_step] ? element : zero;
                               }
                             });
                       });
  }

  const Plan& plan_;
  const Slot slot_;
  Real* const scratch_;
};

// One value for each kept index of a tile: the lse, its sign, its gradient.
inline void ReadKept(const Plan& plan, Slot slot, const Tile& tile, double* values) {
  const std::int64_t step = plan.space.kept.Inner().stride[slot];
  VisitFloating(plan.operands[slot].dtype, [&](auto storage) {
    const auto* const from = AddressOf<decltype(storage)>(plan, slot, tile.first, 0);
    for (std::int64_t i = 0; i < tile.width; ++i) values[i] = ToFloat(from[i * step]);
  });
}
inline void WriteKept(const Plan& plan, Slot slot, const Tile& tile, const double* values) {
  const std::int64_t step = plan.space.kept.Inner().stride[slot];
  VisitFloating(plan.operands[slot].dtype, [&](auto storage) {
    using Storage = decltype(storage);
    auto* const to = const_cast<Storage*>(AddressOf<Storage>(plan, slot, tile.first, 0));
    for (std::int64_t i = 0; i < tile.width; ++i) to[i * step] = FromDouble<Storage>(values[i]);
  });
}

}  // namespace logsum::reduction::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
