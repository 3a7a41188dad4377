// What this build and this machine offer, and the two settings a process has.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace logsum {

struct Config {
  std::string version;
  std::string cpu_target;                // the instruction set in use, e.g. "AVX2"
  std::vector<std::string> cpu_targets;  // all that were compiled and run here, best first
  std::string thread_backend;            // "OpenMP" or "std::thread"
  int num_threads = 1;
};
Config config();

// The number of threads a call uses when its Context does not say. The default is OpenMP's
// (OMP_NUM_THREADS, torch.set_num_threads where PyTorch shares the runtime), or the number of
// cores. n = 0 returns to that default; n < 0 throws std::invalid_argument. In a child process
// made by fork() every call runs on one thread, since thread pools do not survive a fork.
void set_num_threads(int n);
int get_num_threads();

// Uses the kernels of one instruction set from now on, for tests and for comparing machines; ""
// returns to the best. Must not run beside other calls. std::invalid_argument for a name that is
// not in config().cpu_targets. The environment variable LOGSUM_FORCE_TARGET does the same for a
// whole process.
void set_cpu_target(std::string_view name);

}  // namespace logsum
