#include "logsum/config.hpp"

#include "core/parallel.hpp"
#include "core/target.hpp"
#include "logsum/version.hpp"

namespace logsum {

Config config() {
  return {.version = LOGSUM_VERSION_STRING,
          .cpu_target = CurrentTarget(),
          .cpu_targets = AvailableTargets(),
          .thread_backend = ThreadBackend(),
          .num_threads = get_num_threads()};
}

}  // namespace logsum
