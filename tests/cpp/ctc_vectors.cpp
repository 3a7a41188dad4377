#include "ctc_vectors.hpp"

#include "core/highway.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ctc_vectors.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/lookup-inl.h"
#include "core/neighbours-inl.h"
#include "core/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace logsum {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;

void Before(const double* before, const double* here, double* to) {
  const D d;
  hn::StoreU(OneBefore(d, hn::LoadU(d, before), hn::LoadU(d, here)), d, to);
}

void After(const double* here, const double* after, double* to) {
  const D d;
  hn::StoreU(OneAfter(d, hn::LoadU(d, here), hn::LoadU(d, after)), d, to);
}

template <template <class> class Table>
void LookUp(const double* table, const std::int64_t* at, std::int64_t count, double* to) {
  const D d;
  const Table<D> values(d, table);
  for (std::int64_t i = 0; i < count; i += static_cast<std::int64_t>(hn::Lanes(d))) {
    hn::StoreU(values[hn::LoadU(hn::RebindToSigned<D>(), at + i)], d, to + i);
  }
}

template <class T>
void TransposeOf(const T* from, std::int64_t from_step, std::int64_t rows, std::int64_t columns,
                 T* to, std::int64_t to_step) {
  Transpose(from, from_step, rows, columns, to, to_step);
}

ctc_vectors::Target MakeVectorTarget() {
  return {.name = hwy::TargetName(HWY_TARGET),
          .lanes = static_cast<std::int64_t>(hn::Lanes(D())),
          .one_before = Before,
          .one_after = After,
          .register_size = kRegisterTableSize,
          .from_memory = LookUp<MemoryTable>,
          .from_registers = LookUp<RegisterTable>,
          .transpose = TransposeOf<double>,
          .transpose_single = TransposeOf<float>};
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace logsum
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "each_target.hpp"

namespace logsum {
HWY_EXPORT(MakeVectorTarget);

namespace ctc_vectors {

const std::vector<Target>& Targets() {
  static const std::vector<Target> targets =
      testing::OfEachTarget([] { return HWY_DYNAMIC_DISPATCH(MakeVectorTarget)(); });
  return targets;
}

}  // namespace ctc_vectors
}  // namespace logsum
#endif
