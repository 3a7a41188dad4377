"""What a benchmark case is, and how one is checked, timed and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import peers
from records import judge, significant

from logsum.tour import Timing, interleave, ratio, use_threads


class WrongResultError(Exception):
    """Our own result is further from the reference than the case allows: nothing to time."""


@dataclass(frozen=True)
class Work:
    """A case with its arrays built.

    Attributes
    ----------
    calls : mapping of str to callable
        By contender, ours under peers.OURS; each returns its result.
    reference : array
        The result in float64 or wider.
    allowed : float
        The largest absolute error.
    elements : int
        How many terms go in, for times per element.
    yardsticks : mapping of str to callable
        What the machine can do at best with the same data: timed in turns, not compared.
    judged : sequence of floors
        What else our result has to satisfy, already judged.
    """

    calls: Mapping[str, Callable[[], Any]]
    reference: np.ndarray
    allowed: float
    elements: int
    yardsticks: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    judged: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Limit:
    """Our time is at most `factor` of a yardstick's and of core functions of all elements."""

    factor: float
    yardstick: str
    core: tuple[str, ...] = ()  # core benchmarks, without the CPU target
    threads: int | None = None  # with how many it holds, with any if None


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes
    ----------
    name : str
        Stable, lower case: results are compared by it.
    title : str
        What tables call it.
    build : callable
        Takes a generator and the number of threads, and returns the Work.
    floors : mapping of str to float, or to a mapping of int to float
        By peer, how many times faster than it ours must be; where that differs, by the number of
        threads.
    limit : Limit, optional
    headline : bool
        Whether it appears in the README.
    """

    name: str
    title: str
    build: Callable[[np.random.Generator, int], Work]
    floors: Mapping[str, float | Mapping[int, float]] = field(default_factory=dict)
    limit: Limit | None = None
    headline: bool = False


def worst_error(result: Any, reference: np.ndarray) -> float:
    """Return the largest absolute error, infinite where only one of the two is not finite."""
    values = peers.to_float64(result)
    if values.shape != reference.shape:
        return np.inf
    finite = np.isfinite(reference)
    if not np.array_equal(values[~finite], reference[~finite].astype(np.float64), equal_nan=True):
        return np.inf
    error = np.abs(values[finite] - reference[finite])
    return float(np.where(np.isnan(error), np.inf, error).max(initial=0))


def measure(
    case: Case, threads: int, core: Mapping[str, float], *, budget: float
) -> dict[str, Any]:
    """Check a case, time its contenders in turns, and return the record that results hold.

    Parameters
    ----------
    case : Case
    threads : int
        Given to every contender that has threads.
    core : mapping of str to float
        Nanoseconds an element by core benchmark; may be empty.
    budget : float
        Seconds to spend on rounds.
    """
    with use_threads(threads):
        work = case.build(np.random.default_rng(7), threads)
        errors = {name: worst_error(call(), work.reference) for name, call in work.calls.items()}
        if not errors[peers.OURS] <= work.allowed:
            raise WrongResultError(
                f"{case.name}, {threads} threads: error {errors[peers.OURS]:.3g}, "
                f"allowed {work.allowed:.3g}"
            )
        timings = interleave({**work.calls, **work.yardsticks}, budget=budget)
    ours = timings[peers.OURS]
    return {
        "name": case.name,
        "title": case.title,
        "headline": case.headline,
        "threads": threads,
        "elements": work.elements,
        "rounds": len(ours.samples),
        "error_allowed": significant(work.allowed),
        "contenders": {name: _contender(timings[name], ours, errors[name]) for name in work.calls},
        "yardsticks": {name: _beside(timings[name], ours) for name in work.yardsticks},
        "floors": [
            *_floors(case, timings, threads),
            *_limits(case, timings, work, core, threads),
            *work.judged,
        ],
    }


def _contender(timing: Timing, ours: Timing, error: float) -> dict[str, float | None]:
    return {**_beside(timing, ours), "worst_error": significant(error)}


def _beside(timing: Timing, ours: Timing) -> dict[str, float | None]:
    return {
        "median_us": significant(timing.median * 1e6),
        "min_us": significant(timing.fastest * 1e6),
        "max_us": significant(timing.slowest * 1e6),
        "ratio": significant(ratio(timing, ours), 3),
    }


def _floors(case: Case, timings: Mapping[str, Timing], threads: int) -> list[dict[str, Any]]:
    ours = timings[peers.OURS]
    asked = {
        peer: floor.get(threads) if isinstance(floor, Mapping) else floor
        for peer, floor in case.floors.items()
        if peer in timings
    }
    return [
        judge(f"speed over {peer}", ratio(timings[peer], ours), at_least=floor)
        for peer, floor in asked.items()
        if floor is not None
    ]


def _limits(
    case: Case, timings: Mapping[str, Timing], work: Work, core: Mapping[str, float], threads: int
) -> list[dict[str, Any]]:
    limit = case.limit
    if limit is None or not core.keys() >= set(limit.core):
        return []
    if limit.threads not in (None, threads):
        return []
    yardstick, ours = timings[limit.yardstick], timings[peers.OURS]
    # The core's figures are for one thread with its data in cache; threads share the elements.
    functions = sum(core[name] for name in limit.core) * 1e-9 * work.elements / threads
    measured = ours.median / (yardstick.median + functions) if functions else ratio(ours, yardstick)
    names = [f"core {name.partition('/')[0].lower()}" for name in limit.core]
    what = f"time over {' + '.join([limit.yardstick, *names])}"
    return [judge(what, measured, at_most=limit.factor)]
