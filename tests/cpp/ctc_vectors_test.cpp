// Neighbours of lanes, lookups in small tables, transposition; and the buffers of a call's tasks.
#include "ctc_vectors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/buffer_pool.hpp"

namespace logsum {
namespace {

using ctc_vectors::Target;
using ctc_vectors::Targets;

TEST(Neighbours, AreThoseOfTheConcatenation) {
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    const auto lanes = static_cast<std::size_t>(target.lanes);
    std::vector<double> both(2 * lanes), got(lanes);
    std::iota(both.begin(), both.end(), 1.0);
    const auto at = [&](std::size_t first) {
      return std::vector<double>(both.begin() + static_cast<std::ptrdiff_t>(first),
                                 both.begin() + static_cast<std::ptrdiff_t>(first + lanes));
    };
    target.one_before(both.data(), both.data() + lanes, got.data());
    EXPECT_EQ(got, at(lanes - 1));
    target.one_after(both.data(), both.data() + lanes, got.data());
    EXPECT_EQ(got, at(1));
  }
}

TEST(Lookup, GivesTheElementsOfTheTable) {
  std::mt19937 random(1);
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    for (const std::int64_t size : {std::int64_t{1}, std::int64_t{32}, std::int64_t{1000}}) {
      std::vector<double> table(static_cast<std::size_t>(std::max<std::int64_t>(size, 32)));
      for (double& x : table) x = static_cast<double>(random());
      // Each index in each lane, then any.
      std::vector<std::int64_t> at;
      for (std::int64_t i = 0; i < 40 * target.lanes; ++i) {
        at.push_back(i < 32 * target.lanes ? i / target.lanes % size
                                           : static_cast<std::int64_t>(random()) % size);
      }
      const auto count = static_cast<std::int64_t>(at.size());
      std::vector<double> want, got(at.size());
      for (const std::int64_t i : at) want.push_back(table[static_cast<std::size_t>(i)]);
      target.from_memory(table.data(), at.data(), count, got.data());
      EXPECT_EQ(got, want);
      if (target.register_size == 0 || size > target.register_size) continue;
      std::fill(got.begin(), got.end(), 0.0);
      target.from_registers(table.data(), at.data(), count, got.data());
      EXPECT_EQ(got, want);
    }
  }
}

// All shapes around blocks of 2, 4 and 8, into rows with room behind that stays as it was.
template <class T>
void CheckTransposition() {
  for (const Target& target : Targets()) {
    SCOPED_TRACE(target.name);
    for (std::int64_t rows = 0; rows <= 19; ++rows) {
      for (std::int64_t columns = 0; columns <= 19; ++columns) {
        const std::int64_t from_step = columns + 3, to_step = rows + 2;
        std::vector<T> from(static_cast<std::size_t>(rows * from_step + 1));
        std::iota(from.begin(), from.end(), T{1});
        std::vector<T> want(static_cast<std::size_t>(columns * to_step + 1), T{-1}), got = want;
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < columns; ++c) {
            want[static_cast<std::size_t>(c * to_step + r)] =
                from[static_cast<std::size_t>(r * from_step + c)];
          }
        }
        if constexpr (std::is_same_v<T, double>) {
          target.transpose(from.data(), from_step, rows, columns, got.data(), to_step);
        } else {
          target.transpose_single(from.data(), from_step, rows, columns, got.data(), to_step);
        }
        ASSERT_EQ(got, want) << rows << " rows, " << columns << " columns";
      }
    }
  }
}

TEST(Transpose, OfDoubles) { CheckTransposition<double>(); }
TEST(Transpose, OfFloats) { CheckTransposition<float>(); }

// Runs on a thread of its own, which keeps no buffers of other tests.
template <class Check>
void OnFreshThread(const Check& check) {
  std::thread(check).join();
}

TEST(BufferPool, HandsOnWhatWasGivenBack) {
  OnFreshThread([] {
    BufferPool<double> pool;
    double* first = nullptr;
    {
      const BufferPool<double>::Lease lease(pool, 100);
      first = lease.get();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 128, 0u);
      const BufferPool<double>::Lease other(pool, 100);
      EXPECT_NE(other.get(), first);
      std::fill_n(first, 100, 1.0);
      std::fill_n(other.get(), 100, 2.0);
      EXPECT_EQ(first[99], 1.0);
    }
    const BufferPool<double>::Lease again(pool, 50);  // the last one given back
    EXPECT_EQ(again.get(), first);
    const BufferPool<double>::Lease larger(pool, 1000);
    std::fill_n(larger.get(), 1000, 3.0);
  });
}

TEST(BufferPool, KeepsSmallBuffersForTheThreadsNextCall) {
  OnFreshThread([] {
    constexpr std::size_t kMost = BufferPool<double>::kLargestKept / sizeof(double);
    const auto lease_of = [](std::size_t count) {
      BufferPool<double> pool;
      const BufferPool<double>::Lease lease(pool, count);
      std::fill_n(lease.get(), count, 1.0);
      return lease.get();
    };
    double* const small = lease_of(kMost);
    EXPECT_EQ(lease_of(10), small);
    EXPECT_EQ(lease_of(kMost), small);
    // Another thread has its own; a pool inside a call finds none, and leaves its own behind.
    std::thread([&] { EXPECT_NE(lease_of(10), small); }).join();
    {
      BufferPool<double> pool;
      const BufferPool<double>::Lease outer(pool, 10);
      EXPECT_EQ(outer.get(), small);
      EXPECT_NE(lease_of(10), small);
    }
    // One that is too small is given up, and what is too large is not kept.
    lease_of(kMost + 1);
    BufferPool<double> pool;
    const BufferPool<double>::Lease last(pool, 10);
    std::fill_n(last.get(), 10, 1.0);
  });
}

TEST(BufferPool, ServesThreadsAtOnce) {
  BufferPool<std::int64_t> pool;
  std::vector<std::thread> threads;
  for (std::int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (std::int64_t i = 0; i < 200; ++i) {
        const auto count = static_cast<std::size_t>(1 + i % 7 * 40);
        const BufferPool<std::int64_t>::Lease lease(pool, count);
        std::fill_n(lease.get(), count, t * 1000 + i);
        std::this_thread::yield();
        for (std::size_t k = 0; k < count; ++k) ASSERT_EQ(lease.get()[k], t * 1000 + i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace logsum
