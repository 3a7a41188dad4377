"""Scans under the conformance suite: logZ in both semirings, marginals, scores and best paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

import logsum
import scan_oracle
import tolerances
from conformance import Conformance, Kind, Sample, normal, torch
from conformance.report import check
from conformance.sample import Doubles
from scan_oracle import Arcs

# Two states that have no arc between them, one that nothing enters, and a padded index.
PADDED = [[0, 1], [0, -1], [1, 2], [-1, -1]]
# Parallel arcs, a loop, and a state that nothing leaves.
LISTS = ([0, 0, 1, 2, 2, 1], [1, 1, 2, 0, 2, 3], 4)


def ring(ms: Any) -> Any:
    """Return the index (C, nz), of the library of weights (T, N, C, nz), from each state's last."""
    states, width = ms.shape[2:]
    if isinstance(ms, np.ndarray):
        return (np.arange(states)[:, None] - np.arange(width)) % max(states, 1)
    return (torch.arange(states)[:, None] - torch.arange(width)) % max(states, 1)


def graph(ms: Any, idx: Any) -> Any:
    """Return what a sample's option names: a ring, an index, or a graph of lists."""
    if idx is None:
        return ring(ms)
    return logsum.Graph.from_arcs(*idx) if isinstance(idx, tuple) else idx


def arcs(ms: Any, idx: Any) -> Arcs:
    """Return the same for the reference."""
    return Arcs.of_lists(*idx) if isinstance(idx, tuple) else Arcs.of_index(graph(ms, idx))


def weights(name: str, *shape: int, states: int | None = None, **options: Any) -> Sample:
    """Return normal weights of a scan of a shape (T, N, C, nz), or (T, N, E) and states."""
    scale = options.pop("scale", 3.0)
    ends = (shape[1], shape[2] if states is None else states)
    arguments = (
        normal(*shape, scale=scale),
        normal(*ends, scale=scale, seed=1),
        normal(*ends, scale=scale, seed=2),
    )
    return Sample(name, arguments, {"idx": None, "lengths": None, **options})


RING = weights("ring", 3, 2, 3, 2)
PADDED_INDEX = weights("padded index", 2, 3, 4, 2, idx=PADDED, lengths=[2, 0, 1])
PARALLEL_ARCS = weights("parallel arcs", 3, 2, 6, states=4, idx=LISTS, lengths=[2, 3])


