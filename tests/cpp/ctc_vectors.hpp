// The small vector pieces that CTC's sweeps are made of, one table per CPU target that is compiled
// in and runs here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace logsum::ctc_vectors {

struct Target {
  std::string name;
  std::int64_t lanes;  // of double
  // Vectors of `lanes` doubles.
  void (*one_before)(const double* before, const double* here, double* to);
  void (*one_after)(const double* here, const double* after, double* to);
  // to[i] = table[at[i]] for a multiple of `lanes` indices; from registers those below
  // register_size, which is read of the table.
  std::int64_t register_size;
  void (*from_memory)(const double* table, const std::int64_t* at, std::int64_t count, double* to);
  void (*from_registers)(const double* table, const std::int64_t* at, std::int64_t count,
                         double* to);
  // to[column to_step + row] = from[row from_step + column].
  void (*transpose)(const double* from, std::int64_t from_step, std::int64_t rows,
                    std::int64_t columns, double* to, std::int64_t to_step);
  void (*transpose_single)(const float* from, std::int64_t from_step, std::int64_t rows,
                           std::int64_t columns, float* to, std::int64_t to_step);
};

// Best first.
const std::vector<Target>& Targets();

}  // namespace logsum::ctc_vectors
