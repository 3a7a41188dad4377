// The arrays that a task works in, cut from one piece of memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace logsum::attend {

// Arrays in one piece of memory, one after another; without memory, only their size.
class Carve {
 public:
  explicit Carve(std::byte* memory) : memory_(memory) {}

  template <class T>
  T* Take(std::int64_t count) {
    T* const array = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + 127) / 128 * 128;
    return array;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  std::int64_t bytes_ = 0;
};

}  // namespace logsum::attend
