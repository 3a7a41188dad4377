#include "core/parallel.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/errors.hpp"
#include "core/float_mode.hpp"
#include "logsum/config.hpp"

#if LOGSUM_USE_OPENMP
#include <omp.h>
#endif

namespace logsum {
namespace {

std::atomic<int> num_threads_setting{0};  // 0: the backend's default
std::atomic<bool> is_forked_child{false};
thread_local bool inside_task = false;

// Registered when the library is loaded, so that a fork before the first call is seen too.
const int fork_handler = pthread_atfork(
    nullptr, nullptr, [] { is_forked_child.store(true, std::memory_order_relaxed); });

// What one call shares between its threads: the next task, and the first error.
class Job {
 public:
  Job(std::int64_t count, int threads, parallel_detail::Invoke invoke, const void* task)
      : count_(count),
        grain_(std::max<std::int64_t>(count / (threads * kGrainsPerThread), 1)),
        invoke_(invoke),
        task_(task) {}

  // Takes tasks until none is left.
  void Work() {
    const FloatModeGuard float_mode;
    const bool was_inside = inside_task;
    inside_task = true;
    for (;;) {
      const std::int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
      if (begin >= count_) break;
      try {
        const std::int64_t end = std::min(begin + grain_, count_);
        for (std::int64_t index = begin; index < end; ++index) invoke_(task_, index);
      } catch (...) {
        const std::scoped_lock lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(count_, std::memory_order_relaxed);
      }
    }
    inside_task = was_inside;
  }

  void Rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // Enough pieces to even out threads of different speed, few enough that taking one costs nothing.
  static constexpr std::int64_t kGrainsPerThread = 32;

  const std::int64_t count_, grain_;
  const parallel_detail::Invoke invoke_;
  const void* const task_;
  std::atomic<std::int64_t> next_{0};
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

#if LOGSUM_USE_OPENMP

int DefaultThreads() { return omp_get_max_threads(); }

void RunOnThreads(Job& job, int threads) {
#pragma omp parallel num_threads(threads)
  job.Work();
}

#else

int DefaultThreads() {
  // OMP_NUM_THREADS is what people set to bound numeric code, so it counts here too.
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n > 0) return n;
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

// Threads live for one call: starting one costs some tens of microseconds, which work large
// enough to be split does not notice, and nothing is left running between calls.
void RunOnThreads(Job& job, int threads) {
  std::vector<std::jthread> team;
  team.reserve(static_cast<std::size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) team.emplace_back([&job] { job.Work(); });
  job.Work();
}

#endif

}  // namespace

const char* ThreadBackend() { return LOGSUM_USE_OPENMP ? "OpenMP" : "std::thread"; }

void set_num_threads(int n) {
  if (n < 0) ThrowInvalid("set_num_threads", "n", "an integer >= 0", std::to_string(n));
  num_threads_setting.store(n, std::memory_order_relaxed);
}

int get_num_threads() {
  const int setting = num_threads_setting.load(std::memory_order_relaxed);
  return setting > 0 ? setting : DefaultThreads();
}

namespace parallel_detail {

void Run(std::int64_t count, int threads, Invoke invoke, const void* task) {
  if (count <= 0) return;
  if (threads <= 0) threads = get_num_threads();
  threads = static_cast<int>(std::min<std::int64_t>(threads, count));
  Job job(count, threads, invoke, task);
  if (threads <= 1 || inside_task || is_forked_child.load(std::memory_order_relaxed)) {
    job.Work();
  } else {
    RunOnThreads(job, threads);
  }
  job.Rethrow();
}

}  // namespace parallel_detail
}  // namespace logsum
