"""The peak of a call's memory, as the system sees it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_SELF = Path("/proc/self")


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", (_SELF / "status").read_text(encoding="utf-8"))
    return int(found[1]) << 10 if found else 0


def peak_growth(call: Callable[[], object], *, repeats: int = 3) -> int | None:
    """Return the bytes by which a call makes the process grow at its highest; None if unknown.

    Unlike a profiler, this sees every allocator. It needs Linux's /proc and glibc. The least of
    some calls is taken: blocks that were freed, but that the allocator does not give back yet,
    count as well, and whether there are any depends on what the process did before.
    """
    grown = [_growth(call) for _ in range(repeats)]
    return None if None in grown else min(size for size in grown if size is not None)


def _growth(call: Callable[[], object]) -> int | None:
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory freed before would hide what is allocated
        (_SELF / "clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    except (AttributeError, OSError):
        return None
    start = _resident("VmRSS")
    result = call()
    peak = _resident("VmHWM")
    del result
    return peak - start
