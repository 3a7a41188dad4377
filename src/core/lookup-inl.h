// Looking up many doubles in a small table.
//
// A gather takes about a cycle a lane even from L1. On AVX-512 a table of up to 32 doubles fits in
// four registers, and two-register permutations look up eight lanes in four instructions; other
// targets gather.
#if defined(LOGSUM_CORE_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGSUM_CORE_LOOKUP_INL_H_
#undef LOGSUM_CORE_LOOKUP_INL_H_
#else
#define LOGSUM_CORE_LOOKUP_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Entries that a RegisterTable holds; 0 where a target has none.
#if HWY_TARGET == HWY_AVX3
inline constexpr std::int64_t kRegisterTableSize = 32;
#else
inline constexpr std::int64_t kRegisterTableSize = 0;
#endif

// A table in memory.
template <class D>
class MemoryTable {
 public:
  HWY_INLINE MemoryTable(D /*d*/, const double* table) : table_(table) {}
  HWY_INLINE hn::Vec<D> operator[](hn::Vec<hn::RebindToSigned<D>> at) const {
    return hn::GatherIndex(D(), table_, at);
  }

 private:
  const double* table_;
};

#if HWY_TARGET == HWY_AVX3
// A table in registers: reads kRegisterTableSize doubles at once. Indices are below that.
template <class D>
class RegisterTable {
 public:
  HWY_INLINE RegisterTable(D d, const double* table)
      : a_(hn::LoadU(d, table)),
        b_(hn::LoadU(d, table + 8)),
        c_(hn::LoadU(d, table + 16)),
        e_(hn::LoadU(d, table + 24)) {}
  HWY_INLINE hn::Vec<D> operator[](hn::Vec<hn::RebindToSigned<D>> at) const {
    const hn::RebindToSigned<D> di;
    const auto upper = hn::RebindMask(D(), hn::Gt(at, hn::Set(di, kRegisterTableSize / 2 - 1)));
    const hn::Vec<D> low{_mm512_permutex2var_pd(a_.raw, at.raw, b_.raw)};
    const hn::Vec<D> high{_mm512_permutex2var_pd(c_.raw, at.raw, e_.raw)};
    return hn::IfThenElse(upper, high, low);
  }

 private:
  hn::Vec<D> a_, b_, c_, e_;
};
#else
template <class D>
using RegisterTable = MemoryTable<D>;
#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
