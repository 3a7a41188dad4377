// Scratch memory that a thread keeps between calls.
//
// A kernel takes a few arrays at a time and gives them all back when its scope ends; after the
// first call on a thread nothing is allocated. Memory is aligned for the widest vectors.
#pragma once
#include <cstddef>
#include <memory>
#include <new>

namespace logsum {

class Arena {
 public:
  static constexpr std::size_t kAlignment = 128;

  static Arena& OfThread() {
    thread_local Arena arena;
    return arena;
  }

  // Returns the arena to the state it had when the scope began. At most one scope of a thread
  // hands out memory at a time, and `capacity` bounds what it hands out.
  class Scope {
   public:
    explicit Scope(std::size_t capacity) : arena_(OfThread()), capacity_(capacity) {
      arena_.Reserve(capacity);
    }
    ~Scope() { arena_.used_ = 0; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    // An uninitialised array of `count` elements of a trivial type.
    template <class T>
    T* Take(std::size_t count) {
      const std::size_t bytes = Padded(count * sizeof(T));
      if (arena_.used_ + bytes > capacity_) throw std::bad_alloc();
      T* const array = reinterpret_cast<T*>(arena_.data_.get() + arena_.used_);
      arena_.used_ += bytes;
      return array;
    }

   private:
    Arena& arena_;
    const std::size_t capacity_;
  };

  // Bytes that Take<T>(count) needs.
  template <class T>
  static constexpr std::size_t BytesFor(std::size_t count) {
    return Padded(count * sizeof(T));
  }

 private:
  struct Free {
    void operator()(std::byte* data) const {
      ::operator delete[](data, std::align_val_t{kAlignment});
    }
  };

  static constexpr std::size_t Padded(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  void Reserve(std::size_t capacity) {
    if (used_ != 0) throw std::bad_alloc();  // a nested scope would lose the outer one's arrays
    if (capacity <= capacity_) return;
    data_.reset(static_cast<std::byte*>(::operator new[](capacity, std::align_val_t{kAlignment})));
    capacity_ = capacity;
  }

  std::unique_ptr<std::byte[], Free> data_;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
};

}  // namespace logsum
