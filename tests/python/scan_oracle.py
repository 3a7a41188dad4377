"""References for scans at 50 digits: numbers instead of logarithms, and every path one by one.

mpmath's exponents have no bounds, so a sum over paths needs no logarithm until its end. Infinite
weights follow docs/numerics.md: a number has an order, how many of them it is a product of, and in
a sum only the highest order counts; NaN, of the highest of all, absorbs what is not zero.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

Exact = npt.NDArray[np.object_]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_mp = mpmath.MPContext()
_mp.dps = 50

ZERO_WEIGHT = -1e30  # scans read this and everything below as a zero
_OF_NAN = 10**9


@dataclass(frozen=True)
class Number:
    """A nonnegative number of some order."""

    size: Any
    order: int = 0

    def __add__(self, other: Number) -> Number:
        if self.size == 0 or (other.order > self.order and other.size != 0):
            return other
        if other.size == 0 or self.order > other.order:
            return self
        return Number(self.size + other.size, self.order)

    def __mul__(self, other: Number) -> Number:
        if self.size == 0 or other.size == 0:
            return NOTHING
        return Number(self.size * other.size, self.order + other.order)

    def share_of(self, total: Number) -> Any:
        """Its share of a sum that it is part of."""
        if self.size == 0 or self.order < total.order < _OF_NAN:
            return _mp.mpf(0)
        return self.size / total.size

    @property
    def log(self) -> Any:
        if self.size == 0:
            return -_mp.inf
        if self.order:
            return _mp.inf if self.order < _OF_NAN else _mp.nan
        return _mp.log(self.size)


NOTHING, ONE = Number(_mp.mpf(0)), Number(_mp.mpf(1))


@functools.lru_cache(maxsize=1 << 16)
def number(weight: float) -> Number:
    """Return e^weight."""
    if math.isnan(weight):
        return Number(_mp.nan, _OF_NAN)
    if weight <= ZERO_WEIGHT:
        return NOTHING
    return Number(_mp.mpf(1), 1) if weight == math.inf else Number(_mp.exp(_mp.mpf(weight)))


# ---- graphs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arcs:
    """Arcs by slot: (slot, source, target), padding left out."""

    states: int
    arcs: tuple[tuple[int, int, int], ...]

    @staticmethod
    def of_index(idx: npt.ArrayLike) -> Arcs:
        rows = np.asarray(idx)
        found = (
            (slot, int(source), slot // rows.shape[1])
            for slot, source in enumerate(rows.ravel())
            if source >= 0
        )
        return Arcs(len(rows), tuple(found))

    @staticmethod
    def of_lists(source: Sequence[int], target: Sequence[int], states: int) -> Arcs:
        pairs = zip(source, target, strict=True)
        return Arcs(states, tuple((e, int(s), int(c)) for e, (s, c) in enumerate(pairs)))


def random_arcs(rng: np.random.Generator, states: int, count: int) -> tuple[Integers, Integers]:
    """Return sources and targets of arcs of any degree: parallel ones, loops, lonely states."""
    return rng.integers(0, states, count), rng.integers(0, states, count)


# ---- sums over paths -------------------------------------------------------------------------


@dataclass(frozen=True)
class Sums:
    """The forward and backward sums of one sequence, its steps' weights, and their total."""

    arcs: Arcs
    weights: list[list[Number]]
    alpha: list[list[Number]]
    beta: list[list[Number]]
    total: Number

    def shares(self) -> list[list[Any]]:
        """The posterior probability of every slot at every step."""
        found = []
        for t, weights in enumerate(self.weights):
            row = [_mp.mpf(0)] * len(weights)
            for slot, source, target in self.arcs.arcs:
                through = self.alpha[t][source] * weights[slot] * self.beta[t + 1][target]
                row[slot] = through.share_of(self.total)
            found.append(row)
        return found

    def ends(self, t: int) -> list[Any]:
        """The posterior probability of every state at a step."""
        pairs = zip(self.alpha[t], self.beta[t], strict=True)
        return [(a * b).share_of(self.total) for a, b in pairs]


def sums(
    arcs: Arcs, ms: Doubles, v0: Doubles, vt: Doubles, tilt: Doubles | None = None, by: Any = 0
) -> Sums:
    """Return the sums of one sequence with weights (T, E), (C,) and (C,); Ms moved by * tilt."""
    weights = [[number(x) for x in row] for row in ms.tolist()]
    if tilt is not None:
        weights = [
            [w * Number(_mp.exp(by * x)) for w, x in zip(row, moves, strict=True)]
            for row, moves in zip(weights, tilt.tolist(), strict=True)
        ]
    alpha = [[number(x) for x in v0.tolist()]]
    for row in weights:
        ahead = [NOTHING] * arcs.states
        for slot, source, target in arcs.arcs:
            ahead[target] = ahead[target] + alpha[-1][source] * row[slot]
        alpha.append(ahead)
    beta = [[number(x) for x in vt.tolist()]]
    for row in reversed(weights):
        back = [NOTHING] * arcs.states
        for slot, source, target in arcs.arcs:
            back[source] = back[source] + row[slot] * beta[-1][target]
        beta.append(back)
    beta.reverse()
    total = NOTHING
    for a, b in zip(alpha[-1], beta[-1], strict=True):
        total = total + a * b
    return Sums(arcs, weights, alpha, beta, total)


