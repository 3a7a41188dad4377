// Sequences that a kernel takes at once, one in each SIMD lane.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace logsum::scan {

inline constexpr int kMostLanes = 8;

struct Group {
  int lanes = 0;           // a power of two; lanes from `count` on repeat sequences, unseen
  int count = 0;           // sequences
  std::int64_t steps = 0;  // the longest length
  std::array<std::int64_t, kMostLanes> sequence{}, length{};

  // The sequence whose frame a lane reads: its own, or once that has ended the longest one's.
  std::int64_t ReadAt(int lane, std::int64_t t) const {
    const auto i = static_cast<std::size_t>(lane);
    return t < length[i] ? sequence[i] : sequence[0];
  }
};

// Cuts sequences into groups of similar length, the longest first, which also evens out threads:
// all `lanes` wide but the last, which is as narrow as will do. Few sequences make two groups.
inline std::vector<Group> MakeGroups(std::vector<std::int64_t> sequences,
                                     const std::vector<std::int64_t>& lengths, int lanes) {
  const auto length = [&](std::int64_t n) { return lengths[static_cast<std::size_t>(n)]; };
  std::stable_sort(sequences.begin(), sequences.end(),
                   [&](std::int64_t a, std::int64_t b) { return length(a) > length(b); });
  const auto total = static_cast<std::int64_t>(sequences.size());
  while (lanes > 1 && lanes >= total) lanes /= 2;
  std::vector<Group> groups;
  for (std::int64_t begin = 0; begin < total; begin += lanes) {
    Group group{.lanes = lanes,
                .count = static_cast<int>(std::min<std::int64_t>(lanes, total - begin)),
                .steps = length(sequences[static_cast<std::size_t>(begin)])};
    while (group.lanes / 2 >= group.count) group.lanes /= 2;
    for (int i = 0; i < group.lanes; ++i) {
      const auto lane = static_cast<std::size_t>(i);
      group.sequence[lane] =
          sequences[static_cast<std::size_t>(begin) + (i < group.count ? lane : 0)];
      group.length[lane] = length(group.sequence[lane]);
    }
    groups.push_back(group);
  }
  return groups;
}

}  // namespace logsum::scan
