// The array type of the public interface: a non-owning strided view, and where work runs.
#pragma once
#include <cstdint>
#include <span>

namespace logsum {

// Element types. f16 (IEEE binary16) and bf16 are storage only: arithmetic on them is float32.
enum class DType { f16, bf16, f32, f64, i32, i64, boolean };

enum class Device { cpu, cuda };

// A view of up to `max_axes` axes of memory that somebody else owns; strides count elements and
// may be negative or, in inputs, zero (a broadcast axis). The layout is DLPack's. `data` points at
// the element of index (0, ..., 0) and must be aligned for its type.
struct Tensor {
  static constexpr int max_axes = 8;

  void* data = nullptr;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  int device_index = 0;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;
};

// Where work runs: `threads` on the CPU (0: as many as get_num_threads()), a stream on CUDA.
// The result of every function has the same bits for every number of threads.
struct Context {
  int threads = 0;
  void* cuda_stream = nullptr;
};

}  // namespace logsum