def _sequences(
    arcs: Arcs, ms: Doubles, v0: Doubles, vt: Doubles, lengths: Sequence[int] | None
) -> Iterator[tuple[int, int, Doubles, Doubles, Doubles]]:
    steps = ms.reshape(ms.shape[0], ms.shape[1], math.prod(ms.shape[2:]))
    for n in range(ms.shape[1]):
        length = ms.shape[0] if lengths is None else int(lengths[n])
        yield n, length, steps[:length, n], v0[n], vt[n]


def logz(
    arcs: Arcs, ms: Doubles, v0: Doubles, vt: Doubles, lengths: Sequence[int] | None = None
) -> Exact:
    """Return logZ (N,)."""
    found = [sums(arcs, *x[2:]).total.log for x in _sequences(arcs, ms, v0, vt, lengths)]
    return np.array(found, dtype=object)


def gradient(
    cotangent: npt.ArrayLike,
    arcs: Arcs,
    ms: Doubles,
    v0: Doubles,
    vt: Doubles,
    lengths: Sequence[int] | None = None,
) -> tuple[Exact, Exact, Exact]:
    """Return the gradients of <cotangent, logZ>."""
    incoming = [_mp.mpf(float(g)) for g in np.asarray(cotangent)]
    by_ms, by_v0, by_vt = (np.full(x.shape, _mp.mpf(0), dtype=object) for x in (ms, v0, vt))
    slots = by_ms.reshape(ms.shape[0], ms.shape[1], math.prod(ms.shape[2:]))
    for n, length, *weights in _sequences(arcs, ms, v0, vt, lengths):
        found = sums(arcs, *weights)
        for t, row in enumerate(found.shares()):
            slots[t, n] = [incoming[n] * x for x in row]
        by_v0[n] = [incoming[n] * x for x in found.ends(0)]
        by_vt[n] = [incoming[n] * x for x in found.ends(length)]
    return by_ms, by_v0, by_vt


def marginals_gradient(
    cotangent: Doubles,
    arcs: Arcs,
    ms: Doubles,
    v0: Doubles,
    vt: Doubles,
    lengths: Sequence[int] | None = None,
) -> tuple[Exact, Exact, Exact]:
    """Return the gradients of <cotangent, marginals>: how logZ's move when Ms moves along it.

    By differences so small that at 50 digits half of these are left.
    """
    step = _mp.mpf(10) ** -18
    by_ms, by_v0, by_vt = (np.full(x.shape, _mp.mpf(0), dtype=object) for x in (ms, v0, vt))
    slots = by_ms.reshape(ms.shape[0], ms.shape[1], math.prod(ms.shape[2:]))
    tilts = cotangent.reshape(slots.shape)
    for n, length, *weights in _sequences(arcs, ms, v0, vt, lengths):
        ahead, behind = (sums(arcs, *weights, tilts[:length, n], by) for by in (step, -step))

        def moved(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
            return [(x - y) / (2 * step) for x, y in zip(a, b, strict=True)]

        for t, rows in enumerate(zip(ahead.shares(), behind.shares(), strict=True)):
            slots[t, n] = moved(*rows)
        by_v0[n] = moved(ahead.ends(0), behind.ends(0))
        by_vt[n] = moved(ahead.ends(length), behind.ends(length))
    return by_ms, by_v0, by_vt


# ---- path by path ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """One path of one sequence: its states, its slots and its weight."""

    states: tuple[int, ...]
    slots: tuple[int, ...]
    weight: float


def _added(weight: float, *others: float) -> float:
    """The sum of weights, -inf where one is a zero."""
    every = (weight, *map(float, others))
    return -math.inf if any(x <= ZERO_WEIGHT for x in every) else math.fsum(every)


def paths(arcs: Arcs, ms: Doubles, v0: Doubles, vt: Doubles) -> list[Path]:
    """Return all possible paths of one sequence, with weights (T, E), (C,) and (C,)."""
    found = [Path((c,), (), _added(0, v0[c])) for c in range(arcs.states)]
    leaving: dict[int, list[tuple[int, int]]] = {c: [] for c in range(arcs.states)}
    for slot, source, target in arcs.arcs:
        leaving[source].append((slot, target))
    for row in ms:
        found = [
            Path((*p.states, target), (*p.slots, slot), _added(p.weight, row[slot]))
            for p in found
            for slot, target in leaving[p.states[-1]]
        ]
    ended = (Path(p.states, p.slots, _added(p.weight, vt[p.states[-1]])) for p in found)
    return [p for p in ended if p.weight != -math.inf]


def best(all_paths: Sequence[Path]) -> Path | None:
    """Return the heaviest path: the lowest last state, then going back the lowest slots."""

    def key(path: Path) -> Any:
        return not math.isnan(path.weight), -path.weight, path.states[-1], path.slots[::-1]

    return min(all_paths, key=key, default=None)


def by_enumeration(
    arcs: Arcs, ms: Doubles, v0: Doubles, vt: Doubles, semiring: str
) -> tuple[float, Doubles, list[Path]]:
    """Return the value, the shares (T, E) and all paths of one sequence."""
    every = paths(arcs, ms, v0, vt)
    shares = np.zeros(ms.shape)
    if not every:
        return -np.inf, shares, every
    top = max(p.weight for p in every)
    if semiring == "max":
        found = best(every)
        assert found is not None
        shares[range(len(ms)), found.slots] = 1
        return top, shares, every
    total = math.fsum(math.exp(p.weight - top) for p in every)
    for p, t in itertools.product(every, range(len(ms))):
        shares[t, p.slots[t]] += math.exp(p.weight - top) / total
    return top + math.log(total), shares, every
