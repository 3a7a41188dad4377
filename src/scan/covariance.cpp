#include "core/errors.hpp"
#include "scan/arguments.hpp"
#include "scan/kernels.hpp"
#include "scan/run.hpp"

namespace logsum {

void logZ_covariance(const Tensor& Ms, const Graph& graph, const Tensor& v0, const Tensor& vT,
                     const Tensor* lengths, ScanDirection direction, Tensor* mean, Tensor* cov_Ms,
                     Tensor* cov_v0, Tensor* cov_vT, Context context) {
  const scan::ScanShape shape("logZ_covariance", Ms, graph, lengths);
  const scan::CovarianceJob job{.shape = shape,
                                .v0 = shape.Weights("v0", v0),
                                .vT = shape.Weights("vT", vT),
                                .direction_Ms = shape.LikeMs("direction.Ms", direction.Ms),
                                .direction_v0 = shape.States("direction.v0", direction.v0),
                                .direction_vT = shape.States("direction.vT", direction.vT),
                                .mean = shape.Sequences("mean", mean),
                                .cov_Ms = shape.LikeMs("cov_Ms", cov_Ms),
                                .cov_v0 = shape.States("cov_v0", cov_v0),
                                .cov_vT = shape.States("cov_vT", cov_vT)};
  shape.CheckWide("direction.Ms", direction.Ms);
  shape.CheckWide("direction.v0", direction.v0);
  shape.CheckWide("direction.vT", direction.vT);
  shape.CheckWide("mean", mean);
  shape.CheckWide("cov_Ms", cov_Ms);
  shape.CheckWide("cov_v0", cov_v0);
  shape.CheckWide("cov_vT", cov_vT);
  CheckOutputs("logZ_covariance",
               {{"mean", mean}, {"cov_Ms", cov_Ms}, {"cov_v0", cov_v0}, {"cov_vT", cov_vT}});
  using scan::LaneKernels;
  scan::ForEachGroup(
      job, scan::MakeGroups(scan::AllSequences(shape), shape.Lengths(), scan::Kernels().lanes),
      context.threads, &LaneKernels::covariance_memory,
      [&](const LaneKernels& kernels, const scan::Group& group, double* memory, std::int64_t) {
        kernels.covariance(job, group, memory);
      });
}

}  // namespace logsum
