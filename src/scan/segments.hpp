// A forward sweep and the backward sweep that looks at its rows again, in bounded memory.
//
// With interval k only every k-th row is kept, and the k between two of them are swept again when
// the backward sweep comes to them (Griewank and Walther 2000, one level).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace logsum::scan {

class Segments {
 public:
  // `interval` as ScanOptions::checkpoint, for rows of `row_size` doubles.
  Segments(std::int64_t steps, std::int64_t interval, std::int64_t row_size)
      : steps_(steps), row_size_(row_size) {
    if (interval < 0) {
      const bool is_little = row_size * (steps + 1) <= kLittle;
      interval = is_little ? 0 : std::llround(std::ceil(std::sqrt(static_cast<double>(steps))));
    }
    interval_ = interval == 0 ? steps : std::min(interval, steps);
    count_ = steps == 0 ? 1 : (steps + interval_ - 1) / interval_;
  }

  // Doubles of memory: an interval's rows, and the first row of every interval but a single one.
  std::int64_t Size() const { return (interval_ + 1 + (count_ > 1 ? count_ : 0)) * row_size_; }

  // Calls sweep.First(row), sweep.Forward(t, row, next, again), then sweep.Last(row),
  // sweep.Backward(t, row, next) for descending t, and sweep.Done(row of step 0).
  template <class Sweep>
  void Run(Sweep& sweep, double* memory) const {
    const auto row = [&](std::int64_t i) { return memory + i * row_size_; };
    const auto copy = [&](const double* from, double* to) {
      std::memcpy(to, from, static_cast<std::size_t>(row_size_) * sizeof(double));
    };
    const auto forward = [&](std::int64_t segment, bool again) {
      const std::int64_t begin = segment * interval_, end = std::min(begin + interval_, steps_);
      for (std::int64_t t = begin; t < end; ++t) {
        sweep.Forward(t, row(t - begin), row(t - begin + 1), again);
      }
    };
    sweep.First(row(0));
    for (std::int64_t segment = 0; segment < count_; ++segment) {
      if (segment > 0) copy(row(interval_), row(0));
      if (count_ > 1) copy(row(0), row(interval_ + 1 + segment));
      forward(segment, false);
    }
    sweep.Last(row(steps_ - (count_ - 1) * interval_));
    for (std::int64_t segment = count_; segment-- > 0;) {
      const std::int64_t begin = segment * interval_;
      if (segment < count_ - 1) {
        copy(row(interval_ + 1 + segment), row(0));
        forward(segment, true);
      }
      for (std::int64_t t = std::min(begin + interval_, steps_); t-- > begin;) {
        sweep.Backward(t, row(t - begin), row(t - begin + 1));
      }
    }
    sweep.Done(row(0));
  }

 private:
  static constexpr std::int64_t kLittle = (std::int64_t{32} << 20) / 8;  // doubles

  std::int64_t steps_, row_size_, interval_, count_;
};

}  // namespace logsum::scan
