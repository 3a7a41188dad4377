# What the build needs, and where it comes from: an installed package, else a pinned public release,
# else one line that says what to install. `make` puts Debian's packages in place before, as root.

# logsum_require(<package> TARGET <target> DEBIAN <package> VERSION <minimum>
#                URL <archive> SHA256 <hash> SETTINGS <variable=value>...)
macro(logsum_require package)
  cmake_parse_arguments(require "" "TARGET;DEBIAN;VERSION;URL;SHA256" "SETTINGS" ${ARGN})
  find_package(${package} ${require_VERSION} CONFIG QUIET)
  if(NOT TARGET ${require_TARGET})
    logsum_fetch(${package})
  endif()
endmacro()

function(logsum_fetch package)
  string(TOUPPER ${package} upper)
  set(source ${require_URL})
  if(NOT FETCHCONTENT_SOURCE_DIR_${upper})
    # Downloaded here and not by FetchContent, whose failure would be forty lines long.
    cmake_path(GET require_URL FILENAME name)
    set(source ${CMAKE_BINARY_DIR}/_deps/${package}-${name})
    set(actual "")
    if(EXISTS ${source})
      file(SHA256 ${source} actual)
    endif()
    if(NOT actual STREQUAL require_SHA256)
      message(STATUS "Fetching ${require_URL}")
      file(DOWNLOAD ${require_URL} ${source} STATUS status INACTIVITY_TIMEOUT 30)
      list(GET status 0 code)
      if(NOT code EQUAL 0)
        file(REMOVE ${source})
        list(GET status 1 reason)
        string(REPLACE "\"" "" reason ${reason})
        # The leading space keeps CMake from breaking the line.
        message(FATAL_ERROR " logsum needs ${package}: install it (Debian: apt-get install "
                            "${require_DEBIAN}), for ${require_URL} did not arrive: ${reason}")
      endif()
    endif()
  endif()

  foreach(setting IN LISTS require_SETTINGS)
    string(REGEX MATCH "^([^=]+)=(.*)$" _ ${setting})
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  endforeach()
  # Let the settings above win over the release's option() and set(CACHE) of the same names.
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  set(BUILD_TESTING OFF)
  include(FetchContent)
  FetchContent_Declare(${package} SYSTEM URL ${source} URL_HASH SHA256=${require_SHA256}
                       DOWNLOAD_EXTRACT_TIMESTAMP OFF)
  FetchContent_MakeAvailable(${package})
  if(NOT TARGET ${require_TARGET})
    string(REGEX REPLACE "^.*::" "" plain ${require_TARGET})
    add_library(${require_TARGET} ALIAS ${plain})
  endif()
endfunction()

macro(logsum_require_highway)
  logsum_require(hwy TARGET hwy::hwy DEBIAN libhwy-dev VERSION 1.0.3
    URL https://github.com/google/highway/archive/refs/tags/1.2.0.tar.gz
    SHA256 7e0be78b8318e8bdbf6fa545d2ecb4c90f947df03f7aadc42c1967f019e63343
    SETTINGS HWY_ENABLE_TESTS=OFF HWY_ENABLE_EXAMPLES=OFF HWY_ENABLE_CONTRIB=OFF
             HWY_ENABLE_INSTALL=${LOGSUM_INSTALL})
endmacro()

macro(logsum_require_googletest)
  logsum_require(GTest TARGET GTest::gtest_main DEBIAN libgtest-dev
    URL https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
    SHA256 8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7
    SETTINGS INSTALL_GTEST=OFF BUILD_GMOCK=OFF)
endmacro()

macro(logsum_require_benchmark)
  logsum_require(benchmark TARGET benchmark::benchmark_main DEBIAN libbenchmark-dev
    URL https://github.com/google/benchmark/archive/refs/tags/v1.8.4.tar.gz
    SHA256 3e7059b6b11fb1bbe28e33e02519398ca94c1818874ebed18e504dc6f709be45
    SETTINGS BENCHMARK_ENABLE_TESTING=OFF BENCHMARK_ENABLE_INSTALL=OFF BENCHMARK_ENABLE_WERROR=OFF)
endmacro()

# Sets LOGSUM_USE_OPENMP: OpenMP shares its threads with PyTorch where both are loaded; std::thread
# serves compilers without it, and the thread sanitizer, which cannot see into libgomp.
macro(logsum_require_threads)
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_package(Threads REQUIRED)
  if(LOGSUM_THREADS STREQUAL "auto")
    find_package(OpenMP COMPONENTS CXX QUIET)
  elseif(LOGSUM_THREADS STREQUAL "openmp")
    find_package(OpenMP REQUIRED COMPONENTS CXX)
  elseif(NOT LOGSUM_THREADS STREQUAL "std")
    message(FATAL_ERROR "LOGSUM_THREADS is auto, openmp or std, not '${LOGSUM_THREADS}'")
  endif()
  set(LOGSUM_USE_OPENMP 0)
  if(OpenMP_CXX_FOUND AND NOT LOGSUM_THREADS STREQUAL "std")
    set(LOGSUM_USE_OPENMP 1)
  endif()
endmacro()
