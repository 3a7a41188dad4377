// Threads: every task once, errors, nesting, the floating-point mode, and what follows a fork.
#include "core/parallel.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/float_mode.hpp"
#include "logsum/config.hpp"

namespace logsum {
namespace {

TEST(ParallelFor, RunsEveryTaskOnce) {
  for (const int threads : {0, 1, 2, 5}) {
    for (const std::int64_t count : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      ParallelFor(count, threads, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& n : runs) EXPECT_EQ(n, 1);
    }
  }
}

TEST(ParallelFor, RethrowsTheErrorOfATask) {
  for (const int threads : {1, 3}) {
    EXPECT_THROW(ParallelFor(100, threads,
                             [](std::int64_t i) {
                               if (i == 57) throw std::runtime_error("57");
                             }),
                 std::runtime_error);
  }
}

TEST(ParallelFor, NestedCallsRunOnTheThreadOfTheirTask) {
  std::atomic<int> runs{0};
  ParallelFor(4, 2, [&](std::int64_t) { ParallelFor(10, 2, [&](std::int64_t) { ++runs; }); });
  EXPECT_EQ(runs, 40);
}

TEST(ParallelFor, TasksFlushSubnormalsAndTheCallerDoesNot) {
  const auto half_of_smallest = [] {
    volatile float smallest = std::numeric_limits<float>::min();
    return smallest * 0.5f;
  };
  for (const int threads : {1, 2}) {
    std::atomic<int> flushed{0};
    ParallelFor(8, threads, [&](std::int64_t) { flushed += half_of_smallest() == 0; });
#if defined(__x86_64__) || defined(__aarch64__)
    EXPECT_EQ(flushed, 8);
#endif
    EXPECT_GT(half_of_smallest(), 0);
  }
}

#if !defined(__SANITIZE_THREAD__)
TEST(ParallelFor, AForkedChildRunsSerially) {
  std::atomic<int> sum{0};
  const auto add = [&](std::int64_t i) { sum += static_cast<int>(i); };
  ParallelFor(100, 2, add);  // the parent's pool is running
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a hang becomes a failure
    sum = 0;
    ParallelFor(100, 2, add);
    _exit(sum == 4950 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ParallelFor(100, 2, add);  // and the parent still works
}
#endif

TEST(NumThreads, IsASetting) {
  const int initial = get_num_threads();
  EXPECT_GE(initial, 1);
  set_num_threads(3);
  EXPECT_EQ(get_num_threads(), 3);
  set_num_threads(0);
  EXPECT_EQ(get_num_threads(), initial);
  EXPECT_THROW(set_num_threads(-1), std::invalid_argument);
}

TEST(CpuTarget, IsChosenByName) {
  const Config initial = config();
  ASSERT_FALSE(initial.cpu_targets.empty());
  for (const std::string& name : initial.cpu_targets) {
    set_cpu_target(name);
    EXPECT_EQ(config().cpu_target, name);
  }
  set_cpu_target("");
  EXPECT_EQ(config().cpu_target, config().cpu_targets.front());
  EXPECT_THROW(set_cpu_target("Z80"), std::invalid_argument);
}

}  // namespace
}  // namespace logsum