class Scan(Conformance):
    """What the functions of Ms, v0 and vT share."""

    differentiable = logarithmic = (0, 1, 2)
    accuracy = (tolerances.PATH_SUM,)
    gradient_tolerance = tolerances.PATH_SHARE
    wide = (0,)
    largest = 1e90  # include/logsum/scan.hpp: from about 1e99 on, in float64, sums are +inf
    # Beside +inf, and beside numbers that have no digit left for others, shares are left open.
    open_gradients = (
        "one +inf",
        "several +inf",
        "+inf and -inf",
        "NaN beside +inf",
        "one huge",
        "huge and -huge",
    )
    semiring: ClassVar[str] = "log"

    def call(self, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return logsum.logZ(ms, graph(ms, idx), v0, vt, self.semiring, lengths=lengths)

    def reference(self, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return scan_oracle.logz(arcs(ms, idx), ms, v0, vt, lengths)

    def gradient(self, cotangents: Any, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return scan_oracle.gradient(cotangents[0], arcs(ms, idx), ms, v0, vt, lengths)

    def samples(self) -> list[Sample]:
        return [RING, PADDED_INDEX, PARALLEL_ARCS]

    def empties(self) -> list[Sample]:
        shapes = {
            "no step": (0, 2, 3, 2),
            "no sequence": (3, 0, 3, 2),
            "no state": (3, 2, 0, 2),
            "no arc": (3, 2, 3, 0),
        }
        return [weights(name, *shape) for name, shape in shapes.items()]


class TestLogZ(Scan):
    name = "logZ"

    def larges(self) -> list[Sample]:
        return [weights("large", 40, 37, 11, 3), weights("few and long", 301, 2, 9, 2)]

    def heavies(self) -> list[Sample]:
        return [weights("heavy", 200, 64, 100, 3, scale=1.0)]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # include/logsum/scan.hpp, for up to four threads of eight sequences.
        ms, v0, _ = sample.arguments
        steps, slots, states = ms.shape[0], ms[0, 0].size, v0.shape[1]
        scratch = 4 * 8 * 8 * (slots + 3 * states)
        return scratch + derivative * 4 * 8 * 8 * states * (steps + 1)


class TestMaxScan(Scan):
    name = "logZ of max"
    semiring = "max"
    # What is NaN has no path.
    open_gradients = (*Scan.open_gradients, "NaN")

    def reference(self, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return np.array([p.weight if p else -np.inf for p in _best(ms, v0, vt, idx, lengths)])

    def gradient(self, cotangents: Any, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        found = _best(ms, v0, vt, idx, lengths)
        return _along(cotangents[0], found, ms, v0, vt)

    def specials(self) -> list[Sample]:
        return [RING]


def _best(
    ms: Doubles, v0: Doubles, vt: Doubles, idx: Any, lengths: Sequence[int] | None
) -> list[Any]:
    """Return the best path of each sequence."""
    steps = ms.reshape(*ms.shape[:2], int(np.prod(ms.shape[2:])))
    found: list[Any] = []
    for n in range(ms.shape[1]):
        length = ms.shape[0] if lengths is None else lengths[n]
        every = scan_oracle.paths(arcs(ms, idx), steps[:length, n], v0[n], vt[n])
        found.append(scan_oracle.best(every))
    return found


def _along(cotangent: Doubles, found: list[Any], *operands: Doubles) -> list[Doubles]:
    """Return gradients that are the incoming one along each path."""
    by_ms, by_v0, by_vt = (np.zeros(x.shape) for x in operands)
    slots = by_ms.reshape(*by_ms.shape[:2], int(np.prod(by_ms.shape[2:])))
    for n, path in enumerate(found):
        if path is None:
            continue
        slots[range(len(path.slots)), n, path.slots] = cotangent[n]
        by_v0[n, path.states[0]] = by_vt[n, path.states[-1]] = cotangent[n]
    return [by_ms, by_v0, by_vt]


class TestMarginals(Scan):
    """The gradient for Ms as a value; its own gradient is a covariance."""

    name = "marginals"
    accuracy = (tolerances.PATH_SHARE,)
    wide = ()

    def call(self, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return logsum.marginals(ms, graph(ms, idx), v0, vt, lengths=lengths)

    def reference(self, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        ones = np.ones(ms.shape[1])
        return scan_oracle.gradient(ones, arcs(ms, idx), ms, v0, vt, lengths)[0]

    def specials(self) -> list[Sample]:
        return []  # they are those of logZ's gradient

    def gradient(self, cotangents: Any, ms: Any, v0: Any, vt: Any, idx: Any, lengths: Any) -> Any:
        return scan_oracle.marginals_gradient(cotangents[0], arcs(ms, idx), ms, v0, vt, lengths)

    def judge_third(self, sample: Sample, kind: Kind, call: Callable[..., None]) -> None:
        """Fail unless a check that asks for logZ's third derivative is told that there is none."""
        with pytest.raises(Exception, match="logZ: the third derivative is not implemented"):
            call(sample, kind)

    @check(hook="differentiables", dtypes=("float64",))
    def test_gradgradcheck(self, sample: Sample, kind: Kind) -> None:
        self.judge_third(sample, kind, super().test_gradgradcheck)

    @check(hook="differentiables", dtypes=("float64",))
    def test_func_nested(self, sample: Sample, kind: Kind) -> None:
        self.judge_third(sample, kind, super().test_func_nested)

    @check(hook="first_samples", dtypes=("float32",))
    def test_operators(self, sample: Sample, kind: Kind) -> None:
        self.judge_third(sample, kind, super().test_operators)
