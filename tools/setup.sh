#!/bin/sh
# Puts in place what the Makefile needs, one step a call:
#
#   setup.sh venv          .venv, with Python >= 3.10, its headers and pip
#   setup.sh system        Highway, GoogleTest and Google Benchmark, where apt can install them
#   setup.sh group NAME    the requirements of one group of pyproject.toml, into .venv
#   setup.sh torch         PyTorch into .venv: an installed one, else $TORCH_SPEC, else none
#   setup.sh jobs          prints how many compilers fit in the cores and the memory
#
# Never calls sudo. As root it lets apt install what is missing; otherwise what has no other source
# ends with one line that says what to run.
set -eu

python=.venv/bin/python

say() { printf 'logsum: %s\n' "$*"; }
die() {
  say "$*" >&2
  exit 1
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
  say "apt-get install $*"
  export DEBIAN_FRONTEND=noninteractive
  apt="apt-get -qq -o DPkg::Lock::Timeout=60"
  set -- $apt install -y --no-install-recommends "$@"
  # The package lists may be absent or old, so a first failure means only that.
  "$@" >/dev/null 2>&1 || { $apt update && "$@" >/dev/null; }
}

has_header() { echo "#include <$1>" | ${CXX:-c++} -std=c++20 -E -x c++ - >/dev/null 2>&1; }

system() {
  command -v "${CXX:-c++}" >/dev/null || die "no C++ compiler: install g++, or set CXX"
  missing=
  has_header hwy/highway.h || missing="$missing libhwy-dev"
  has_header gtest/gtest.h || missing="$missing libgtest-dev"
  has_header benchmark/benchmark.h || missing="$missing libbenchmark-dev"
  [ -n "$missing" ] || return 0
  if can_apt && apt_install $missing; then return 0; fi
  say "not installed here:$missing; CMake looks further, then fetches pinned releases"
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
has_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }
has_python_h() {
  "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}
has_torch() { "$1" -c 'import torch' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:-python3} python3.14 python3.13 python3.12 python3.11 python3.10; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}

make_venv() {
  base=$(find_python)
  if [ -z "$base" ] && can_apt; then
    apt_install python3 python3-venv python3-dev
    base=$(find_python)
  fi
  [ -n "$base" ] || die "no Python >= 3.10 found: install one, or name it: make PYTHON=/path/to/python3"
  if can_apt && ! { has_venv "$base" && has_python_h "$base"; }; then
    apt_install python3-venv python3-dev
  fi
  # A PyTorch that the base has is one that nobody needs to download again.
  site=
  if has_torch "$base"; then site=--system-site-packages; fi
  if has_python_h "$base" && has_venv "$base"; then
    "$base" -m venv $site .venv
  elif has_python_h "$base" && command -v virtualenv >/dev/null; then
    virtualenv -q $site -p "$base" .venv
  elif has_python_h "$base" && command -v uv >/dev/null; then
    uv venv -q --seed --allow-existing $site -p "$base" .venv
  elif command -v uv >/dev/null; then
    uv venv -q --seed --allow-existing --python-preference only-managed -p '>=3.10' .venv
  else
    die "$base lacks venv or Python.h; as root, run: apt-get install python3-venv python3-dev"
  fi
}

venv() {
  if ! { [ -x $python ] && is_new_enough $python && has_python_h $python &&
    $python -m pip --version >/dev/null 2>&1; }; then
    make_venv
  fi
  # The working tree is the package: a changed .py file needs no step at all.
  site=$($python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$PWD/python" >"$site/logsum-tree.pth"
}

pip_install() { $python -m pip install -q --disable-pip-version-check "$@"; }

# Whether the program $1 is installed in a version of at least $2.
has_version() {
  found=$("$1" --version 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)
  [ -n "$found" ] && [ "$(printf '%s\n' "$2" "$found" | sort -V | head -n 1)" = "$2" ]
}

group() {
  list=.venv/.logsum/$1.txt
  $python tools/requirements.py "$1" >"$list"
  if [ "$1" = build ]; then
    has_version cmake 3.25 || echo 'cmake>=3.25' >>"$list"
    has_version ninja 1.10 || echo 'ninja>=1.10' >>"$list"
  fi
  say "pip install into .venv, group $1: $(tr '\n' ' ' <"$list")"
  pip_install -r "$list"
}

torch() {
  if has_torch $python; then
    :
  elif [ -z "${TORCH_SPEC:-}" ]; then
    say "TORCH_SPEC is empty: going without PyTorch"
  else
    say "pip install into .venv: $TORCH_SPEC, which the tests and the tour compare with;" \
      "0.2 GB as a CPU build, several GB with CUDA; make TORCH_SPEC= goes without"
    pip_install "$TORCH_SPEC" || say "no PyTorch to be had"
  fi
  if has_torch $python; then
    say "PyTorch $($python -c 'import torch; print(torch.__version__)')"
  else
    say "tests and tour run on NumPy alone"
  fi
}

# A compiler of these sources needs up to 2 GB.
jobs() {
  cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  fit=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo 2>/dev/null)
  [ "${fit:-$cores}" -lt "$cores" ] && cores=$fit
  [ "$cores" -gt 1 ] || cores=1
  echo "$cores"
}

cd "$(dirname "$0")/.."
step=$1
shift
case $step in
  venv | system | group | torch | jobs) "$step" "$@" ;;
  *) die "setup.sh: expected venv, system, group, torch or jobs, got $step" ;;
esac
