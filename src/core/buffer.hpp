// An uninitialised array on the heap, aligned for the widest vectors; for what outlives a task or
// is too large to keep in a thread's arena.
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>

#include "core/arena.hpp"

namespace logsum {

template <class T>
class Buffer {
  static_assert(std::is_trivially_default_constructible_v<T>);

 public:
  static constexpr std::align_val_t kAlignment{128};

  Buffer() = default;
  explicit Buffer(std::size_t count)
      : data_(static_cast<T*>(::operator new[](count * sizeof(T), kAlignment))) {}

  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete[](data, kAlignment); }
  };
  std::unique_ptr<T[], Free> data_;
};

// The memory of one task: kept by the thread for later tasks and calls unless it is large, because
// memory fresh from the system costs a page fault every 4 KB. Like any Arena::Scope, one at a time.
template <class T>
class TaskMemory {
 public:
  static constexpr std::size_t kLargest = std::size_t{2} << 20;  // bytes

  explicit TaskMemory(std::size_t count) {
    if (count * sizeof(T) > kLargest) {
      buffer_ = Buffer<T>(count);
      data_ = buffer_.get();
    } else {
      scope_.emplace(Arena::BytesFor<T>(count));
      data_ = scope_->template Take<T>(count);
    }
  }
  T* get() const { return data_; }

 private:
  Buffer<T> buffer_;
  std::optional<Arena::Scope> scope_;
  T* data_;
};

}  // namespace logsum
