"""The peak of memory during a call, against what the operation says it needs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.case import Case
from conformance.derivative import everything, leaves
from conformance.machine import threads
from conformance.report import check, require
from conformance.sample import Kind, Sample, is_array, raw, torch

# Page tables, code that is paged in, and the granularity with which the kernel counts.
SLACK = 4 << 20
_SELF = Path("/proc/self")


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", (_SELF / "status").read_text())
    assert found is not None
    return int(found[1]) << 10


# Blocks that were freed, but that the allocator keeps, count as growth when a call touches them
# again, and the system may page code in at any moment: both only add, and seldom twice.
ATTEMPTS = 5


def _growth(call: Callable[[], object]) -> int:
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory freed before would hide what is allocated
        (_SELF / "clear_refs").write_text("5")  # resets VmHWM
    except (AttributeError, OSError):
        pytest.skip("the peak of memory is read from Linux's /proc with glibc")
    start = _resident("VmRSS")
    results = call()
    peak = _resident("VmHWM")
    del results
    return peak - start


def peak_growth(call: Callable[[], object], allowed: int) -> int:
    """Return by how many bytes a call makes the process grow at its highest, its result included.

    Unlike tracemalloc or a profiler, this sees every allocator: NumPy's, torch's and the
    library's own. The call is measured again while it seems to take more than `allowed`, a few
    times at most, and the least counts.
    """
    least = _growth(call)
    for _ in range(ATTEMPTS - 1):
        if least <= allowed:
            break
        least = min(least, _growth(call))
    return least


def _size(arrays: Any) -> int:
    return sum(raw(x).nbytes for x in arrays if is_array(x))


def _ones(outputs: Sequence[Any]) -> list[Any]:
    """Return incoming gradients that take no memory, as those of a sum."""
    return [torch.ones((), dtype=out.dtype).expand(out.shape) for out in outputs]


class MemoryChecks(Case):
    """No buffer beyond what the operation states."""

    def judge_peak(
        self, call: Callable[[], list[Any]], sample: Sample, kind: Kind, derivative: bool
    ) -> None:
        """Fail if a call holds more than its results and the allowance at its peak."""
        allowed = _size(call()) + self.allowance(sample, kind, derivative)
        got = peak_growth(call, allowed + SLACK)
        expected = f"at most {allowed >> 10} kB and {SLACK >> 10} kB of slack"
        require(got <= allowed + SLACK, expected, f"{got >> 10} kB")

    @check(hook="heavies", libraries=("numpy", "torch"), dtypes=("float32",))
    def test_memory(self, sample: Sample, kind: Kind) -> None:
        """A call needs its results and the allowance."""
        self.judge_all(sample, kind, derivative=False)

    @check(hook="heavy_differentiables", dtypes=("float32",))
    def test_memory_gradient(self, sample: Sample, kind: Kind) -> None:
        """A gradient needs its own size beside that, and nothing large is kept for it."""
        self.judge_all(sample, kind, derivative=True)

    def judge_all(self, sample: Sample, kind: Kind, derivative: bool) -> None:
        """Judge the peak with one thread and with several."""
        first = (self.larges() or self.samples())[0]
        warm, arguments = (
            leaves(self, kind.arrays(s)) if derivative else kind.arrays(s) for s in (first, sample)
        )
        for count in (1, 4):
            with threads(count):
                # Code is paged in and threads are started before anything is measured.
                everything(self, warm, first, _ones)
                self.judge_peak(
                    lambda: everything(self, arguments, sample, _ones), sample, kind, derivative
                )

    def heavy_differentiables(self) -> list[Sample]:
        """Return the heavy samples that are differentiated."""
        return self.heavies() if self.differentiable else []
