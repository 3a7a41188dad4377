// Buffers that the tasks of a call hand to each other, and small ones that calls do.
//
// Memory fresh from the system costs a page fault every 4 KB, so a task takes what an earlier one
// left. There are never more buffers than tasks that run at once.
#pragma once
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "core/buffer.hpp"

namespace logsum {

template <class T>
class BufferPool {
  struct Sized {
    Buffer<T> buffer;
    std::size_t count = 0;
  };

 public:
  // Buffers up to this many bytes stay with the calling thread for its next call.
  static constexpr std::size_t kLargestKept = std::size_t{2} << 20;

  BufferPool() { free_.swap(Kept()); }
  ~BufferPool() {
    std::erase_if(free_, [](const Sized& sized) { return sized.count * sizeof(T) > kLargestKept; });
    Kept().swap(free_);
  }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A buffer of the pool, while the lease lives.
  class Lease {
   public:
    Lease(BufferPool& pool, std::size_t count) : pool_(pool), sized_(pool.Take(count)) {}
    ~Lease() { pool_.Put(std::move(sized_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    T* get() const { return sized_.buffer.get(); }

   private:
    BufferPool& pool_;
    Sized sized_;
  };

 private:
  static std::vector<Sized>& Kept() {
    thread_local std::vector<Sized> kept;
    return kept;
  }

  // One too small is given up for a larger one, so that the pool never holds both.
  Sized Take(std::size_t count) {
    Sized taken;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        taken = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (taken.count >= count) return taken;
    taken = {};
    return {Buffer<T>(count), count};
  }
  void Put(Sized&& sized) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(sized));
  }

  std::mutex mutex_;
  std::vector<Sized> free_;
};

}  // namespace logsum
