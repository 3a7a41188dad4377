// Runs numbered tasks on threads.
//
// Determinism is by construction: callers cut work into tasks by shapes alone, each task writes its
// own outputs, and which thread runs which task changes nothing. Every task runs under a
// FloatModeGuard.
#pragma once
#include <cstdint>
#include <type_traits>

namespace logsum {

// Calls task(i) for i in [0, count), on at most `threads` threads (0: get_num_threads()). The
// first exception thrown by a task is rethrown here after all threads have stopped. Nested calls,
// and calls in a process made by fork(), run on the calling thread: OpenMP's and our own pools
// do not survive a fork, and using them there hangs.
template <class Task>
void ParallelFor(std::int64_t count, int threads, const Task& task);

const char* ThreadBackend();  // "OpenMP" or "std::thread"

namespace parallel_detail {
using Invoke = void (*)(const void* task, std::int64_t index);
void Run(std::int64_t count, int threads, Invoke invoke, const void* task);
}  // namespace parallel_detail

template <class Task>
void ParallelFor(std::int64_t count, int threads, const Task& task) {
  parallel_detail::Run(
      count, threads,
      [](const void* object, std::int64_t index) { (*static_cast<const Task*>(object))(index); },
      &task);
}

}  // namespace logsum
