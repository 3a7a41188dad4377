"""The two settings of a process that must not change a result: threads and CPU target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import logsum


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with a number of threads."""
    logsum.set_num_threads(count)
    try:
        yield
    finally:
        logsum.set_num_threads(0)


def cpu_targets() -> list[str]:
    """Return the CPU targets that were compiled and run here, best first."""
    return list(logsum._core.config().cpu_targets)


@contextmanager
def cpu_target(name: str) -> Iterator[None]:
    """Run with the kernels of one CPU target."""
    logsum._core.set_cpu_target(name)
    try:
        yield
    finally:
        logsum._core.set_cpu_target("")
