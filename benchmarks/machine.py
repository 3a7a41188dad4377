"""What the numbers were measured on: the kind of machine, its memory, the commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import peers
from records import significant

import logsum._core
from logsum.tour import interleave, use_threads

ROOT = Path(__file__).resolve().parent.parent
_BEYOND_CACHES = 1 << 28  # bytes


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit() -> dict[str, Any]:
    """Return the commit, and whether the tree differs from it; results and README don't count."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return {"id": None, "dirty": True}
    changed = _git("status", "--porcelain", "--", "src", "include", "python", "benchmarks/*.py")
    return {"id": head, "dirty": bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def reader(array: np.ndarray, threads: int) -> Callable[[], object]:
    """Return a call that reads an array once and does next to nothing else.

    torch's sum where there is torch: its threads start in microseconds, a pool of Python's takes
    tens of them. On one thread NumPy's maximum takes a few per cent longer.
    """
    flat = array.reshape(-1)
    if peers.torch is not None:
        return peers.torch.from_numpy(flat).sum
    if threads == 1:
        return flat.max
    pool = ThreadPoolExecutor(threads)
    parts = np.array_split(flat, threads)
    return lambda: list(pool.map(np.max, parts))


def read_bandwidth(threads: int) -> float:
    """Return gigabytes a second read from an array larger than the caches."""
    array = np.ones(_BEYOND_CACHES // 4, np.float32)
    with use_threads(threads):
        timing = interleave({"read": reader(array, threads)}, budget=2, sample=0.05)["read"]
    return array.nbytes / timing.median / 1e9


def facts(thread_counts: list[int]) -> dict[str, Any]:
    """Return what a reader needs to judge the numbers; nothing that names the machine."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        # Of other programs, before this one's own: above a few tenths the times are not to be used.
        "load_average": round(os.getloadavg()[0], 2),
        "read_gb_per_s": {
            str(count): significant(read_bandwidth(count), 3) for count in thread_counts
        },
        "cpu_target": logsum._core.config().cpu_target,
        "python": platform.python_version(),
        "logsum": logsum.__version__,
    }
