// The version of logsum, written here and nowhere else: CMake, the Python package and the
// pkg-config file all read these three lines.
#pragma once

#define LOGSUM_VERSION_MAJOR 0
#define LOGSUM_VERSION_MINOR 1
#define LOGSUM_VERSION_PATCH 0

#define LOGSUM_VERSION_QUOTE_(major, minor, patch) #major "." #minor "." #patch
#define LOGSUM_VERSION_QUOTE(major, minor, patch) LOGSUM_VERSION_QUOTE_(major, minor, patch)
#define LOGSUM_VERSION_STRING \
  LOGSUM_VERSION_QUOTE(LOGSUM_VERSION_MAJOR, LOGSUM_VERSION_MINOR, LOGSUM_VERSION_PATCH)

namespace logsum {
inline constexpr char kVersion[] = LOGSUM_VERSION_STRING;
}  // namespace logsum
