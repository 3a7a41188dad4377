// An uninitialised array on the heap, aligned for the widest vectors; for what outlives a task or
// is too large to keep in a thread's arena.
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>

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

}  // namespace logsum
