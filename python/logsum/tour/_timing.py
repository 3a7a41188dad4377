"""Timing several ways of doing one thing, fairly, in one process."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Timing:
    """Seconds for one call, a sample for each round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median sample."""
        return statistics.median(self.samples)

    @property
    def fastest(self) -> float:
        """The shortest sample."""
        return min(self.samples)

    @property
    def slowest(self) -> float:
        """The longest sample."""
        return max(self.samples)

    def is_settled(self, tolerance: float) -> bool:
        """Whether the median's own spread, half the quartile range over √n, is below tolerance."""
        lower, _, upper = statistics.quantiles(self.samples, n=4)
        return (upper - lower) / 2 <= tolerance * self.median * math.sqrt(len(self.samples))


def ratio(other: Timing, ours: Timing) -> float:
    """Return how many times longer `other` takes: the median over rounds of the ratio in a round.

    Both ran next to each other in every round, so what slows the machine for a while cancels.
    """
    return statistics.median(a / b for a, b in zip(other.samples, ours.samples, strict=True))


def three_digits(value: float) -> str:
    """Return a number as tables of times have it: 0.00123, 12.3, 12,345."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    *,
    budget: float = 1.0,
    min_rounds: int = 5,
    max_rounds: int = 200,
    sample: float = 1e-3,
    tolerance: float = 0.005,
) -> dict[str, Timing]:
    """Time contenders in turns: A B C, B C A, C A B, ...

    A sample is as many calls as last about `sample` seconds, after one that is not counted: it
    brings the contender's own working set back, and outlasts the few tenths of a millisecond for
    which another library's idle threads still spin. Rounds go on until every median has settled
    or the budget is spent.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time, called without arguments.
    budget : float
        Seconds after which no further round begins (once there are `min_rounds`).
    min_rounds, max_rounds : int
        Bounds on the number of samples of each contender; at least two.
    sample : float
        Seconds that a sample should last at least.
    tolerance : float
        A median has settled when its own spread is below this part of it.

    Returns
    -------
    dict of str to Timing
    """
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _no_garbage_collection():
        calls = {name: _calls_per_sample(contenders[name], sample) for name in names}
        start = perf_counter()
        for number in range(max_rounds):
            if number >= max(2, min_rounds) and (
                perf_counter() - start > budget
                or all(Timing(tuple(samples[name])).is_settled(tolerance) for name in names)
            ):
                break
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                contenders[name]()
                samples[name].append(_time(contenders[name], calls[name]))
    return {name: Timing(tuple(samples[name])) for name in names}


def _time(call: Callable[[], object], count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def _calls_per_sample(call: Callable[[], object], sample: float) -> int:
    call()
    return max(1, math.ceil(sample / max(_time(call, 1), 1e-8)))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
