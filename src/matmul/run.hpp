// Running a plan: the phases of each kind of product, their tasks and their repairs.
#pragma once
#include "matmul/plan.hpp"

namespace logsum::matmul {

// threads as in Context. The plan has an output.
void RunSums(const Plan& plan, int threads);
void RunMeans(const Plan& plan, int threads);
void RunMax(const Plan& plan, int threads);

}  // namespace logsum::matmul
