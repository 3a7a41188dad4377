// The floating-point mode of a thread that runs kernels.
//
// Flush-to-zero is switched on explicitly and restored after: the caller's mode then changes no
// bit of a result, nor does the thread that happens to compute it, and no subnormal slows a
// kernel down. Round-to-nearest is set too. Subnormal inputs count as zero and subnormal results
// are returned as zero (docs/numerics.md).
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif
#include <cstdint>

namespace logsum {

class FloatModeGuard {
 public:
  FloatModeGuard() : saved_(Read()) { Write(Kernel(saved_)); }
  ~FloatModeGuard() { Write(saved_); }
  FloatModeGuard(const FloatModeGuard&) = delete;
  FloatModeGuard& operator=(const FloatModeGuard&) = delete;

 private:
#if defined(__x86_64__) || defined(_M_X64)
  using Word = unsigned;
  static constexpr Word kFlush = 0x8040;     // FTZ (bit 15) and DAZ (bit 6)
  static constexpr Word kRounding = 0x6000;  // nearest is 00
  static Word Read() { return _mm_getcsr(); }
  static void Write(Word word) { _mm_setcsr(word); }
  static Word Kernel(Word word) { return (word | kFlush) & ~kRounding; }
#elif defined(__aarch64__)
  using Word = std::uint64_t;
  static constexpr Word kFlush = Word{1} << 24;     // FZ
  static constexpr Word kRounding = Word{3} << 22;  // nearest is 00
  static Word Read() {
    Word word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Write(Word word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
  static Word Kernel(Word word) { return (word | kFlush) & ~kRounding; }
#else
  using Word = int;  // no known control word: results keep the caller's mode
  static Word Read() { return 0; }
  static void Write(Word) {}
  static Word Kernel(Word word) { return word; }
#endif
  Word saved_;
};

}  // namespace logsum
