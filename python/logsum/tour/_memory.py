"""The peak of memory during a call, whoever allocates."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_SELF = Path("/proc/self")


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Return by how much the resident set grew at its highest, None where that can't be read.

    Unlike tracemalloc or a profiler this sees NumPy's, torch's and the library's own memory. It
    takes Linux's /proc and glibc.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory freed before would hide what is allocated
        (_SELF / "clear_refs").write_text("5")  # resets VmHWM
    except (AttributeError, OSError):
        return None
    start = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - start)


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", (_SELF / "status").read_text())
    assert found is not None
    return int(found[1]) << 10
